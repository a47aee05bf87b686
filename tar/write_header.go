package tar

import (
	stdtar "archive/tar"
	"errors"
	"fmt"
	"math"
	"path"
	"strings"
	"time"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// xattrRecord is the prefix of the PAX keys for extended attributes. star, GNU
// tar and all container engines use it.
const xattrRecord = "SCHILY.xattr."

// noID is (uid_t)-1, which the kernel reads as "no ID".
const noID = math.MaxUint32

var (
	errPath   = errors.New("not a clean path below the root")
	errMarker = errors.New("a name that starts with .wh. cannot be in a layer")
	errType   = errors.New("a layer cannot hold this type of file")
	errID     = errors.New("owner without an id")
)

// maxHeader is the largest size in bytes of the records of an extended header:
// Go's archive/tar, and so every container engine, refuses to read more.
// headerRecords is the size in bytes of the records that every entry may have.
const (
	maxHeader     = 1 << 20
	headerRecords = 512
)

// checkSize returns an error for a header that no reader accepts.
func checkSize(h *stdtar.Header) error {
	size := headerRecords + len(h.Name) + len(h.Linkname)
	for name, value := range h.PAXRecords {
		size += len(name) + len(value) + len("1000000  =\n")
	}
	if size > maxHeader {
		return fmt.Errorf("%w: its path, link target and %d extended attributes take %d bytes, and an entry of a layer can have %d",
			diff.ErrNotCarried, len(h.PAXRecords), size, maxHeader)
	}
	return nil
}

// shortPath shortens a path for an error message, because a very long path
// would make the message unreadable.
func shortPath(p string) string {
	if len(p) > 2*maxShown {
		return shownName(p)
	}
	return p
}

// checkPath returns an error for a path that Compare never yields or that a
// layer cannot express.
func checkPath(p string) error {
	if len(p) > MaxPath {
		return fmt.Errorf("%w: its path has %d bytes, and one in a layer can have %d", diff.ErrNotCarried, len(p), MaxPath)
	}
	if p == "" || p != path.Clean(p) || path.IsAbs(p) || p == ".." || strings.HasPrefix(p, "../") {
		return errPath
	}
	if strings.HasPrefix(p, whiteout.Prefix) || strings.Contains(p, "/"+whiteout.Prefix) {
		return errMarker
	}
	return nil
}

// fill fills lw.header for a change.
func (lw *layerWriter) fill(c *diff.Change) error {
	// With this format, archive/tar writes PAX records for what ustar cannot hold,
	// and a plain ustar header if there is nothing like that. Without a format it
	// would round times to seconds.
	lw.header = stdtar.Header{Format: stdtar.FormatPAX, ModTime: time.Unix(0, 0)}
	h := &lw.header
	if c.Kind == diff.Delete {
		if c.Path == "." {
			return errPath
		}
		dir, name := path.Split(c.Path)
		h.Typeflag, h.Name = stdtar.TypeReg, dir+whiteout.Name(name)
		return nil
	}
	if c.Node.UID == noID || c.Node.GID == noID {
		return errID
	}
	h.Name = c.Path
	h.Mode = int64(c.Node.Perm())
	h.Uid, h.Gid = int(c.Node.UID), int(c.Node.GID)
	h.ModTime = c.Node.Mtime
	if limit := lw.opts.MaxTime; !limit.IsZero() && isLater(h.ModTime, limit) {
		h.ModTime = limit
	}
	lw.xattrs(c)
	return setType(h, c)
}

func setType(h *stdtar.Header, c *diff.Change) error {
	if c.Hardlink != "" {
		if err := checkPath(c.Hardlink); err != nil {
			return fmt.Errorf("link to %s: %w", c.Hardlink, err)
		}
		h.Typeflag, h.Linkname = stdtar.TypeLink, c.Hardlink
		return nil
	}
	switch c.Node.Type() {
	case diff.TypeDir:
		h.Typeflag = stdtar.TypeDir
		h.Name += "/"
	case diff.TypeRegular:
		h.Typeflag, h.Size = stdtar.TypeReg, c.Node.Size
	case diff.TypeSymlink:
		h.Typeflag, h.Linkname = stdtar.TypeSymlink, c.Linkname
	case diff.TypeFifo:
		h.Typeflag = stdtar.TypeFifo
	case diff.TypeBlock, diff.TypeChar:
		return setDevice(h, c.Node)
	default:
		return errType
	}
	return nil
}

// setDevice splits a device number into major and minor. It inverts how the
// kernel and the C library combine them for stat(2): new_encode_dev in
// linux/kdev_t.h, and the 64-bit form of the C library.
func setDevice(h *stdtar.Header, n diff.Node) error {
	h.Devmajor = int64(n.Rdev>>8&0xfff | n.Rdev>>32&0xfffff000)
	h.Devminor = int64(n.Rdev&0xff | n.Rdev>>12&0xffffff00)
	switch {
	case n.Type() == diff.TypeBlock:
		h.Typeflag = stdtar.TypeBlock
	case n.Rdev == 0:
		return errType // a whiteout of overlay; no overlay mount can show such a device
	default:
		h.Typeflag = stdtar.TypeChar
	}
	return nil
}

// xattrs adds the extended attributes; archive/tar writes them sorted by key. A
// hard link repeats the attributes of its file: some appliers set the owner
// again for a hard link, and the kernel then drops the capabilities of the
// file.
func (lw *layerWriter) xattrs(c *diff.Change) {
	if len(c.Xattrs) == 0 {
		return
	}
	records := make(map[string]string, len(c.Xattrs))
	for name, value := range c.Xattrs {
		if strings.Contains(name, "=") {
			if lw.opts.Warn != nil {
				lw.opts.Warn(c.Path, "an extended attribute with an equals sign in its name cannot be in a layer; left out: "+name)
			}
			continue
		}
		records[xattrRecord+name] = value
	}
	lw.header.PAXRecords = records
}
