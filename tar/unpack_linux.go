package tar

import (
	stdtar "archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/sys"
	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// An unpacker is one run of Unpack. Its fields belong to the parsing goroutine.
type unpacker struct {
	ctx     context.Context
	opts    UnpackOptions
	limits  Limits
	staging *os.File

	src    *stream
	tape   *tape
	tr     *stdtar.Reader
	spool  *os.File // holds the rest of the stream once all markers had to be known
	unread bool     // the current entry's body has not been read

	root    *node
	dirs    *dirCache
	writers *writers
	maker   *maker
	parents *parentTree

	marks     *mark
	allMarks  bool     // every marker of the stream is in marks
	assumed   []string // detached: directories that nothing but a path below them told of
	copied    []copied
	osWindows windowsSigns

	lastDir  string // path and node of the directory of the last entry
	lastNode *node

	name    string // of the current entry, as in the stream
	size    int64  // of its body
	rescued int
	entries int64
	bytes   int64 // of all bodies, holes included
	buf     []byte
}

// errAgain says that the current entry has to be read again, from the spool.
var errAgain = errors.New("read the entry again")

func unpack(ctx context.Context, staging *os.File, layer io.Reader, opts UnpackOptions) (*Delta, Applied, error) {
	if err := ctx.Err(); err != nil {
		return nil, Applied{}, ctx.Err()
	}
	algorithm := digest.Canonical
	if opts.DiffID != "" {
		if err := opts.DiffID.Validate(); err != nil {
			return nil, Applied{}, fmt.Errorf("diffID %q: %w", opts.DiffID, err)
		}
		algorithm = opts.DiffID.Algorithm()
	}
	if opts.Detached {
		opts.Parents = nil
	}
	m, err := newMaker(int(staging.Fd()), opts)
	if err != nil {
		return nil, Applied{}, err
	}
	u := &unpacker{
		ctx: ctx, opts: opts, limits: opts.Limits.withDefaults(), staging: staging,
		root: newDirNode(nil, ""), dirs: newDirCache(int(staging.Fd())), maker: m,
		parents: &parentTree{view: opts.Parents}, marks: &mark{},
	}
	u.writers = newWriters(m, opts.Writers)
	u.dirs.drain = u.writers.drain
	u.src = newStream(ctx, layer, algorithm, u.limits)
	u.tape = &tape{r: u.src, limit: u.limits.PAXBytes}
	u.tr = stdtar.NewReader(u.tape)

	delta, applied, err := u.run(algorithm)
	u.src.close(ctx.Err() == nil)
	u.writers.close()
	u.dirs.close()
	u.parents.close()
	if u.spool != nil {
		u.spool.Close()
	}
	if err != nil {
		return nil, Applied{}, err
	}
	return delta, applied, nil
}

func (u *unpacker) run(algorithm digest.Algorithm) (*Delta, Applied, error) {
	if err := u.readAll(); err != nil {
		if werr := u.writers.error(); werr != nil {
			return nil, Applied{}, werr
		}
		return nil, Applied{}, err
	}
	if err := u.writers.drain(); err != nil {
		return nil, Applied{}, err
	}
	applied := Applied{DiffID: u.src.sumAfterEOF(algorithm), Bytes: u.src.total, Entries: u.entries}
	if u.opts.DiffID != "" && applied.DiffID != u.opts.DiffID {
		return nil, Applied{}, fmt.Errorf("%w: layer is %s, want %s", ErrDigest, applied.DiffID, u.opts.DiffID)
	}
	if err := u.checkCopied(); err != nil {
		return nil, Applied{}, err
	}
	delta, err := u.finish()
	return delta, applied, err
}

// readAll reads the stream to its very end.
func (u *unpacker) readAll() error {
	for {
		hdr, err := u.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = u.entry(hdr)
		}
		if errors.Is(err, errAgain) {
			continue
		}
		if err == nil {
			err = u.writers.error()
			if err != nil {
				return err // says where already
			}
			err = u.ctx.Err()
		}
		if err != nil {
			return atEntry(u.name, u.tape.start, err)
		}
	}
	// What follows the end of the archive counts into the digest (T2).
	if _, err := io.Copy(io.Discard, u.src); err != nil {
		return atEntry("", u.src.total, err)
	}
	return nil
}

