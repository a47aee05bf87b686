package peers

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"time"
)

// epoch is the mtime of every entry.
var epoch = time.Unix(1_700_000_000, 123_456_789)

// A layerWriter writes reproducible layers.
type layerWriter struct {
	tar    *tar.Writer
	random *rand.ChaCha8
	err    error
}

// layer returns what fill writes, as an uncompressed layer.
func layer(fill func(*layerWriter)) ([]byte, error) {
	var buf bytes.Buffer
	err := writeLayer(&buf, fill)
	return buf.Bytes(), err
}

// stream is layer for one that is read once and may not fit into memory.
func stream(fill func(*layerWriter)) io.ReadCloser {
	r, w := io.Pipe()
	go func() { w.CloseWithError(writeLayer(w, fill)) }()
	return r
}

func writeLayer(out io.Writer, fill func(*layerWriter)) error {
	w := &layerWriter{tar: tar.NewWriter(out), random: rand.NewChaCha8([32]byte{1})}
	fill(w)
	if w.err == nil {
		w.err = w.tar.Close()
	}
	return w.err
}

func (w *layerWriter) header(h tar.Header) {
	if w.err == nil {
		h.ModTime, h.Format = epoch, tar.FormatPAX
		w.err = w.tar.WriteHeader(&h)
	}
}

func (w *layerWriter) dir(name string) {
	w.header(tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755})
}

// file writes a regular file of size random bytes.
func (w *layerWriter) file(name string, size int64) {
	w.header(tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size})
	if w.err == nil {
		_, w.err = io.CopyN(w.tar, w.random, size)
	}
}

func (w *layerWriter) link(flag byte, name, target string) {
	w.header(tar.Header{Typeflag: flag, Name: name, Linkname: target, Mode: 0o644})
}

// smallFiles is a layer of n files of 4 KiB, a hundred in each directory.
func smallFiles(n int) ([]byte, error) { return layer(smallFilesOf(n, 4096)) }

func smallFilesOf(n int, size int64) func(*layerWriter) {
	return func(w *layerWriter) {
		for i := range n {
			dir := fmt.Sprintf("d%04d", i/100)
			if i%100 == 0 {
				w.dir(dir)
			}
			w.file(fmt.Sprintf("%s/f%06d", dir, i), size)
		}
	}
}

// mixedFiles is a layer shaped like a distribution's: many small files, a few
// large ones, directories four deep, and one name in ten a link.
func mixedFiles(n int) ([]byte, error) {
	return layer(func(w *layerWriter) {
		sizes := rand.New(rand.NewPCG(1, 2))
		file, dir := "", ""
		for i := range n {
			if i%12 == 0 {
				dir = deepDir(w, i/12)
			}
			name := fmt.Sprintf("%s/file-%06d", dir, i)
			switch i % 20 {
			case 7:
				w.link(tar.TypeSymlink, name, "../"+fmt.Sprintf("file-%06d", i))
			case 13:
				w.link(tar.TypeLink, name, file)
			default:
				file = name
				w.file(name, mixedSize(sizes))
			}
		}
	})
}

// deepDir writes the n-th of a tree of directories with ten children each.
func deepDir(w *layerWriter, n int) string {
	name := "usr"
	if n == 0 {
		w.dir(name)
	}
	for part := 1000; part > 0; part /= 10 {
		name += fmt.Sprintf("/%d", n/part%10)
		if n%part == 0 {
			w.dir(name)
		}
	}
	return name
}

// mixedSize draws a size: half of the files under 2 KiB, one in a hundred
// around a megabyte, 15 KiB on average.
func mixedSize(r *rand.Rand) int64 {
	switch p := r.IntN(100); {
	case p < 50:
		return r.Int64N(2 << 10)
	case p < 90:
		return r.Int64N(16 << 10)
	case p < 99:
		return r.Int64N(64 << 10)
	default:
		return 512<<10 + r.Int64N(1<<20)
	}
}
