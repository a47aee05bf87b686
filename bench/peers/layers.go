package peers

import (
	"bytes"
	"fmt"
	"math/rand/v2"

	"github.com/layerkeep/layerkeep/bench/synth"
)

// layer returns what fill writes, as an uncompressed layer.
func layer(fill func(*synth.Layer)) ([]byte, error) {
	var buf bytes.Buffer
	err := synth.Write(&buf, fill)
	return buf.Bytes(), err
}

// smallFiles is a layer of n files of 4 KiB, a hundred in each directory.
func smallFiles(n int) ([]byte, error) { return layer(smallFilesOf(n, 4096)) }

func smallFilesOf(n int, size int64) func(*synth.Layer) {
	return func(w *synth.Layer) {
		for i := range n {
			dir := fmt.Sprintf("d%04d", i/100)
			if i%100 == 0 {
				w.Dir(dir)
			}
			w.File(fmt.Sprintf("%s/f%06d", dir, i), size)
		}
	}
}

// mixedFiles is a layer shaped like a distribution's: many small files, a few
// large ones, directories four deep, and one name in ten a link.
func mixedFiles(n int) ([]byte, error) {
	return layer(func(w *synth.Layer) {
		sizes := rand.New(rand.NewPCG(1, 2))
		file, dir := "", ""
		for i := range n {
			if i%12 == 0 {
				dir = deepDir(w, i/12)
			}
			name := fmt.Sprintf("%s/file-%06d", dir, i)
			switch i % 20 {
			case 7:
				w.Symlink(name, "../"+fmt.Sprintf("file-%06d", i))
			case 13:
				w.Link(name, file)
			default:
				file = name
				w.File(name, mixedSize(sizes))
			}
		}
	})
}

// deepDir writes the n-th of a tree of directories with ten children each.
func deepDir(w *synth.Layer, n int) string {
	name := "usr"
	if n == 0 {
		w.Dir(name)
	}
	for part := 1000; part > 0; part /= 10 {
		name += fmt.Sprintf("/%d", n/part%10)
		if n%part == 0 {
			w.Dir(name)
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
