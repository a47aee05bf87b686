package tar

import (
	"context"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/layerkeep/layerkeep/diff"
)

// VerifyOptions tune [Verify]. The zero value compares everything but the
// content of files.
type VerifyOptions struct {
	// ReadData compares the content of files byte by byte with what the tar
	// holds. Without it sizes and attributes are compared, and no file of the
	// trees is opened.
	ReadData bool
	// DiffID, when set, is the digest that the uncompressed stream must have.
	DiffID digest.Digest
	// Limits bound what the stream may ask for, as in [UnpackOptions]. There is no
	// default of Memory: all that the layer says is kept until it is compared.
	Limits Limits
	// UserNS says that the layer was applied in a user namespace, as in
	// [UnpackOptions]: devices were skipped, and attributes that need privileges
	// may be missing.
	UserNS bool
	// MaxFindings is how many findings are kept; 0 for 1,000. The others are
	// counted.
	MaxFindings int
}

const defaultFindings = 1000

// Verified is what [Verify] found out.
type Verified struct {
	// Applied says what was read of the stream.
	Applied
	// Findings are the differences, sorted by path.
	Findings []Finding
	// Total is the number of differences, with those that were not kept.
	Total int64
}

// OK reports whether the tree is what the tar says.
func (v *Verified) OK() bool { return v.Total == 0 }

// Verify compares a layer's tar stream, plain or compressed, with the tree that
// applying it has given. It writes nothing and reads the stream once, to its
// end. Parents is the merged tree of the layers below, nil when there are none;
// merged is the merged tree including the layer. Neither is closed. The layer
// must hold exactly this tar: one that was applied to twice, or written to since,
// differs.
//
// A stream means here what it means to [Unpack], whose code reads it: removals
// come first, the last entry of a path wins, and paths lead through the symbolic
// links of the parents. What the tar does not mention must be as the parents have
// it. Of a directory that is missing, superfluous or of another type only
// the directory is reported, and of a file with several names only the first.
//
// What a tree cannot hold counts as it does when a layer is applied and diffed:
// sockets and 0:0 devices that lie in the layer beside what the tar says are no
// difference; nor are attributes that the kernel refuses (user attributes of
// symbolic links and devices, namespaces that Linux does not have), an access ACL
// that the mode says as well, a time outside of what the file system can hold,
// nor missing fractions of seconds where no time in the tree has any.
//
// Damage of the disk (EIO, or a file system's own error for it) is a finding
// that names the file, and the rest is compared. An error is returned for
// everything else: one matching [diff.ErrInvalidLayer] for a stream that is
// damaged or never was a layer, [ErrDigest] when opts.DiffID differs, the
// context's, the reader's and the views' own errors. There are no findings then.
//
// # Cost
//
// The stream is inflated and hashed beside the comparison, as in Unpack. With
// ReadData every body is compared with its file while it streams by: files are
// read once, from start to end, in the order of the tar, without being hashed. Only
// a file that turns out to differ, or a body whose path a later entry takes
// while a hard link keeps it, is hashed and may be read again.
//
// Every path that the tar mentions is looked up once more at the end. What it
// does not mention costs nothing where merged is hinted (see [diff.Hinter]);
// otherwise both trees are walked and, with ReadData, files that only
// their content could tell apart are read on both sides.
//
// Memory grows with the number of paths that the layer makes, by some hundred
// bytes each and what its names, link targets and extended attributes take, of
// which long values are kept as digests. It does not grow with the bodies. Of a
// layer that has entries below a symbolic link or a file of its parents, or links
// through one, all headers that follow are kept too until they had their turn.
func Verify(ctx context.Context, layer io.Reader, parents, merged diff.View, opts VerifyOptions) (Verified, error) {
	return verify(ctx, layer, parents, merged, opts)
}
