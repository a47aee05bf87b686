package tar

import (
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// benchLayer is a layer of 256 MiB in a file: 8,000 files of 16 KiB, which is
// about the mean of a distribution's files, and 8 files of 16 MiB.
func benchLayer(b *testing.B) string {
	b.Helper()
	rnd := rand.NewChaCha8([32]byte{})
	body := func(n int) string {
		p := make([]byte, n)
		_, err := rnd.Read(p)
		require.NoError(b, err)
		return string(p)
	}
	var entries []fstest.Entry
	for i := range 8000 {
		entries = append(entries, fstest.File(fmt.Sprintf("usr/share/d%02d/f%04d", i/100, i), body(16<<10)))
	}
	for i := range 8 {
		entries = append(entries, fstest.File(fmt.Sprintf("usr/lib/big%d", i), body(16<<20)))
	}
	file := filepath.Join(b.TempDir(), "layer.tar")
	require.NoError(b, os.WriteFile(file, fstest.Layer(b, entries...), 0o600))
	return file
}

// BenchmarkVerify compares the check of a layer of 256 MiB with the unavoidable
// work: reading and hashing the tar once, and reading the files once.
// Everything is in the page cache.
func BenchmarkVerify(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root: applies a layer")
	}
	layer := benchLayer(b)
	root := filepath.Join(b.TempDir(), "root")
	require.NoError(b, os.Mkdir(root, 0o755))
	stage := filepath.Join(b.TempDir(), "stage")
	require.NoError(b, os.Mkdir(stage, 0o700))
	applied := benchApply(b, layer, stage, root)
	for _, readData := range []bool{true, false} {
		b.Run(fmt.Sprintf("ReadData=%t", readData), func(b *testing.B) {
			b.SetBytes(applied.Bytes)
			b.ReportAllocs()
			defer reportCPU(b)()
			for b.Loop() {
				benchVerify(b, layer, root, readData)
			}
		})
	}
	b.Run("hash the tar", func(b *testing.B) {
		b.SetBytes(applied.Bytes)
		defer reportCPU(b)()
		for b.Loop() {
			hashFile(b, layer)
		}
	})
	b.Run("hash the tar and read the files", func(b *testing.B) {
		b.SetBytes(applied.Bytes)
		defer reportCPU(b)()
		for b.Loop() {
			hashFile(b, layer)
			readFiles(b, root)
		}
	})
}

func benchApply(b *testing.B, layer, stage, root string) Applied {
	b.Helper()
	f, s, r := openFile(b, layer), openFile(b, stage), openFile(b, root)
	defer f.Close()
	defer s.Close()
	defer r.Close()
	d, applied, err := Unpack(b.Context(), s, f, UnpackOptions{})
	require.NoError(b, err)
	require.NoError(b, d.Merge(b.Context(), Target{Root: r}))
	return applied
}

func benchVerify(b *testing.B, layer, root string, readData bool) {
	b.Helper()
	f, r := openFile(b, layer), openFile(b, root)
	defer f.Close()
	defer r.Close()
	v, err := Verify(b.Context(), f, nil, diff.DirView(r), VerifyOptions{ReadData: readData})
	require.NoError(b, err)
	for _, found := range v.Findings {
		require.Equal(b, ".", found.Path, found.String()) // the root has no entry
	}
}

// reportCPU also reports the processor time, because other work on the machine
// changes it less.
func reportCPU(b *testing.B) func() {
	used := func() (ns int64) {
		var r unix.Rusage
		require.NoError(b, unix.Getrusage(unix.RUSAGE_SELF, &r))
		return r.Utime.Nano() + r.Stime.Nano()
	}
	start := used()
	return func() { b.ReportMetric(float64(used()-start)/float64(b.N), "cpu-ns/op") }
}

func openFile(b *testing.B, name string) *os.File {
	b.Helper()
	f, err := os.Open(name)
	require.NoError(b, err)
	return f
}

func hashFile(b *testing.B, name string) {
	b.Helper()
	f := openFile(b, name)
	defer f.Close()
	_, err := io.CopyBuffer(onlyWriter{sha256.New()}, onlyReader{f}, make([]byte, blockSize))
	require.NoError(b, err)
}

func readFiles(b *testing.B, root string) {
	b.Helper()
	buf := make([]byte, blockSize)
	require.NoError(b, filepath.WalkDir(root, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.CopyBuffer(onlyWriter{io.Discard}, onlyReader{f}, buf)
		return err
	}))
}
