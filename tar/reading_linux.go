package tar

import (
	stdtar "archive/tar"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/layerkeep/layerkeep/diff"
)

// A reading is one run over a layer's stream: it decides what every entry
// means, keeps the tree of nodes that the layer makes, and leaves it to its
// effects what comes of them. Unpack and Verify share it, so that they cannot
// disagree about what a layer says.
type reading struct {
	ctx     context.Context
	opts    UnpackOptions
	limits  Limits
	longest int // bytes of a name
	do      effects

	src     *stream
	tape    *tape
	tr      *stdtar.Reader
	escaped bool // an attribute was escaped
	unread  bool // the current entry's body has not been read

	root    *node
	parents *parentTree

	dropped   droppedRecords
	marks     *mark
	allMarks  bool // every marker of the stream is in marks
	assumed   bool // detached: a mark is
	copied    []copied
	osWindows windowsSigns

	lastDir  string // path and node of the directory of the last entry
	lastNode *node

	header   *stdtar.Header // of the current entry
	name     string         // of the current entry, as in the stream
	size     int64          // of its body
	entries  int64
	implied  int64 // directories made without an entry
	bytes    int64 // of all bodies, holes included
	kept     int64 // bytes of memory that nodes and the like take, see keep
	forgetAt int64 // how many bytes kept make it forget some
	// followed are the bytes of the link targets that paths have led through.
	followed int64
}

// effects are what the entries of a layer lead to. Every node that they are
// given has its place in the tree of nodes.
type effects interface {
	// next returns the header of the next entry, after what is left of the body
	// before; a bare io.EOF at the end of the archive.
	next() (*stdtar.Header, error)
	// mkdir makes a new directory, whose attributes are not known yet.
	mkdir(n *node) error
	// describe keeps the attributes of an entry for a directory.
	describe(n *node, a *attributes) error
	// recall returns the node of a name that is in a directory, though no node of
	// it was kept; nil when there is nothing.
	recall(parent *node, name string) (*node, error)
	// forget lets go of what can be found out again, to free memory.
	forget() error
	// fill makes a new file that is no directory, and reads its body.
	fill(n *node, p string, hdr *stdtar.Header, a attributes) error
	// copy makes a new file that is no directory as the parents have it: called
	// name in the directory in.
	copy(n *node, p string, from diff.Node, a attributes, in diff.Dir, name string) error
	// link gives a file another name, in place of what has that name.
	link(from, parent *node, base string) error
	// await returns once nothing is under way for a node that is about to be
	// removed.
	await(n *node) error
	// unlink removes a file, or a directory that is empty by now.
	unlink(n *node) error
	// readAhead reads the rest of the stream for its markers, and sees to it that
	// the current entry and all after it come again. It returns errAgain.
	readAhead() error
	// lostParents reports whether the parents could not be read for this entry,
	// and that was borne: what they seem to lack may be there.
	lostParents() bool
	// failed returns the error of work that was handed on, with its place.
	failed() error
	warn(path, message string)
}

// errAgain says that the current entry has to be read again, from the spool.
var errAgain = errors.New("read the entry again")

func newReading(ctx context.Context, opts UnpackOptions) reading {
	u := reading{
		ctx: ctx, opts: opts, limits: opts.Limits.withDefaults(), longest: opts.MaxName,
		root: newDirNode(nil, ""), parents: &parentTree{view: opts.Parents}, marks: &mark{},
	}
	if u.longest <= 0 || u.longest > maxName {
		u.longest = maxName
	}
	return u
}

// algorithmOf returns the algorithm of a digest that may be empty.
func algorithmOf(d digest.Digest) (digest.Algorithm, error) {
	if d == "" {
		return digest.Canonical, nil
	}
	if err := d.Validate(); err != nil {
		return "", fmt.Errorf("diffID %q: %w", d, err)
	}
	return d.Algorithm(), nil
}

func (u *reading) start(layer io.Reader, algorithm digest.Algorithm) {
	u.src = newStream(u.ctx, layer, algorithm, u.limits)
	u.tape = &tape{r: u.src, limit: u.limits.PAXBytes}
	u.tr = stdtar.NewReader(u.tape)
}

func (u *reading) close() {
	u.src.close()
	u.parents.close()
}

// applied says what was read, once that was everything, and checks what can be
// checked only then.
func (u *reading) applied(algorithm digest.Algorithm) (Applied, error) {
	applied := Applied{DiffID: u.src.sumAfterEOF(algorithm), Bytes: u.src.total, Entries: u.entries}
	if u.opts.DiffID != "" && applied.DiffID != u.opts.DiffID {
		return Applied{}, fmt.Errorf("%w: layer is %s, want %s", ErrDigest, applied.DiffID, u.opts.DiffID)
	}
	return applied, u.checkCopied()
}

// readAll reads the stream to its very end.
func (u *reading) readAll() error {
	for {
		hdr, err := u.do.next()
		if err == io.EOF { //nolint:errorlint // bare, as next returns it
			break
		}
		if err == nil {
			err = u.entry(hdr)
		}
		if errors.Is(err, errAgain) {
			continue
		}
		if err == nil {
			err = u.do.failed()
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
	u.dropped.report(u.do.warn)
	return nil
}

// next reads the next header, after what is left of the body before.
func (u *reading) next() (*stdtar.Header, error) {
	if u.unread {
		u.unread = false
		if _, err := io.Copy(io.Discard, u.tr); err != nil {
			return nil, u.readError(err)
		}
	}
	u.tape.record()
	hdr, err := u.tr.Next()
	u.tape.recording = false
	if err == io.EOF {
		return nil, io.EOF
	}
	if err != nil && !errors.Is(err, stdtar.ErrInsecurePath) {
		return nil, u.readError(err)
	}
	return hdr, nil
}

// readError explains an error of the tar reader: the stream's own if there is
// one, else the stream is no proper tar.
func (u *reading) readError(err error) error {
	if u.tape.err != nil {
		return u.tape.err
	}
	return invalid("%w", unexpected(err))
}
