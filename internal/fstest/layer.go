package fstest

import (
	stdtar "archive/tar"
	"bytes"
	"fmt"
	"maps"
	"path"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Epoch is the modification time of every [Entry] that does not say otherwise.
var Epoch = time.Unix(1_000_000_000, 123_456_789)

// An Entry is one entry of a layer, as a value.
type Entry struct {
	// Type is the type flag of the tar header.
	Type byte
	// Name is written to the stream as it is.
	Name string
	// Target is the target of a symbolic or hard link.
	Target string
	// Body is the content of a regular file.
	Body         string
	Mode         int64
	UID, GID     int
	Mtime        time.Time
	Xattrs       map[string]string
	Major, Minor int64
	// PAX are further records of the header.
	PAX map[string]string
}

func entry(flag byte, name string, mode int64) Entry {
	return Entry{Type: flag, Name: name, Mode: mode, Mtime: Epoch}
}

// Dir is a directory, root:root 0755.
func Dir(name string) Entry {
	return entry(stdtar.TypeDir, strings.TrimSuffix(name, "/")+"/", 0o755)
}

// File is a regular file, root:root 0644.
func File(name, body string) Entry {
	e := entry(stdtar.TypeReg, name, 0o644)
	e.Body = body
	return e
}

// Symlink is a symbolic link to target.
func Symlink(name, target string) Entry {
	e := entry(stdtar.TypeSymlink, name, 0o777)
	e.Target = target
	return e
}

// Link is a hard link to target. Its other attributes are nonsense on purpose:
// an applier has to ignore them.
func Link(name, target string) Entry {
	e := entry(stdtar.TypeLink, name, 0o4111)
	e.Target = target
	e.UID, e.GID = 4242, 4343
	e.Mtime = time.Unix(4444, 0)
	return e
}

// Fifo is a named pipe.
func Fifo(name string) Entry { return entry(stdtar.TypeFifo, name, 0o644) }

// Char is a character device.
func Char(name string, major, minor int64) Entry {
	e := entry(stdtar.TypeChar, name, 0o600)
	e.Major, e.Minor = major, minor
	return e
}

// Block is a block device.
func Block(name string, major, minor int64) Entry {
	e := Char(name, major, minor)
	e.Type = stdtar.TypeBlock
	return e
}

// Whiteout is the marker that removes the path from the parents.
func Whiteout(p string) Entry {
	dir, name := path.Split(p)
	e := File(dir+".wh."+name, "")
	e.Mode, e.Mtime = 0, time.Unix(0, 0)
	return e
}

// Opaque is the marker that hides what the parents have in a directory; "" is
// the root.
func Opaque(dir string) Entry {
	return Whiteout(path.Join(dir, ".wh..opq"))
}

// WithMode returns the entry with other permission bits.
func (e Entry) WithMode(mode int64) Entry { e.Mode = mode; return e }

// WithOwner returns the entry with other ids.
func (e Entry) WithOwner(uid, gid int) Entry { e.UID, e.GID = uid, gid; return e }

// WithMtime returns the entry with another modification time.
func (e Entry) WithMtime(sec, nsec int64) Entry { e.Mtime = time.Unix(sec, nsec); return e }

// WithType returns the entry with another type flag.
func (e Entry) WithType(flag byte) Entry { e.Type = flag; return e }

// WithXattr returns the entry with one more extended attribute.
func (e Entry) WithXattr(name, value string) Entry {
	xattrs := map[string]string{name: value}
	for k, v := range e.Xattrs {
		if k != name {
			xattrs[k] = v
		}
	}
	e.Xattrs = xattrs
	return e
}

// WithPAX returns the entry with another record in its header.
func (e Entry) WithPAX(key, value string) Entry {
	e.PAX = maps.Clone(e.PAX)
	if e.PAX == nil {
		e.PAX = map[string]string{}
	}
	e.PAX[key] = value
	return e
}

// Header returns the entry as a header of the standard library.
func (e Entry) Header() *stdtar.Header {
	h := &stdtar.Header{
		Typeflag: e.Type, Name: e.Name, Linkname: e.Target, Mode: e.Mode, Uid: e.UID, Gid: e.GID,
		ModTime: e.Mtime, Devmajor: e.Major, Devminor: e.Minor, Format: stdtar.FormatPAX,
	}
	if e.Type == stdtar.TypeReg {
		h.Size = int64(len(e.Body))
	}
	if len(e.Xattrs)+len(e.PAX) > 0 {
		h.PAXRecords = map[string]string{}
		maps.Copy(h.PAXRecords, e.PAX)
	}
	for name, value := range e.Xattrs {
		h.PAXRecords["SCHILY.xattr."+name] = value
	}
	return h
}

// Layer returns the entries as an uncompressed layer, written by the standard
// library.
func Layer(tb testing.TB, entries ...Entry) []byte {
	tb.Helper()
	layer, err := Encode(entries)
	require.NoError(tb, err)
	return layer
}

// Encode is [Layer] for those who want the error.
func Encode(entries []Entry) ([]byte, error) {
	var buf bytes.Buffer
	w := stdtar.NewWriter(&buf)
	for _, e := range entries {
		if err := w.WriteHeader(e.Header()); err != nil {
			return nil, fmt.Errorf("entry %s: %w", e.Name, err)
		}
		if e.Mtime.IsZero() {
			binaryTime(buf.Bytes()[buf.Len()-512:], e.Mtime.Unix())
		}
		if e.Type == stdtar.TypeReg {
			if _, err := w.Write([]byte(e.Body)); err != nil {
				return nil, fmt.Errorf("entry %s: %w", e.Name, err)
			}
		}
	}
	err := w.Close()
	return buf.Bytes(), err
}

// binaryTime writes the time of a header as GNU tar writes one that octal
// digits cannot say. The standard library writes the zero time.Time as 1970.
func binaryTime(header []byte, seconds int64) {
	field, sum := header[136:148], header[148:156]
	for i := range field {
		field[i] = byte(seconds >> min(63, 8*(len(field)-1-i)))
	}
	field[0] |= 0x80
	copy(sum, "        ")
	total := 0
	for _, b := range header {
		total += int(b)
	}
	copy(sum, fmt.Sprintf("%06o\x00 ", total))
}

// String says the entry in one line.
func (e Entry) String() string {
	s := fmt.Sprintf("%c %q", e.Type, e.Name)
	if e.Target != "" {
		s += fmt.Sprintf(" -> %q", e.Target)
	}
	if e.Type == stdtar.TypeReg {
		s += fmt.Sprintf(" body %q", Body(e.Body))
	}
	s += fmt.Sprintf(" mode %o owner %d:%d mtime %d.%09d", e.Mode, e.UID, e.GID, e.Mtime.Unix(), e.Mtime.Nanosecond())
	if e.Major+e.Minor != 0 {
		s += fmt.Sprintf(" device %d:%d", e.Major, e.Minor)
	}
	if len(e.Xattrs) > 0 {
		s += fmt.Sprintf(" xattrs %q", e.Xattrs)
	}
	return s
}

// ComparePaths orders paths as a walk meets them: a directory, then its
// subtree, then its next sibling; siblings bytewise.
func ComparePaths(a, b string) int {
	return strings.Compare(strings.ReplaceAll(a, "/", "\x00"), strings.ReplaceAll(b, "/", "\x00"))
}

// SortPaths sorts paths by [ComparePaths].
func SortPaths(paths []string) {
	sort.Slice(paths, func(i, j int) bool { return ComparePaths(paths[i], paths[j]) < 0 })
}