// next reads the next header, after what is left of the body before.
func (u *unpacker) next() (*stdtar.Header, error) {
	if u.unread {
		u.unread = false
		if _, err := io.Copy(io.Discard, u.tr); err != nil {
			return nil, u.readError(err)
		}
	}
	u.tape.record()
	hdr, err := u.tr.Next()
	u.tape.recording = false
	if err == io.EOF { //nolint:errorlint // the reader's contract
		return nil, io.EOF
	}
	if err != nil && !errors.Is(err, stdtar.ErrInsecurePath) {
		return nil, u.readError(err)
	}
	return hdr, nil
}

// readError explains an error of the tar reader: the stream's own if there is
// one, else the stream is no proper tar.
func (u *unpacker) readError(err error) error {
	if u.tape.err != nil {
		return u.tape.err
	}
	return invalid("%w", unexpected(err))
}

// entry carries out one entry.
func (u *unpacker) entry(hdr *stdtar.Header) error {
	if err := checkRecords(hdr, u.limits.PAXBytes); err != nil {
		return err
	}
	if hdr.Typeflag == stdtar.TypeXGlobalHeader {
		return nil // T1
	}
	u.name, u.size, u.unread = hdr.Name, hdr.Size, hdr.Size > 0
	if u.entries++; u.entries > u.limits.Entries {
		return invalid("more than %d entries", u.limits.Entries)
	}
	if u.bytes += hdr.Size; hdr.Size < 0 || u.bytes < 0 || u.bytes > u.limits.Bytes {
		return invalid("more than %d bytes of content", u.limits.Bytes)
	}
	p, err := cleanPath(hdr.Name, u.limits.PathDepth)
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
		if hdr.Typeflag == stdtar.TypeChar && !strings.Contains(p, whiteout.Prefix) {
			u.maker.warn(p, "a 0:0 character device is taken for a whiteout")
		}
		return nil
	}
	if p == "." {
		return u.rootEntry(hdr)
	}
	return u.make(p, hdr)
}

// checkRecords enforces the limit on extended headers.
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
func (u *unpacker) rootEntry(hdr *stdtar.Header) error {
	if hdr.Typeflag != stdtar.TypeDir {
		return invalid("the root must be a directory")
	}
	a, err := headerAttrs(hdr, u.opts.Encoding)
	if err != nil {
		return err
	}
	u.root.explicit, u.root.dir.attrs = true, &a
	return nil
}

