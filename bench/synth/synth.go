// Package synth writes layers that do not come from an image: always the same
// bytes for the same calls, with contents that cannot be compressed.
package synth

import (
	"archive/tar"
	"fmt"
	"io"
	"math/rand/v2"
	"time"
)

// epoch is the modification time of every entry.
var epoch = time.Unix(1_700_000_000, 123_456_789)

// A Layer writes the entries of a layer. The first error stays, and ends all
// that follows.
type Layer struct {
	tar    *tar.Writer
	random *rand.ChaCha8
	err    error
}

// Write writes the layer that fill makes to w, as an uncompressed tar.
func Write(w io.Writer, fill func(*Layer)) error {
	l := &Layer{tar: tar.NewWriter(w), random: rand.NewChaCha8([32]byte{1})}
	fill(l)
	if l.err == nil {
		l.err = l.tar.Close()
	}
	return l.err
}

// Stream returns the layer that fill makes, for one that is read once and need
// not fit into memory. Close it.
func Stream(fill func(*Layer)) io.ReadCloser {
	r, w := io.Pipe()
	go func() { w.CloseWithError(Write(w, fill)) }()
	return r
}

func (l *Layer) header(h tar.Header) {
	if l.err == nil {
		h.ModTime, h.Format = epoch, tar.FormatPAX
		l.err = l.tar.WriteHeader(&h)
	}
}

// Dir writes a directory.
func (l *Layer) Dir(name string) {
	l.header(tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755})
}

// File writes a regular file of size random bytes.
func (l *Layer) File(name string, size int64) {
	l.header(tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size})
	if l.err == nil {
		_, l.err = io.CopyN(l.tar, l.random, size)
	}
}

// Text writes a regular file with that content.
func (l *Layer) Text(name, content string) {
	l.header(tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content))})
	if l.err == nil {
		_, l.err = io.WriteString(l.tar, content)
	}
}

// Symlink writes a symbolic link.
func (l *Layer) Symlink(name, target string) {
	l.header(tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777})
}

// Link writes a further name of a file that was written before.
func (l *Layer) Link(name, target string) {
	l.header(tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target, Mode: 0o644})
}

// PerDir is how many files Files puts into a directory.
const PerDir = 100

// Files writes n files of a size below a directory, [PerDir] in each of its
// directories.
func (l *Layer) Files(dir string, n int, size int64) {
	l.Dir(dir)
	for i := range n {
		if i%PerDir == 0 {
			l.Dir(fmt.Sprintf("%s/d%05d", dir, i/PerDir))
		}
		l.File(FileName(dir, i), size)
	}
}

// FileName is the name of a file that Files writes.
func FileName(dir string, i int) string {
	return fmt.Sprintf("%s/d%05d/f%07d", dir, i/PerDir, i)
}

// Add lets add write entries of its own.
func (l *Layer) Add(add func(w *tar.Writer) error) {
	if l.err == nil {
		l.err = add(l.tar)
	}
}
