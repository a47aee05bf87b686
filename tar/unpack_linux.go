package tar

import (
	stdtar "archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
)

// An unpacker is one run of Unpack. Its fields belong to the parsing goroutine.
type unpacker struct {
	ctx     context.Context
	opts    UnpackOptions
	limits  Limits
	longest int // bytes of a name
	staging *os.File

	src     *stream
	tape    *tape
	tr      *stdtar.Reader
	spool   *os.File // holds the rest of the stream once all markers had to be known
	escaped bool     // an attribute was escaped
	unread  bool     // the current entry's body has not been read

	root    *node
	dirs    *dirCache
	writers *writers
	maker   *maker
	parents *parentTree

	marks     *mark
	allMarks  bool // every marker of the stream is in marks
	assumed   bool // detached: a mark is
	copied    []copied
	osWindows windowsSigns

	lastDir  string // path and node of the directory of the last entry
	lastNode *node

	name    string // of the current entry, as in the stream
	size    int64  // of its body
	rescued int
	entries int64
	implied int64 // directories made without an entry
	bytes   int64 // of all bodies, holes included
	// followed are the bytes of the link targets that paths have led through.
	followed int64
	buf      []byte
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
	u, err := newUnpacker(ctx, staging, opts)
	if err != nil {
		return nil, Applied{}, err
	}
	defer u.close()
	u.start(layer, algorithm)
	delta, applied, err := u.run(algorithm)
	if err != nil {
		return nil, Applied{}, err
	}
	return delta, applied, nil
}

func newUnpacker(ctx context.Context, staging *os.File, opts UnpackOptions) (*unpacker, error) {
	m, err := newMaker(int(staging.Fd()), opts)
	if err != nil {
		return nil, err
	}
	u := &unpacker{
		ctx: ctx, opts: opts, limits: opts.Limits.withDefaults(), staging: staging,
		root: newDirNode(nil, ""), dirs: newDirCache(int(staging.Fd())), maker: m,
		parents: &parentTree{view: opts.Parents}, marks: &mark{},
	}
	if u.longest = opts.MaxName; u.longest <= 0 || u.longest > maxName {
		u.longest = maxName
	}
	u.writers = newWriters(m, opts.Writers)
	u.dirs.drain = u.writers.drain
	return u, nil
}

func (u *unpacker) start(layer io.Reader, algorithm digest.Algorithm) {
	u.src = newStream(u.ctx, layer, algorithm, u.limits)
	u.tape = &tape{r: u.src, limit: u.limits.PAXBytes}
	u.tr = stdtar.NewReader(u.tape)
}

func (u *unpacker) close() {
	u.src.close()
	u.writers.close()
	u.dirs.close()
	u.parents.close()
	if u.spool != nil {
		u.spool.Close()
	}
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
func (u *unpacker) readError(err error) error {
	if u.tape.err != nil {
		return u.tape.err
	}
	return invalid("%w", unexpected(err))
}
