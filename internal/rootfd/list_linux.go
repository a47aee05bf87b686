package rootfd

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// buffers is a pool of buffers for getdents64(2) and for extended attributes.
// Their size is the limit of the kernel for attributes (XATTR_LIST_MAX,
// XATTR_SIZE_MAX).
var buffers = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}

// Offsets in struct linux_dirent64, see getdents64(2).
const (
	direntReclen = 16
	direntType   = 18
	direntName   = 19
)

// Names returns the names of the children, sorted by bytes, without "." and
// "..".
func (d *Dir) Names() ([]string, error) {
	var names []string
	err := d.list(func(name string, _ uint32, _ uint64) { names = append(names, name) })
	slices.Sort(names)
	return names, err
}

// Entries returns the children in the order of Names, with the type and inode
// number that the listing has.
func (d *Dir) Entries() ([]Entry, error) {
	var entries []Entry
	err := d.list(func(name string, typ uint32, ino uint64) {
		entries = append(entries, Entry{Name: name, Type: typ, Ino: ino})
	})
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return entries, err
}

func (d *Dir) list(visit func(name string, typ uint32, ino uint64)) error {
	if err := d.acquire(); err != nil {
		return d.wrap("open", "", err)
	}
	defer d.use.RUnlock()
	err := retry(func() error {
		_, err := unix.Seek(d.fd, 0, 0)
		return err
	})
	if err != nil {
		return d.wrap("seek", "", err)
	}
	pooled := buffers.Get().(*[]byte)
	defer buffers.Put(pooled)
	buf := *pooled
	for {
		n, err := retryInt(func() (int, error) { return unix.Getdents(d.fd, buf) })
		if err != nil {
			return d.wrap("readdir", "", err)
		}
		if n <= 0 {
			return nil
		}
		parseDirents(buf[:n], visit)
	}
}

func parseDirents(buf []byte, visit func(name string, typ uint32, ino uint64)) {
	for len(buf) > direntName {
		size := int(binary.NativeEndian.Uint16(buf[direntReclen:]))
		if size <= direntName || size > len(buf) {
			return
		}
		name := buf[direntName:size]
		if end := bytes.IndexByte(name, 0); end >= 0 {
			name = name[:end]
		}
		if s := string(name); s != "." && s != ".." && s != "" {
			// A DT_* value is the type bits of a mode, shifted right by 12; see inode(7).
			visit(s, uint32(buf[direntType])<<12, binary.NativeEndian.Uint64(buf))
		}
		buf = buf[size:]
	}
}
