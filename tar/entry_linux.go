package tar

import (
	stdtar "archive/tar"
	"fmt"
	"io"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// entry processes one entry of the layer tar.
func (u *reading) entry(hdr *stdtar.Header) error {
	if err := checkRecords(hdr, u.limits.PAXBytes); err != nil {
		return err
	}
	if hdr.Typeflag == stdtar.TypeXGlobalHeader {
		return nil // T1
	}
	u.header, u.name, u.size, u.unread = hdr, hdr.Name, hdr.Size, hdr.Size != 0
	u.entries++
	if err := u.countEntries(); err != nil {
		return err
	}
	if u.bytes += hdr.Size; hdr.Size < 0 || u.bytes < 0 || u.bytes > u.limits.Bytes {
		return invalid("more than %d bytes of content", u.limits.Bytes)
	}
	p, err := cleanPath(hdr.Name, u.limits.PathDepth, u.longest)
	if err != nil {
		return err
	}
	if err := u.osWindows.check(p, hdr); err != nil {
		return err
	}
	r, err := readMarker(u.marks, p, hdr)
	if err != nil || r == roleSkip {
		return err
	}
	if r == roleMarker {
		if err := u.countEntries(); err != nil {
			return err
		}
		if hdr.Typeflag == stdtar.TypeChar && !strings.Contains(p, whiteout.Prefix) {
			u.do.warn(p, "a 0:0 character device is taken for a whiteout")
		}
		return nil
	}
	if p == "." {
		return u.rootEntry(hdr)
	}
	return u.make(p, hdr)
}

// countEntries enforces the limit on entries. Implied directories and marks
// cost as much as an entry, so they count as entries: a path of a few bytes can
// ask for hundreds of directories.
func (u *reading) countEntries() error {
	if u.entries+u.implied+u.marks.made().marks > u.limits.Entries {
		return invalid("more than %d entries, with the directories that their paths imply", u.limits.Entries)
	}
	return u.keep(0)
}

// checkRecords enforces the limit on the size of extended headers.
func checkRecords(hdr *stdtar.Header, limit int64) error {
	var size int64
	for key, value := range hdr.PAXRecords {
		size += int64(len(key) + len(value))
	}
	if size > limit {
		return invalid("an extended header of more than %d bytes", limit)
	}
	return nil
}

// rootEntry sets the attributes of the root directory (A3).
func (u *reading) rootEntry(hdr *stdtar.Header) error {
	if hdr.Typeflag != stdtar.TypeDir {
		return invalid("the root must be a directory")
	}
	a, err := u.attrs(".", hdr)
	if err != nil {
		return err
	}
	return u.describe(u.root, &a)
}

// attrs returns the attributes that the header of an entry gives, and records
// whether one of them has to be escaped.
func (u *reading) attrs(p string, hdr *stdtar.Header) (attributes, error) {
	a, err := headerAttrs(hdr, u.opts.Encoding)
	if err != nil {
		return a, err
	}
	for _, name := range a.foreign {
		u.do.warn(p, "extended attribute "+name+" is not one that Linux has, dropped")
	}
	u.dropped.see(p, hdr, u.tape.start)
	own := u.opts.Encoding.XattrPrefix()
	for _, x := range a.Xattrs {
		if own == "" || !strings.HasPrefix(x.Name, own) {
			continue
		}
		if u.opts.NoEscape {
			name, _ := u.opts.Encoding.XattrFromDisk(x.Name)
			return a, fmt.Errorf("extended attribute %s: %w", name, ErrOwnXattr)
		}
		u.escaped = true
	}
	return a, nil
}

func (u *reading) make(p string, hdr *stdtar.Header) error {
	if hdr.Typeflag == stdtar.TypeLink {
		return u.hardLink(p, hdr)
	}
	a, err := u.attrs(p, hdr)
	if err != nil {
		return err
	}
	if skip, err := u.checkType(p, hdr); skip || err != nil {
		return err
	}
	dir, base := splitPath(p)
	parent, err := u.resolveDir(dir)
	if err != nil {
		return err
	}
	if hdr.Typeflag == stdtar.TypeDir {
		return u.makeDir(parent, base, &a)
	}
	n, err := u.place(parent, base, kindOther)
	if err != nil {
		return err
	}
	if hdr.Typeflag == stdtar.TypeSymlink {
		n.kind = kindSymlink
		u.setTarget(n, strings.Clone(hdr.Linkname))
	}
	return u.do.fill(n, p, hdr, a)
}

// The kernel has 12 bits for a major and 20 bits for a minor device number
// (linux/kdev_t.h). mknod(2) drops higher bits, so 4096:0 would become 0:0, a
// whiteout.
const (
	maxMajor = 1<<12 - 1
	maxMinor = 1<<20 - 1
)

// checkType returns an error for an entry that no file can be made of. skip is
// true for an entry that is ignored.
func (u *reading) checkType(p string, hdr *stdtar.Header) (skip bool, err error) {
	switch hdr.Typeflag {
	case stdtar.TypeDir, stdtar.TypeReg, stdtar.TypeCont, stdtar.TypeGNUSparse, stdtar.TypeFifo:
	case stdtar.TypeSymlink:
		if hdr.Linkname == "" || len(hdr.Linkname) > maxTarget || strings.IndexByte(hdr.Linkname, 0) >= 0 {
			return false, invalid("symbolic link with a target of %d bytes", len(hdr.Linkname))
		}
	case stdtar.TypeChar, stdtar.TypeBlock:
		if hdr.Devmajor < 0 || hdr.Devminor < 0 || hdr.Devmajor > maxMajor || hdr.Devminor > maxMinor {
			return false, invalid("device number %d:%d is out of range", hdr.Devmajor, hdr.Devminor)
		}
		if u.opts.UserNS {
			u.do.warn(p, "devices cannot be made in a user namespace, skipped")
			return true, nil
		}
	case 's', 'V': // star's socket, GNU tar's volume label
		u.do.warn(p, fmt.Sprintf("entry of type %q skipped", hdr.Typeflag))
		return true, nil
	default:
		return false, invalid("unknown type flag %q", hdr.Typeflag)
	}
	return false, nil
}

// makeDir makes a directory. If the directory already exists, it gets the new
// attributes (R1).
func (u *reading) makeDir(parent *node, base string, a *attributes) error {
	// Nodes of directories are never forgotten.
	if old := parent.child(base); old != nil && old.kind == kindDir {
		return u.describe(old, a)
	}
	n, err := u.place(parent, base, kindDir)
	if err != nil {
		return err
	}
	return u.describe(n, a)
}

// describe gives a directory the attributes of its entry.
func (u *reading) describe(n *node, a *attributes) error {
	u.kept -= n.cost()
	n.explicit, n.implied = true, false
	u.kept += n.cost()
	return u.do.describe(n, a)
}

// fill makes the file of a new node that is not a directory. It hands the job
// to a writer if it can; a large or sparse file it writes itself.
func (u *unpacker) fill(n *node, p string, hdr *stdtar.Header, a attributes) error {
	if err := u.room.take(roomFile); err != nil {
		return err
	}
	h, err := u.dirs.get(n.parent)
	if err != nil {
		return err
	}
	j := &job{node: n, dir: h, name: n.name, path: p, pos: u.tape.start, attrs: a}
	switch hdr.Typeflag {
	case stdtar.TypeSymlink:
		j.do = func(m *maker, j *job) error { return m.symlink(j, j.node.target) }
	case stdtar.TypeFifo:
		j.do = func(m *maker, j *job) error { return m.special(j, diff.TypeFifo, 0) }
	case stdtar.TypeChar, stdtar.TypeBlock:
		typ, dev := device(hdr)
		j.do = func(m *maker, j *job) error { return m.special(j, typ, dev) }
	default:
		if hdr.Size > smallBody || isSparse(hdr) {
			defer h.release()
			return u.streamFile(j, hdr)
		}
		if err := u.readBody(j, int(hdr.Size)); err != nil {
			h.release()
			return err
		}
		j.do = (*maker).file
	}
	u.writers.add(j)
	return nil
}

// device returns the file type and the number of a device.
func device(hdr *stdtar.Header) (typ uint32, dev uint64) {
	typ = diff.TypeChar
	if hdr.Typeflag == stdtar.TypeBlock {
		typ = diff.TypeBlock
	}
	return typ, unix.Mkdev(uint32(hdr.Devmajor), uint32(hdr.Devminor))
}

// readBody reads a small body into an arena.
func (u *unpacker) readBody(j *job, size int) error {
	if size == 0 {
		return nil
	}
	if err := u.room.take(int64(size)); err != nil {
		return err
	}
	j.body, j.arena = u.writers.arenas.alloc(size)
	if _, err := io.ReadFull(u.tr, j.body); err != nil {
		u.writers.arenas.release(j.arena)
		return u.readError(err)
	}
	u.unread = false
	return nil
}
