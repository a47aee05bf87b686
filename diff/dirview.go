package diff

import (
	"io"
	"os"

	"github.com/layerkeep/layerkeep/internal/rootfd"
	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// DirView returns the tree below a directory as a View: what is on disk is what
// it shows, without security.selinux. It reads through descriptors and never
// follows a symbolic link out of root. Root is not closed by the View. On
// systems other than Linux the View's Root is [errors.ErrUnsupported].
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

// PlainDir is a [Dir] that shows a directory on disk as it is, without what is
// never part of a layer.
type PlainDir struct{ *rootfd.Dir }

// Stat returns the attributes of the directory.
func (d PlainDir) Stat() (Node, error) {
	st, err := d.Dir.Stat()
	return NodeOf(st), err
}

// Lookup returns those of a child.
func (d PlainDir) Lookup(name string) (Node, error) {
	st, err := d.Dir.Lookup(name)
	return NodeOf(st), err
}

// Xattrs returns the extended attributes of the directory.
func (d PlainDir) Xattrs() (map[string]string, error) {
	attrs, err := d.Dir.Xattrs()
	return whiteout.Plain.Shown(attrs), err
}

// LookupXattrs returns those of a child.
func (d PlainDir) LookupXattrs(name string) (map[string]string, error) {
	attrs, err := d.Dir.LookupXattrs(name)
	return whiteout.Plain.Shown(attrs), err
}

// Open returns the body of a regular file.
func (d PlainDir) Open(name string) (io.ReadCloser, error) {
	f, err := d.Dir.Open(name)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// OpenDir returns a child directory.
func (d PlainDir) OpenDir(name string) (Dir, error) {
	next, err := d.Dir.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return PlainDir{next}, nil
}
