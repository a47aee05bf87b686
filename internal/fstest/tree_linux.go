package fstest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/diff"
)

// FromPath reads the tree below a directory as a process would see it.
func FromPath(tb testing.TB, root string) Tree {
	tb.Helper()
	t, err := ReadPath(root)
	require.NoError(tb, err, "read tree")
	return t
}

// ReadPath is [FromPath] for those who want the error.
func ReadPath(root string) (Tree, error) {
	b := newBuilder()
	err := filepath.WalkDir(root, func(p string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		return b.readPath(p, rel)
	})
	if err != nil {
		return nil, err
	}
	return b.finish(), nil
}

func (b *builder) readPath(p, rel string) error {
	var st unix.Stat_t
	if err := unix.Lstat(p, &st); err != nil {
		return &os.PathError{Op: "lstat", Path: p, Err: err}
	}
	n := Node{Mode: st.Mode, UID: st.Uid, GID: st.Gid, Mtime: time.Unix(st.Mtim.Unix())}
	var err error
	switch n.Type() {
	case diff.TypeRegular:
		content, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		n.Size, n.Body = st.Size, Body(string(content))
	case diff.TypeSymlink:
		if n.Target, err = os.Readlink(p); err != nil {
			return err
		}
	case diff.TypeChar, diff.TypeBlock:
		n.Rdev = st.Rdev
	}
	if n.Xattrs, err = readXattrs(p); err != nil {
		return err
	}
	b.add(rel, n, st.Dev, st.Ino)
	return nil
}

func readXattrs(p string) (map[string]string, error) {
	list := make([]byte, 1<<16)
	n, err := unix.Llistxattr(p, list)
	if err == unix.ENOTSUP {
		return nil, nil
	}
	if err != nil {
		return nil, &os.PathError{Op: "llistxattr", Path: p, Err: err}
	}
	xattrs := map[string]string{}
	for _, name := range strings.Split(string(list[:n]), "\x00") {
		if name == "" || name == "security.selinux" || strings.HasPrefix(name, "trusted.SGI_ACL_") || strings.HasPrefix(name, "btrfs.") {
			continue
		}
		value := make([]byte, 1<<16)
		n, err := unix.Lgetxattr(p, name, value)
		if err != nil {
			return nil, &os.PathError{Op: "lgetxattr " + name, Path: p, Err: err}
		}
		xattrs[name] = string(value[:n])
	}
	return xattrs, nil
}