// make makes the file that an entry describes.
func (u *unpacker) make(p string, hdr *stdtar.Header) error {
	if hdr.Typeflag == stdtar.TypeLink {
		return u.hardLink(p, hdr)
	}
	a, err := headerAttrs(hdr, u.opts.Encoding)
	if err != nil {
		return err
	}
	switch hdr.Typeflag {
	case stdtar.TypeDir, stdtar.TypeReg, stdtar.TypeCont, stdtar.TypeGNUSparse, stdtar.TypeFifo:
	case stdtar.TypeSymlink:
		if hdr.Linkname == "" || len(hdr.Linkname) > maxTarget || strings.IndexByte(hdr.Linkname, 0) >= 0 {
			return invalid("symbolic link with a target of %d bytes", len(hdr.Linkname))
		}
	case stdtar.TypeChar, stdtar.TypeBlock:
		if hdr.Devmajor < 0 || hdr.Devminor < 0 || hdr.Devmajor > math.MaxUint32 || hdr.Devminor > math.MaxUint32 {
			return invalid("device number %d:%d is out of range", hdr.Devmajor, hdr.Devminor)
		}
		if u.opts.UserNS {
			u.maker.warn(p, "devices cannot be made in a user namespace, skipped")
			return nil
		}
	case 's', 'V': // star's socket, GNU tar's volume label
		u.maker.warn(p, fmt.Sprintf("entry of type %q skipped", hdr.Typeflag))
		return nil
	default:
		return invalid("unknown type flag %q", hdr.Typeflag)
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
	return u.fill(n, p, hdr, a)
}

// makeDir makes a directory, or gives one that is there other attributes (R1).
func (u *unpacker) makeDir(parent *node, base string, a *attrs) error {
	if old := parent.child(base); old != nil && old.kind == kindDir {
		old.explicit, old.dir.attrs = true, a
		return nil
	}
	n, err := u.place(parent, base, kindDir)
	if err != nil {
		return err
	}
	n.explicit, n.dir.attrs = true, a
	return nil
}

// place makes room for a new node, removing what the layer had there. Of a
// directory it makes the directory too.
func (u *unpacker) place(parent *node, base string, kind nodeKind) (*node, error) {
	if int(parent.depth) >= u.limits.PathDepth {
		return nil, u.conflict("path is more than %d levels deep", u.limits.PathDepth)
	}
	if len(base) > maxName {
		return nil, u.conflict("a name of %d bytes is over the limit of %d", len(base), maxName)
	}
	// Symbolic links can lead to such a name, though no entry has one.
	if w, _, err := whiteout.Parse(base); (w != whiteout.None || err != nil) &&
		(parent.parent != nil || base != whiteout.AUFSPseudo) {
		return nil, u.conflict("a path below the marker %q", base)
	}
	old := parent.child(base)
	if old != nil {
		if err := u.remove(old); err != nil {
			return nil, err
		}
	}
	n := &node{parent: parent, name: base, kind: kind, depth: parent.depth + 1}
	if kind == kindDir {
		n = newDirNode(parent, base)
		n.cut = old != nil
	}
	n.hidden = parent.hidden || parent.parent == nil && base == whiteout.AUFSPseudo
	if kind == kindDir {
		h, err := u.dirs.get(parent)
		if err != nil {
			return nil, err
		}
		err = sys.Mkdirat(h.fd, base, 0o700)
		h.release()
		if err != nil {
			return nil, err
		}
	}
	parent.add(n)
	return n, nil
}

// remove removes a node and what is below it from the staging directory.
func (u *unpacker) remove(n *node) error {
	u.lastNode = nil
	if n.kind != kindDir {
		if err := u.writers.wait(n); err != nil {
			return err
		}
	} else {
		if err := u.writers.drain(); err != nil {
			return err
		}
		for _, c := range n.dir.children {
			if err := u.remove(c); err != nil {
				return err
			}
		}
		if n.dir.handle != nil {
			u.dirs.drop(n.dir.handle)
		}
	}
	n.dead = true
	delete(n.parent.dir.children, n.name)
	h, err := u.dirs.get(n.parent)
	if err != nil {
		return err
	}
	defer h.release()
	if n.kind == kindDir {
		return sys.Rmdirat(h.fd, n.name)
	}
	return sys.Unlinkat(h.fd, n.name)
}

// fill makes the non-directory of a new node, beside this goroutine if it can.
func (u *unpacker) fill(n *node, p string, hdr *stdtar.Header, a attrs) error {
	h, err := u.dirs.get(n.parent)
	if err != nil {
		return err
	}
	j := &job{node: n, dir: h, name: n.name, path: p, pos: u.tape.start, attrs: a}
	switch hdr.Typeflag {
	case stdtar.TypeSymlink:
		n.kind, n.target = kindSymlink, hdr.Linkname
		j.do = func(m *maker, j *job) error { return m.symlink(j, j.node.target) }
	case stdtar.TypeFifo:
		j.do = func(m *maker, j *job) error { return m.special(j, diff.TypeFifo, 0) }
	case stdtar.TypeChar, stdtar.TypeBlock:
		typ, dev := uint32(diff.TypeChar), unix.Mkdev(uint32(hdr.Devmajor), uint32(hdr.Devminor))
		if hdr.Typeflag == stdtar.TypeBlock {
			typ = diff.TypeBlock
		}
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

// readBody reads a small body into an arena.
func (u *unpacker) readBody(j *job, size int) error {
	if size == 0 {
		return nil
	}
	j.body, j.arena = u.writers.arenas.alloc(size)
	if _, err := io.ReadFull(u.tr, j.body); err != nil {
		u.writers.arenas.release(j.arena)
		return u.readError(err)
	}
	u.unread = false
	return nil
}
