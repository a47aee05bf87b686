package layerdir

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/durable"
	"github.com/layerkeep/layerkeep/internal/sys"
	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// EmptyRoot gives the directory at path the attributes of a root that no layer
// described: root:root 0755 with mtime 0.
func EmptyRoot(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return EmptyAttrs(int(f.Fd()), whiteout.Plain)
}

// EmptyAttrs is EmptyRoot for any directory, which is open. The encoding's own marks
// stay.
func EmptyAttrs(fd int, enc whiteout.Encoding) error {
	return setAttrs(fd, diff.Node{Mode: diff.TypeDir | 0o755, Mtime: time.Unix(0, 0)}, nil, enc)
}

// CopyRoot gives the directory at path the attributes of from, a directory of a
// view.
func CopyRoot(path string, from diff.Dir, enc whiteout.Encoding) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return CopyAttrs(int(f.Fd()), from, enc)
}

// CopyAttrs is CopyRoot for any directory, which is open.
func CopyAttrs(fd int, from diff.Dir, enc whiteout.Encoding) error {
	n, err := from.Stat()
	if err != nil {
		return err
	}
	attrs, err := from.Xattrs()
	if err != nil {
		return err
	}
	return setAttrs(fd, n, attrs, enc)
}

// setAttrs sets all attributes of a directory, in the order in which none undoes
// another: owner, extended attributes, mode, times.
func setAttrs(fd int, n diff.Node, attrs map[string]string, enc whiteout.Encoding) error {
	if err := sys.Fchown(fd, n.UID, n.GID); err != nil {
		return err
	}
	if err := replaceXattrs(fd, attrs, enc); err != nil {
		return err
	}
	if err := sys.Fchmod(fd, n.Perm()); err != nil {
		return err
	}
	mtime, err := unix.TimeToTimespec(n.Mtime)
	if err != nil {
		return err
	}
	return sys.Futimens(fd, &[2]unix.Timespec{mtime, mtime})
}

func replaceXattrs(fd int, attrs map[string]string, enc whiteout.Encoding) error {
	names, err := sys.Flistxattr(fd)
	if err != nil {
		return err
	}
	for _, onDisk := range names {
		name, ok := enc.XattrFromDisk(onDisk)
		if _, wanted := attrs[name]; !ok || wanted {
			continue
		}
		if err := sys.Fremovexattr(fd, onDisk); err != nil {
			return err
		}
	}
	for name, value := range attrs {
		onDisk, ok := enc.XattrToDisk(name)
		if !ok {
			continue
		}
		if err := sys.Fsetxattr(fd, onDisk, []byte(value)); err != nil {
			return err
		}
	}
	return nil
}

// XattrNamespaces tries which extended attributes the directory can hold.
func XattrNamespaces(dir string) (can []string, err error) {
	for _, ns := range []string{"security.", "trusted.", "user."} {
		err := unix.Setxattr(dir, ns+"layerkeep", []byte("1"), 0)
		switch {
		case err == nil:
			can = append(can, ns)
			if err := unix.Removexattr(dir, ns+"layerkeep"); err != nil {
				return nil, fmt.Errorf("remove an attribute in %s: %w", ns, err)
			}
		case durable.NoRoom(err):
			can = append(can, ns)
		case !cannot(err):
			return nil, fmt.Errorf("set an attribute in %s: %w", ns, err)
		}
	}
	return can, nil
}
