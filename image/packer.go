package image

import (
	stdgzip "compress/gzip"
	"io"

	"github.com/layerkeep/layerkeep/tar"
)

// A packer compresses tars: the same tar always gives the same bytes, as long
// as the library does not change.
type packer struct {
	name string
	kind tar.Compression
	open func(w io.Writer) (io.WriteCloser, error)
}

// packers are those whose blobs can be made again. Those of this project come
// first, and then those of what most images are packed with: docker and
// BuildKit use Go's own gzip at its default level, go-containerregistry and ko
// the fastest one.
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

// packerNamed returns the packer of a name, nil for another word.
func packerNamed(name string) *packer {
	for i := range packers {
		if packers[i].name == name {
			return &packers[i]
		}
	}
	return nil
}

// headers are how gzip streams begin that Go programs write. The byte after the
// time says something of the level; the last one stands for an unknown system.
// klauspost's package, which this project packs with, writes the zero time of
// Go in place of none.
var headers = map[[headLength]byte]string{
	{0x1f, 0x8b, 8, 0, 0, 0x09, 0x6e, 0x88, 0, 255}: "gzip",
	{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255}:          "go-gzip-default",
	{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255}:          "go-gzip-best",
	{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255}:          "go-gzip-fastest",
}

// packerOf returns the packer that may have written a blob that begins with
// head, headLength bytes where it has them. nil: none of ours.
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
