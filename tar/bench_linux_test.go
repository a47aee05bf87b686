package tar

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// manyFiles is a layer of 10,000 files of 4 KiB in 100 directories.
func manyFiles(tb testing.TB) []byte {
	tb.Helper()
	body := strings.Repeat("0123456789abcdef", 256)
	entries := make([]fstest.Entry, 0, 10_100)
	for d := range 100 {
		dir := fmt.Sprintf("usr/share/d%02d", d)
		entries = append(entries, fstest.Dir(dir))
		for f := range 100 {
			entries = append(entries, fstest.File(fmt.Sprintf("%s/f%02d", dir, f), body))
		}
	}
	return fstest.Layer(tb, entries...)
}

// BenchmarkUnpack unpacks 10,000 files of 4 KiB and merges them into an empty
// directory. Deleting them is not timed.
func BenchmarkUnpack(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root: mounts scratch file systems")
	}
	plain := manyFiles(b)
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, err := z.Write(plain)
	require.NoError(b, err)
	require.NoError(b, z.Close())
	for _, fs := range []fstest.FS{fstest.Tmpfs, fstest.Ext4} {
		for _, writers := range []int{0, 1} {
			b.Run(fmt.Sprintf("%s/plain/writers=%d", fs, writers), func(b *testing.B) { benchmarkUnpack(b, fs, plain, writers) })
		}
		b.Run(fmt.Sprintf("%s/gzip/writers=0", fs), func(b *testing.B) { benchmarkUnpack(b, fs, zipped.Bytes(), 0) })
	}
}

func benchmarkUnpack(b *testing.B, fs fstest.FS, layer []byte, writers int) {
	base := fstest.Scratch(b, fs)
	b.SetBytes(int64(len(layer)))
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n++
		dir := filepath.Join(base, fmt.Sprint(n))
		upper, stage := filepath.Join(dir, "upper"), filepath.Join(dir, "stage")
		require.NoError(b, os.MkdirAll(upper, 0o755))
		require.NoError(b, os.Mkdir(stage, 0o700))
		root, err := os.Open(upper)
		require.NoError(b, err)
		s, err := os.Open(stage)
		require.NoError(b, err)

		d, _, err := Unpack(b.Context(), s, bytes.NewReader(layer), UnpackOptions{Writers: writers, Encoding: whiteout.Overlay})
		require.NoError(b, err)
		require.NoError(b, d.Merge(b.Context(), Target{Root: root, Encoding: whiteout.Overlay}))

		b.StopTimer()
		root.Close()
		s.Close()
		require.NoError(b, os.RemoveAll(dir))
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/10_000, "ns/file")
}
