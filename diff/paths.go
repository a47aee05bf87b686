package diff

import (
	"errors"
	"io/fs"
	"strings"
)

// A dirPath is the path of the current directory of a walk; it is empty for the
// root. A walk has one buffer for all levels, so its memory grows with the
// depth and not with the square of the depth.
type dirPath []byte

// enter appends a name to the path. The caller calls leave to remove it again.
func (p *dirPath) enter(name string) (leave func()) {
	n := len(*p)
	if n > 0 {
		*p = append(*p, '/')
	}
	*p = append(*p, name...)
	return func() { *p = (*p)[:n] }
}

// of returns the path of a name in the directory.
func (p dirPath) of(name string) string {
	if len(p) == 0 {
		return name
	}
	return string(p) + "/" + name
}

// key returns the path as it is used as a key of maps.
func (p dirPath) key() []byte {
	if len(p) == 0 {
		return []byte{'.'}
	}
	return p
}

// String returns the path. It returns "." for the root.
func (p dirPath) String() string { return string(p.key()) }

// splitPath returns the directory of a path and its name there.
func splitPath(path string) (dir, name string) {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i], path[i+1:]
	}
	return ".", path
}

// lookup returns nil for a name that does not exist. If may is false it does
// not look.
func lookup(d Dir, name string, may bool) (*Node, error) {
	if d == nil || !may {
		return nil, nil
	}
	n, err := d.Lookup(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &n, nil
}

// lookupAt finds a path, starting at the root, and returns its directory and
// its attributes. The caller closes the directory. Both results are nil if
// there is no such path.
func lookupAt(v View, path string) (Dir, *Node, error) {
	d, err := v.Root()
	if err != nil {
		return nil, nil, err
	}
	for {
		name, rest, more := strings.Cut(path, "/")
		n, err := lookup(d, name, true)
		if err != nil || n == nil || more && !n.IsDir() {
			_ = d.Close()
			return nil, nil, err
		}
		if !more {
			return d, n, nil
		}
		sub, err := d.OpenDir(name)
		_ = d.Close()
		if err != nil {
			return nil, nil, err
		}
		d, path = sub, rest
	}
}

// nodeAt returns nil for a path that does not exist.
func nodeAt(v View, path string) (*Node, error) {
	d, n, err := lookupAt(v, path)
	if d != nil {
		_ = d.Close()
	}
	return n, err
}
