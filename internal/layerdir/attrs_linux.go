package layerdir

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/attrs"
	"github.com/layerkeep/layerkeep/internal/durable"
	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// EmptyRoot gives the directory at path the attributes of a root directory that
// has no entry in a layer tar: root:root 0755 with mtime 0.
func EmptyRoot(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return EmptyAttrs(int(f.Fd()), whiteout.Plain)
}

// EmptyAttrs is EmptyRoot for any open directory. It keeps the marks that the
// encoding itself stores as attributes, such as overlay's opaque mark.
func EmptyAttrs(fd int, enc whiteout.Encoding) error {
	return attrs.Replace(fd, &attrs.Attrs{Mode: 0o755, Mtime: time.Unix(0, 0)}, enc)
}

// CopyRoot gives the directory at path the attributes of from, which is a
// directory of a [diff.View].
func CopyRoot(path string, from diff.Dir, enc whiteout.Encoding) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return CopyAttrs(int(f.Fd()), from, enc)
}

// CopyAttrs is CopyRoot for any open directory.
func CopyAttrs(fd int, from diff.Dir, enc whiteout.Encoding) error {
	n, err := from.Stat()
	if err != nil {
		return err
	}
	xattrs, err := from.Xattrs()
	if err != nil {
		return err
	}
	a := attrs.New(n.Mode, n.UID, n.GID, n.Mtime, xattrs, enc)
	return attrs.Replace(fd, &a, enc)
}

// XattrNamespaces returns the namespaces of the extended attributes that the
// file system of dir can store. It finds out by setting an attribute in each.
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
