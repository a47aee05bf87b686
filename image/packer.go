package image

import (
	stdgzip "compress/gzip"
	"io"

	"github.com/layerkeep/layerkeep/tar"
)

// A packer compresses tars. The same tar always gives the same bytes, as long
// as the library does not change.
type packer struct {
	name string
	kind tar.Compression
	open func(w io.Writer) (io.WriteCloser, error)
}

// packers are the compressors whose blobs can be made again. Those of this
// project come first, and then those of the tools that made most images: docker
// and BuildKit use Go's own gzip at its default level, and go-containerregistry
// and ko use it at its fastest level.
var packers = []packer{
	{"none", tar.None, ours(tar.None)},
	{"gzip", tar.Gzip, ours(tar.Gzip)},
	{"zstd", tar.Zstd, ours(tar.Zstd)},
	{"go-gzip-default", tar.Gzip, goGzip(stdgzip.DefaultCompression)},
	{"go-gzip-fastest", tar.Gzip, goGzip(stdgzip.BestSpeed)},
	{"go-gzip-best", tar.Gzip, goGzip(stdgzip.BestCompression)},
}

func ours(c tar.Compression) func(io.Writer) (io.WriteCloser, error) {
	return func(w io.Writer) (io.WriteCloser, error) { return tar.Compress(w, c) }
}

func goGzip(level int) func(io.Writer) (io.WriteCloser, error) {
	return func(w io.Writer) (io.WriteCloser, error) { return stdgzip.NewWriterLevel(w, level) }
}

func (p *packer) named() string {
	if p == nil {
		return ""
	}
	return p.name
}

// packerNamed returns the packer with this name, or nil.
func packerNamed(name string) *packer {
	for i := range packers {
		if packers[i].name == name {
			return &packers[i]
		}
	}
	return nil
}

// headers has the first bytes of the gzip streams that Go programs write. The
// byte after the time depends on the level. The last byte means an unknown
// operating system. klauspost's package, which this project uses, writes the
// zero time of Go instead of no time.
var headers = map[[headLength]byte]string{
	{0x1f, 0x8b, 8, 0, 0, 0x09, 0x6e, 0x88, 0, 255}: "gzip",
	{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255}:          "go-gzip-default",
	{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255}:          "go-gzip-best",
	{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255}:          "go-gzip-fastest",
}

// packerOf returns the packer that may have written a blob that starts with
// head. head has headLength bytes, or fewer for a shorter blob. The result is
// nil if no packer fits.
func packerOf(c tar.Compression, head []byte) *packer {
	if c != tar.Gzip {
		return packerNamed(c.String())
	}
	if len(head) < headLength {
		return nil
	}
	return packerNamed(headers[[headLength]byte(head)])
}

const headLength = 10
