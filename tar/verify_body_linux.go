package tar

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"

	"github.com/layerkeep/layerkeep/diff"
)

// inode identifies a file within one view.
type inode struct{ dev, ino uint64 }

func inodeOf(n *diff.Node) inode { return inode{n.Dev, n.Ino} }

// A body describes the content that a file must have. Either the content was
// compared with a file while it was read from the tar, or there is a digest of
// it, or it is the content of a file of the parents. If a comparison found a
// difference, there is also a digest, unless the file could not be read again.
type body struct {
	parents string // the path in the parents, if their file has the content

	compared outcome
	with     inode // the file in merged that it was compared with
	at       *node // the path of that file
	offset   int64 // of the first difference; negative if not known
	err      error // for unreadable

	hashed bool
	sum    [sha256.Size]byte
}

type outcome uint8

const (
	notCompared outcome = iota
	equal
	different
	unreadable
)

// readBody reads the body of the current entry and compares it with the file
// that is now at its path in merged. This is the right file unless a later
// entry takes the path, so most bodies need not be stored or hashed.
func (v *verifier) readBody(n *node, size int64) (*body, error) {
	if v.replay != nil {
		return &body{hashed: true, sum: v.replay.cur.sum}, nil
	}
	v.makeBuffers()
	b := &body{at: n}
	f, now, err := v.openAt(n.path(), size)
	if err != nil {
		return nil, err
	}
	if f == nil {
		return b, v.hashRest(b, sha256.New(), size)
	}
	defer f.Close()
	b.with = inodeOf(&now)
	return b, v.compareBody(b, f, size)
}

func (v *verifier) makeBuffers() {
	if v.fromTar == nil {
		v.fromTar, v.fromFile = blocks.get(), blocks.get()
	}
}

// openAt opens a regular file of the merged tree that has the given size. It
// returns nil if there is no such file or it cannot be read; the comparison of
// the trees reports that.
func (v *verifier) openAt(p string, size int64) (io.ReadCloser, diff.Node, error) {
	now, in, name, ok, err := v.merged.lookup(p)
	if err == nil && (!ok || !now.IsRegular() || now.Size != size) {
		return nil, now, nil
	}
	var f io.ReadCloser
	if err == nil {
		f, err = in.Open(name)
	}
	if isDamage(err) {
		return nil, now, nil
	}
	return f, now, err
}

// compareBody compares the current body with a file.
func (v *verifier) compareBody(b *body, f io.Reader, size int64) error {
	for at := int64(0); at < size; {
		if err := v.ctx.Err(); err != nil {
			return err
		}
		n := int(min(size-at, blockSize))
		chunk := v.fromTar[:n]
		if _, err := io.ReadFull(v.tr, chunk); err != nil {
			return v.readError(err)
		}
		same, err := v.sameChunk(f, chunk)
		if err != nil && !isDamage(err) {
			return err
		}
		if err != nil {
			b.compared, b.err = unreadable, err
		} else if same < n {
			b.compared, b.offset = different, at+int64(same)
		}
		if b.compared != notCompared {
			return v.hashAfter(b, at, chunk, size-at-int64(n))
		}
		at += int64(n)
	}
	b.compared = equal
	return nil
}

// sameChunk reads the next part of the file. It returns how many bytes at its
// start are equal to the chunk.
func (v *verifier) sameChunk(f io.Reader, chunk []byte) (int, error) {
	n, err := io.ReadFull(f, v.fromFile[:len(chunk)])
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return 0, err
	}
	file := v.fromFile[:n]
	if bytes.Equal(file, chunk) {
		return len(chunk), nil
	}
	same := 0
	for same < n && file[same] == chunk[same] {
		same++
	}
	return same, nil
}

// hashAfter computes the digest of a body. The first same bytes are equal to
// those of the file, then comes chunk, and rest bytes are still to be read. If
// the file cannot be read again, there is no digest.
func (v *verifier) hashAfter(b *body, same int64, chunk []byte, rest int64) error {
	h := sha256.New()
	if same > 0 {
		n, err := v.hashStart(b, h, same)
		if isDamage(err) || err == nil && n != same {
			return nil // next skips the rest of the body
		}
		if err != nil {
			return err
		}
	}
	h.Write(chunk)
	return v.hashRest(b, h, rest)
}

// hashStart hashes the first size bytes of the file that the body is compared
// with.
func (v *verifier) hashStart(b *body, h hash.Hash, size int64) (int64, error) {
	f, _, err := v.merged.open(b.at.path())
	if err != nil {
		return 0, err
	}
	n, err := io.CopyBuffer(onlyWriter{h}, cancellable{io.LimitReader(f, size), v.ctx}, v.fromFile)
	return n, errors.Join(err, f.Close())
}

// hashRest hashes the rest of the current body and sets the digest.
func (v *verifier) hashRest(b *body, h hash.Hash, size int64) error {
	n, err := io.CopyBuffer(onlyWriter{h}, cancellable{v.tr, v.ctx}, v.fromFile)
	if err == nil && n != size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil && v.ctx.Err() != nil {
		return v.ctx.Err()
	}
	if err != nil {
		return v.readError(err)
	}
	h.Sum(b.sum[:0])
	b.hashed = true
	return nil
}

// open opens the regular file at a path. It does not follow symbolic links.
func (t *parentTree) open(p string) (io.ReadCloser, diff.Node, error) {
	n, in, name, ok, err := t.lookup(p)
	if err != nil {
		return nil, n, err
	}
	if !ok || !n.IsRegular() {
		return nil, n, &fs.PathError{Op: "open", Path: p, Err: fs.ErrNotExist}
	}
	f, err := in.Open(name)
	return f, n, err
}

// cancellable is a reader that returns an error once its context has ended.
type cancellable struct {
	r   io.Reader
	ctx context.Context
}

func (c cancellable) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// sumOf returns the digest of a file's content and closes the file.
func sumOf(ctx context.Context, f io.ReadCloser, buf []byte) (sum [sha256.Size]byte, err error) {
	h := sha256.New()
	_, err = io.CopyBuffer(onlyWriter{h}, cancellable{f, ctx}, buf)
	if err = errors.Join(err, f.Close()); err != nil {
		return sum, fmt.Errorf("read: %w", err)
	}
	h.Sum(sum[:0])
	return sum, nil
}
