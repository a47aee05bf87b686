package differ

import (
	"io"
	"io/fs"
	"time"

	"github.com/layerkeep/layerkeep/diff"
)

// emptyView is the tree that no layer described: that of a snapshot of nothing.
type emptyView struct{}

func (emptyView) Root() (diff.Dir, error) { return emptyDir{}, nil }
func (emptyView) Close() error            { return nil }

type emptyDir struct{}

func (emptyDir) Stat() (diff.Node, error) {
	return diff.Node{Mode: diff.TypeDir | 0o755, Mtime: time.Unix(0, 0), Nlink: 2}, nil
}
func (emptyDir) Xattrs() (map[string]string, error)             { return map[string]string{}, nil }
func (emptyDir) Names() ([]string, error)                       { return nil, nil }
func (emptyDir) Lookup(string) (diff.Node, error)               { return diff.Node{}, fs.ErrNotExist }
func (emptyDir) LookupXattrs(string) (map[string]string, error) { return nil, fs.ErrNotExist }
func (emptyDir) Readlink(string) (string, error)                { return "", fs.ErrNotExist }
func (emptyDir) Open(string) (io.ReadCloser, error)             { return nil, fs.ErrNotExist }
func (emptyDir) OpenDir(string) (diff.Dir, error)               { return nil, fs.ErrNotExist }
func (emptyDir) Close() error                                   { return nil }
