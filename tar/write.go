package tar

import (
	"context"
	"io"
	"iter"
	"time"

	"github.com/layerkeep/layerkeep/diff"
)

// WriteOptions tune [Write].
type WriteOptions struct {
	// MaxTime, when not zero, is the latest mtime written; later ones are
	// replaced by it. See [SourceDateEpoch].
	MaxTime time.Time
	// Warn is told of what a layer cannot hold. May be nil.
	Warn func(path, message string)
}

// Write writes changes, in the order of [diff.Compare], as an uncompressed layer
// tar to w. The same changes give the same bytes.
func Write(ctx context.Context, w io.Writer, changes iter.Seq2[diff.Change, error], opts WriteOptions) (diff.Stats, error) {
	panic("to be written")
}

// SourceDateEpoch returns the time in the environment variable
// SOURCE_DATE_EPOCH, in seconds since 1970; zero when it is not set.
// See https://reproducible-builds.org/specs/source-date-epoch/.
func SourceDateEpoch() (time.Time, error) { panic("to be written") }
