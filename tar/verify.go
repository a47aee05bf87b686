package tar

import (
	"context"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/layerkeep/layerkeep/diff"
)

// VerifyOptions tune [Verify].
type VerifyOptions struct {
	// ReadData compares the content of files byte by byte with the tar. Without
	// it Verify compares sizes and attributes, and opens no file of the trees.
	ReadData bool
	// DiffID, when set, is the digest that the uncompressed stream must have.
	DiffID digest.Digest
	// Limits bound what the stream may demand, as in [UnpackOptions]. Memory
	// has no default here: Verify remembers everything that the layer says
	// until it is compared.
	Limits Limits
	// UserNS says that the layer was applied in a user namespace, as in
	// [UnpackOptions]: devices were skipped, and attributes that need
	// privileges may be missing.
	UserNS bool
	// MaxFindings is the number of findings to return; 0 means 1,000. The
	// others are only counted.
	MaxFindings int
}

const defaultFindings = 1000

// Verified is the result of [Verify].
type Verified struct {
	// Applied says what was read of the stream.
	Applied
	// Findings are the differences, sorted by path.
	Findings []Finding
	// Total is the number of differences, including those that are not in
	// Findings.
	Total int64
}

// OK reports whether the tree is exactly what the tar says.
func (v *Verified) OK() bool { return v.Total == 0 }

// Verify compares a layer tar, compressed or not, with the tree that applying
// it has given. It writes nothing, and reads the stream once to its end.
// parents is the merged tree of the layers below, nil when there are none.
// merged is the merged tree including the layer. Verify closes neither.
//
// The layer must contain exactly this tar. A layer that was applied to twice,
// or written to later, differs.
//
// # What is compared
//
// A stream has the same meaning as for [Unpack], because the same code reads
// it: removals come first, the last entry of a path wins, and paths lead
// through the symbolic links of the parents. What the tar does not mention must
// be as the parents have it. For a directory that is missing, superfluous or of
// another type Verify reports only the directory. For a file with several names
// it reports only the first name.
//
// These are no differences:
//
//   - sockets and character devices 0:0 that the layer has beside the tar;
//   - attributes that the kernel refuses: user attributes of symbolic links and
//     devices, and namespaces that Linux does not have;
//   - an access ACL that only says what the mode says;
//   - a time that the file system cannot store;
//   - missing fractions of a second, when no time in the tree has any.
//
// # Errors
//
// Damage of the disk (EIO, or a file system's own error for it) is a finding
// that names the file; Verify goes on with the rest. All else is an error,
// without findings: an error that matches [diff.ErrInvalidLayer] for a stream
// that is damaged or is not a layer, [ErrDigest] when the stream does not have
// the digest opts.DiffID, and the errors of the context, the reader and the
// views.
//
// # Cost
//
// Verify decompresses and hashes the stream at the same time as it compares, as
// Unpack does. With ReadData it compares each body with its file while the body
// is read: it reads each file once, from start to end, in the order of the tar,
// and does not hash it. It hashes, and may read again, only a file that
// differs, and a body that a hard link keeps while a later entry takes its
// path.
//
// At the end Verify looks up every path of the tar once more. Paths that the
// tar does not mention cost nothing where merged has hints (see [diff.Hinter]).
// Without hints Verify walks both trees and, with ReadData, reads on both sides
// the files that only their content can tell apart.
//
// Memory grows with the number of paths that the layer makes: some hundred
// bytes for each path, plus its names, link targets and extended attributes. Of
// long values Verify keeps a digest. Memory does not grow with the bodies. For
// a layer with an entry below a symbolic link or a file of its parents, or a
// link through one, Verify also keeps all headers that follow until they are
// compared.
func Verify(ctx context.Context, layer io.Reader, parents, merged diff.View, opts VerifyOptions) (Verified, error) {
	return verify(ctx, layer, parents, merged, opts)
}
