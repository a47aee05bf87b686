package diff

import (
	"io"
	"os"

	"github.com/layerkeep/layerkeep/internal/rootfd"
	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// DirView returns the tree below a directory as a View, as it is on disk,
// without security.selinux. It reads through descriptors and never follows a
// symbolic link out of root. Closing the View does not close root. On systems
// other than Linux the method Root of the View returns errors.ErrUnsupported.
func DirView(root *os.File) View { return dirView{root: root} }

// NodeOf converts the attributes of a file on disk.
func NodeOf(st rootfd.Stat) Node {
	return Node{
		Mode: st.Mode, UID: st.UID, GID: st.GID, Size: st.Size, Rdev: st.Rdev,
		Mtime: st.Mtime, Dev: st.Dev, Ino: st.Ino, Nlink: st.Nlink,
	}
}

type dirView struct{ root *os.File }

func (v dirView) Root() (Dir, error) {
	d, err := rootfd.FromFile(v.root, rootfd.Options{})
	if err != nil {
		return nil, err
	}
	return PlainDir{d}, nil
}

func (v dirView) Close() error { return nil }

// PlainDir is a [Dir] that shows a directory as it is on disk. It leaves out
// the extended attributes that are never part of a layer.
type PlainDir struct{ *rootfd.Dir }

// Stat returns the attributes of the directory.
func (d PlainDir) Stat() (Node, error) {
	st, err := d.Dir.Stat()
	return NodeOf(st), err
}

// Lookup returns the attributes of a child.
func (d PlainDir) Lookup(name string) (Node, error) {
	st, err := d.Dir.Lookup(name)
	return NodeOf(st), err
}

// Xattrs returns the extended attributes of the directory.
func (d PlainDir) Xattrs() (map[string]string, error) {
	attrs, err := d.Dir.Xattrs()
	return whiteout.Plain.Shown(attrs), err
}

// LookupXattrs returns the extended attributes of a child.
func (d PlainDir) LookupXattrs(name string) (map[string]string, error) {
	attrs, err := d.Dir.LookupXattrs(name)
	return whiteout.Plain.Shown(attrs), err
}

// Open opens the content of a regular file.
func (d PlainDir) Open(name string) (io.ReadCloser, error) {
	f, err := d.Dir.Open(name)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// OpenDir opens a child directory.
func (d PlainDir) OpenDir(name string) (Dir, error) {
	next, err := d.Dir.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return PlainDir{next}, nil
}
