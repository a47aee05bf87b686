package snapshotter

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
	"github.com/layerkeep/layerkeep/tar"
)

// DefaultDigestLimit is the size in bytes up to which a commit reads the layer once
// more, unless [Options] say otherwise.
const DefaultDigestLimit = 64 << 20

// digestAt adds to the row of a sealed layer the digest of its changes, by which it can
// be told later whether it still is what was committed. That costs reading them, right
// after they were written. So it is left out where the layer is large, and where it came
// from somewhere and can be compared with that.
func (s *Snapshotter) digestAt(ctx context.Context, row *meta.Snapshot) {
	if row.Usage.Bytes > s.digestLimit {
		return
	}
	// What it takes on disk says little of sparse files, and of many empty ones.
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
		// The commit itself has gone well. A layer that no tar can hold is no fault.
		s.log.WarnContext(ctx, "no digest of the committed layer is kept", "layer", row.Layer, "error", err)
		return
	}
	row.Digest = sum.String()
}

// errTooLong: a layer has more to read than a digest of it is worth.
var errTooLong = errors.New("longer than the limit for digests")

// contentDigest returns the digest of the changes of a snapshot as a layer tar; read is
// told of its bytes, and may end it.
func (s *Snapshotter) contentDigest(ctx context.Context, row meta.Snapshot, read func(int) error) (digest.Digest, error) {
	sum := digest.Canonical.Digester()
	_, err := s.driver.Diff(ctx, layerOf(row), teller{sum.Hash(), read}, driver.DiffOptions{
		// No environment must change it.
		MaxTime: tar.MaxTime(time.Time{}),
		Warn:    func(string, string) {},
	})
	return sum.Digest(), err
}

// teller tells of the bytes that go through it.
type teller struct {
	w    io.Writer
	tell func(int) error
}

func (t teller) Write(p []byte) (int, error) {
	n, err := t.w.Write(p)
	return n, errors.Join(err, t.tell(n))
}
