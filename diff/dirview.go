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
	return plainDir{d}, nil
}

func (v dirView) Close() error { return nil }

// plainDir shows a directory on disk as it is.
type plainDir struct{ *rootfd.Dir }

// carried removes what is never part of a layer.
func carried(attrs map[string]string) map[string]string {
	for name := range attrs {
		if _, ok := whiteout.Plain.XattrFromDisk(name); !ok {
			delete(attrs, name)
		}
	}
	return attrs
}

func (d plainDir) Stat() (Node, error) {
	st, err := d.Dir.Stat()
	return NodeOf(st), err
}

func (d plainDir) Lookup(name string) (Node, error) {
	st, err := d.Dir.Lookup(name)
	return NodeOf(st), err
}

func (d plainDir) Xattrs() (map[string]string, error) {
	attrs, err := d.Dir.Xattrs()
	return carried(attrs), err
}

func (d plainDir) LookupXattrs(name string) (map[string]string, error) {
	attrs, err := d.Dir.LookupXattrs(name)
	return carried(attrs), err
}

func (d plainDir) Open(name string) (io.ReadCloser, error) {
	f, err := d.Dir.Open(name)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (d plainDir) OpenDir(name string) (Dir, error) {
	next, err := d.Dir.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return plainDir{next}, nil
}
