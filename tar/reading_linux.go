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

// A reading is one run over the stream of a layer. It decides what every entry
// means and builds the tree of nodes. Its effects do the rest: Unpack makes
// files, Verify compares. Because both share the reading, they cannot disagree
// about what a layer says.
type reading struct {
	ctx     context.Context
	opts    UnpackOptions
	limits  Limits
	longest int // limit on the length of a name, in bytes
	do      effects

	src     *stream
	tape    *tape
	tr      *stdtar.Reader
	escaped bool // an attribute was escaped
	unread  bool // the body of the current entry was not read yet

	root    *node
	parents *parentTree

	dropped   droppedRecords
	marks     *mark
	allMarks  bool // every marker of the stream is in marks
	assumed   bool // a detached layer has a mark that is assumed
	copied    []copied
	osWindows windowsSigns

	lastDir  string // path and node of the last directory that a path resolved to
	lastNode *node

	header   *stdtar.Header // of the current entry
	name     string         // of the current entry, as in the stream
	size     int64          // of its body, in bytes
	entries  int64
	implied  int64 // directories made without an entry
	bytes    int64 // of all bodies, holes included
	kept     int64 // bytes of memory for nodes and similar data, see keep
	forgetAt int64 // the value of used at which keep calls forget
	// followed is the total bytes of the link targets that paths went through.
	followed int64
}

// effects is what a reading does with the entries of a layer. Every node that a
// method receives is in the tree of nodes.
type effects interface {
	// next returns the header of the next entry. It first skips the unread rest of
	// the last body. At the end of the archive it returns a bare io.EOF.
	next() (*stdtar.Header, error)
	// mkdir makes a new directory. Its attributes are not known yet.
	mkdir(n *node) error
	// describe stores the attributes of a directory, as an entry gives them.
	describe(n *node, a *attributes) error
	// recall returns the node of an existing file whose node was forgotten. It
	// returns nil if there is no file of that name.
	recall(parent *node, name string) (*node, error)
	// forget frees memory: it drops what can be read again later.
	forget() error
	// fill makes a new file that is not a directory, and reads its body.
	fill(n *node, p string, hdr *stdtar.Header, a attributes) error
	// copy makes a copy of a file of the parents that is not a directory. in and
	// name are the directory and the name of the file there.
	copy(n *node, p string, from diff.Node, a attributes, in diff.Dir, name string) error
	// link makes a hard link to a file. It replaces a file that has the new name.
	link(from, parent *node, base string) error
	// await waits until no work is pending for a node that is about to be removed.
	await(n *node) error
	// unlink removes a file, or a directory that is already empty.
	unlink(n *node) error
	// readAhead reads the rest of the stream for its markers. It arranges that next
	// returns the current entry and all later ones again, and returns errAgain.
	readAhead() error
	// lostParents reports whether reading the parents failed for this entry and the
	// failure was tolerated. A file that the parents seem to lack may then exist.
	lostParents() bool
	// failed returns the error of work that runs in the background. The error
	// already says where it happened.
	failed() error
	warn(path, message string)
}

// errAgain says that the current entry must be read again, from the spool.
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

// applied returns the result, after the whole stream was read. It makes the
// checks that need the whole stream.
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
		if err == io.EOF { //nolint:errorlint // next returns the bare io.EOF
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
				return err // it already says where
			}
			err = u.ctx.Err()
		}
		if err != nil {
			return atEntry(u.name, u.tape.start, err)
		}
	}
	// The bytes after the end of the archive are part of the digest (T2).
	if _, err := io.Copy(io.Discard, u.src); err != nil {
		return atEntry("", u.src.total, err)
	}
	u.dropped.report(u.do.warn)
	return nil
}

// next skips the unread rest of the last body and reads the next header.
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

// readError explains an error of the tar reader. If the stream itself has
// failed, it returns that error. Otherwise the stream is not a valid tar.
func (u *reading) readError(err error) error {
	if u.tape.err != nil {
		return u.tape.err
	}
	return invalid("%w", unexpected(err))
}
