package tar

import "io"

// Compression is how a layer stream is compressed.
type Compression uint8

// The compressions that are read and written.
const (
	None Compression = iota
	Gzip
	Zstd
)

// String returns "none", "gzip" or "zstd".
func (c Compression) String() string {
	switch c {
	case Gzip:
		return "gzip"
	case Zstd:
		return "zstd"
	default:
		return "none"
	}
}

// NewDecompressor tells the compression of r by its first bytes and returns the
// uncompressed stream. Several gzip members and zstd frames, skippable ones too,
// are one stream. Empty input is an empty uncompressed stream. A known format
// that is not read here gives an error matching diff.ErrInvalidLayer. Closing
// does not close r.
func NewDecompressor(r io.Reader) (rc io.ReadCloser, c Compression, err error) {
	return newDecompressor(r)
}

// Compress returns a writer that compresses to w; the same bytes always give
// the same compressed bytes. Closing it ends the stream and does not close w.
func Compress(w io.Writer, c Compression) (io.WriteCloser, error) {
	return newCompressor(w, c)
}
