package tar

import (
	"context"
	"io"
	"os"

	"github.com/opencontainers/go-digest"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// UnpackOptions tune [Unpack]. The zero value unpacks a layer without parents
// for a plain tree.
type UnpackOptions struct {
	// Parents is the tree that the layer will be merged into, as a container
	// sees it; nil when there is nothing. It is only read, and only where the
	// layer does not say enough: directories without an entry, and targets of
	// hard links that the layer does not hold.
	Parents diff.View
	// Detached unpacks a layer whose parents are not known yet. Parents must be
	// nil. Ancestors without an entry are taken for directories, which
	// [Delta.Merge] verifies; a hard link to a file that the layer does not
	// hold gives [ErrNeedsParents].
	Detached bool
	// DiffID, when set, is the digest that the uncompressed stream must have.
	DiffID digest.Digest
	// Limits bound what the stream may ask for.
	Limits Limits
	// Warn is told of what was skipped or reinterpreted. May be nil. It is
	// called from one goroutine at a time.
	Warn func(path, message string)
	// Encoding is how the tree will be kept on disk; it decides the names of
	// extended attributes. It must be the one given to Merge.
	Encoding whiteout.Encoding
	// NoEscape refuses extended attributes of the encoding's own namespace with
	// ErrOwnXattr instead of keeping them escaped: overlay shows escaped ones from
	// Linux 6.7 on.
	NoEscape bool
	// MaxName is the longest name of a file that the layer may have, in bytes; 0
	// for 255. A longer one gives ErrLongName. Whiteouts of longer names are no error.
	MaxName int
	// Writers is how many files are written side by side; 0 chooses.
	Writers int
	// UserNS says that this process is not the initial user namespace's root:
	// devices are skipped with a warning.
	UserNS bool
	// NoFchmodat2 keeps away from that system call, as on a kernel before 6.6.
	NoFchmodat2 bool
	// NoOpenat2 changes nothing: no path of a layer is ever handed to the
	// kernel, with or without openat2(2).
	NoOpenat2 bool

	// forgetful, for tests, forgets what can be found out again whenever that is
	// possible, and not only when it takes much memory.
	forgetful bool
}

// Applied says what [Unpack] read.
type Applied struct {
	// DiffID is the digest of the uncompressed stream, trailing bytes included.
	DiffID digest.Digest
	// Bytes is the length of the uncompressed stream.
	Bytes int64
	// Entries is the number of entries, whiteouts included.
	Entries int64
}

// Unpack reads a layer, plain or compressed with gzip or zstd, to its end and
// makes its entries in the empty directory staging, which must be on the file
// system of the tree that the layer will be merged into. It reads opts.Parents
// and writes nowhere else.
//
// It returns an error matching [diff.ErrInvalidLayer], with the entry's name and
// its offset in the uncompressed stream, for a stream that cannot be applied;
// [ErrDigest] when opts.DiffID differs; [ErrNeedsParents] only with
// opts.Detached; the context's error; the reader's error; and an *os.PathError
// for trouble on this machine, such as a full disk. After an error the staging
// directory holds leftovers and should be deleted. When the context ended, a
// Read of layer may still be under way.
func Unpack(ctx context.Context, staging *os.File, layer io.Reader, opts UnpackOptions) (*Delta, Applied, error) {
	return unpack(ctx, staging, layer, opts)
}
