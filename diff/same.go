package diff

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
)

// sameAttributes compares the attributes of the inode that count for every file
// type.
func sameAttributes(o, n *Node) bool {
	return o.Mode == n.Mode && o.UID == n.UID && o.GID == n.GID && o.Mtime.Equal(n.Mtime)
}

// sameDir compares the attributes of two directories, but not their content. A
// nil old has no extended attributes. sameDir returns the extended attributes
// of new.
func sameDir(old, new Dir, o, n Node) (bool, map[string]string, error) {
	xattrs, err := new.Xattrs()
	if err != nil {
		return false, nil, err
	}
	if !sameAttributes(&o, &n) {
		return false, xattrs, nil
	}
	var before map[string]string
	if old != nil {
		if before, err = old.Xattrs(); err != nil {
			return false, nil, err
		}
	}
	return maps.Equal(before, xattrs), xattrs, nil
}

// alike compares what stat(2) returns for two files that are not directories,
// except the links.
func alike(o, n *Node) bool {
	switch {
	case !sameAttributes(o, n):
		return false
	case n.IsRegular():
		return o.Size == n.Size
	case n.IsDevice():
		return o.Rdev == n.Rdev
	}
	return true
}

// sameFile compares two files that are not directories. It makes the cheapest
// comparison first.
func (w *walker) sameFile(old, new Dir, name string, o, n *Node) (bool, error) {
	if !alike(o, n) {
		return false, nil
	}
	if n.IsSymlink() {
		if same, err := sameTarget(old, new, name); err != nil || !same {
			return false, err
		}
	}
	if same, err := sameXattrs(old, new, name); err != nil || !same {
		return false, err
	}
	if !n.IsRegular() || n.Size == 0 {
		return true, nil
	}
	if m, ok := new.(BodyMatcher); ok {
		if same, err := m.SameBody(name, old); err != nil || same {
			return same, err
		}
	}
	return w.content.same(w.ctx.Err, old, new, name, n.Size)
}

func sameTarget(old, new Dir, name string) (bool, error) {
	before, err := old.Readlink(name)
	if err != nil {
		return false, err
	}
	now, err := new.Readlink(name)
	return before == now, err
}

func sameXattrs(old, new Dir, name string) (bool, error) {
	before, err := old.LookupXattrs(name)
	if err != nil {
		return false, err
	}
	now, err := new.LookupXattrs(name)
	return maps.Equal(before, now), err
}

// A contentComparer compares files block by block.
type contentComparer struct{ a, b []byte }

const compareBlock = 128 << 10

// same compares two files of the given size in bytes.
func (c *contentComparer) same(cancelled func() error, old, new Dir, name string, size int64) (bool, error) {
	before, err := old.Open(name)
	if err != nil {
		return false, err
	}
	defer before.Close()
	now, err := new.Open(name)
	if err != nil {
		return false, err
	}
	defer now.Close()
	if c.a == nil {
		c.a, c.b = make([]byte, compareBlock), make([]byte, compareBlock)
	}
	for size > 0 {
		if err := cancelled(); err != nil {
			return false, err
		}
		n := min(size, compareBlock)
		if err := readBoth(before, now, c.a[:n], c.b[:n]); err != nil {
			return false, fmt.Errorf("compare %s: %w", name, err)
		}
		if !bytes.Equal(c.a[:n], c.b[:n]) {
			return false, nil
		}
		size -= n
	}
	return true, nil
}

// errShrunk says that a file ended before the size that stat(2) returned.
var errShrunk = errors.New("file shrank while being read")

func readBoth(a, b io.Reader, bufA, bufB []byte) error {
	for _, side := range []struct {
		r   io.Reader
		buf []byte
	}{{a, bufA}, {b, bufB}} {
		_, err := io.ReadFull(side.r, side.buf)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return errShrunk
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sameAt compares the files at a path, except their links.
func (w *walker) sameAt(path string) (bool, error) {
	if same, ok := w.same[path]; ok {
		return same, nil
	}
	old, o, err := lookupAt(w.old, path)
	if err != nil || o == nil {
		return false, err
	}
	defer old.Close()
	new, n, err := lookupAt(w.new, path)
	if err != nil || n == nil {
		return false, err
	}
	defer new.Close()
	_, name := splitPath(path)
	same := !o.IsDir() && !n.IsDir()
	if same {
		if same, err = w.sameFile(old, new, name, o, n); err != nil {
			return false, err
		}
	}
	w.same[path] = same
	return same, nil
}
