package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/durable"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
	"github.com/layerkeep/layerkeep/tar"
)

// DefaultDigestLimit is the size of a layer, in bytes, up to which a commit
// reads the layer again for a digest, unless Options.DigestLimit is set.
const DefaultDigestLimit = 64 << 20

// digestAt adds the digest of the changes to the row of a sealed layer. With it
// a later check can tell whether the layer still is what was committed. The
// digest costs one reading of the changes, right after they were written. So
// digestAt skips a large layer. commit does not call it for a layer that came
// from a layer tar, which can be compared with the tar.
func (s *Snapshotter) digestAt(ctx context.Context, row *meta.Snapshot) {
	if row.Usage.Bytes > s.digestLimit {
		return
	}
	// Count the bytes that are read. The disk usage is far from that for sparse
	// files, and for many empty files.
	left := s.digestLimit
	sum, err := s.contentDigest(ctx, *row, func(n int) error {
		if left -= int64(n); left < 0 {
			return errTooLong
		}
		return nil
	})
	if errors.Is(err, errTooLong) {
		return
	}
	if err != nil {
		// The commit itself has succeeded. A layer that no layer tar can contain is not
		// damaged.
		s.log.WarnContext(ctx, "no digest of the committed layer is kept", "layer", row.Layer, "error", err)
		return
	}
	row.Digest = sum.String()
}

// inscribeDigest writes the digest into the record of a sealed layer too. On a
// full disk only the row has the digest.
func (s *Snapshotter) inscribeDigest(ctx context.Context, row meta.Snapshot) error {
	if row.Digest == "" {
		return nil
	}
	err := s.inscribe(context.WithoutCancel(ctx), row)
	if durable.NoRoom(err) {
		s.log.InfoContext(ctx, "no room for the digest in the layer's record", "layer", row.Layer, "error", err)
		return nil
	}
	return err
}

// errTooLong: the layer is longer than the limit up to which it is read for a
// digest.
var errTooLong = errors.New("longer than the limit for digests")

// contentDigest returns the digest of the changes of a snapshot as a layer tar.
// It calls read with the number of bytes of each write to the digest; an error
// of read ends it.
func (s *Snapshotter) contentDigest(ctx context.Context, row meta.Snapshot, read func(int) error) (digest.Digest, error) {
	sum := digest.Canonical.Digester()
	_, err := driver.Diff(ctx, s.driver, layerOf(row), teller{sum.Hash(), read}, driver.DiffOptions{
		Warn: func(string, string) {},
	})
	return sum.Digest(), err
}

// teller is a writer that calls tell with the number of bytes of each write.
type teller struct {
	w    io.Writer
	tell func(int) error
}

func (t teller) Write(p []byte) (int, error) {
	n, err := t.w.Write(p)
	return n, errors.Join(err, t.tell(n))
}

// ContentDigest returns the digest of the snapshot's changes, for a comparison
// with Layer.Digest. It does not trust the times of files, because a disk that
// damages a file does not change its time. With a driver whose layers are
// copies of their parents it compares every byte. It calls read with the number
// of bytes that it has read; an error of read ends it.
func (s *Snapshotter) ContentDigest(ctx context.Context, key string, read func(int) error) (sum digest.Digest, err error) {
	err = s.reading(ctx, key, func(row meta.Snapshot) error {
		if s.driver.Properties().NativeDiff {
			sum, err = s.contentDigest(ctx, row, read)
		} else {
			sum, err = s.wholeDigest(ctx, row, read)
		}
		return err
	})
	if err != nil {
		err = classify(fmt.Errorf("read snapshot %q: %w", key, err))
	}
	return sum, err
}

// wholeDigest is contentDigest without hints of the driver: it compares the
// whole trees.
func (s *Snapshotter) wholeDigest(ctx context.Context, row meta.Snapshot, read func(int) error) (sum digest.Digest, err error) {
	var parent diff.View
	if row.Parent != "" {
		below, err := s.row(row.Parent)
		if err != nil {
			return "", err
		}
		if parent, err = s.driver.View(ctx, layerOf(below)); err != nil {
			return "", err
		}
		defer func() { err = errors.Join(err, parent.Close()) }()
		parent = readView{parent, read}
	}
	merged, err := s.driver.View(ctx, layerOf(row))
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, merged.Close()) }()
	warn := func(string, string) {}
	changes := diff.Compare(ctx, parent, readView{merged, read}, diff.Options{Warn: warn})
	digester := digest.Canonical.Digester()
	_, err = tar.Write(ctx, digester.Hash(), changes, tar.WriteOptions{Warn: warn})
	return digester.Digest(), err
}

// readView is a view that calls read with the number of bytes that are read
// from it. It has only the methods of a [diff.View], so a comparison finds no
// hints in it.
type readView struct {
	diff.View
	read func(int) error
}

func (v readView) Root() (diff.Dir, error) { return v.dir(v.View.Root()) }

func (v readView) dir(d diff.Dir, err error) (diff.Dir, error) {
	if err != nil {
		return nil, err
	}
	return readDir{d, v}, nil
}

type readDir struct {
	diff.Dir
	view readView
}

func (d readDir) OpenDir(name string) (diff.Dir, error) { return d.view.dir(d.Dir.OpenDir(name)) }

func (d readDir) Open(name string) (io.ReadCloser, error) {
	r, err := d.Dir.Open(name)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.TeeReader(r, teller{io.Discard, d.view.read}), r}, nil
}
