package drivertest

import (
	stdtar "archive/tar"
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	. "github.com/layerkeep/layerkeep/internal/fstest"
)

// Size of the layer that is applied.
const (
	benchFiles = 10_000
	benchBody  = 4096 // bytes of a file
)

// million asks for the largest base of the diff, which takes some minutes and
// up to 9 GB of memory: scratch file systems are in memory.
var million = flag.Bool("million", false, "benchmark diffs over a base of 1,000,000 files too")

// Sizes of scratch file systems in MiB; ext4 has an inode for each 16 KiB.
const (
	benchMiB        = 4 << 10
	benchMillionMiB = 40 << 10
)

// Benchmark measures what a backend's calls cost, on the first two of the file
// systems that it can live on, by default a tmpfs and ext4:
//
//	go test -run '^$' -bench Driver/.*/op=diff ./overlay2 -args -million
func Benchmark(b *testing.B, cfg Config) {
	on := cfg.Filesystems
	if len(on) == 0 {
		on = []FS{Tmpfs, Ext4}
	}
	for _, fs := range on[:min(2, len(on))] {
		b.Run("fs="+string(fs), func(b *testing.B) {
			if os.Geteuid() != 0 {
				b.Skip("scratch file systems need root")
			}
			cfg := cfg
			size := benchMiB
			if *million {
				size = benchMillionMiB
			}
			cfg.Dir = ScratchSize(b, fs, size)
			s := newSuite(b, cfg)
			b.Run("op=apply/files=10000", s.benchApply)
			s.benchDiffs(b)
			b.Run("op=create-seal-remove", s.benchLifeCycle)
			b.Run("op=mount", s.benchMount)
		})
	}
}

// benchDir is the directory of the i-th file: 100 files are in each.
func benchDir(i int) string { return fmt.Sprintf("usr/share/d%d", i/100) }

func benchFile(i int) string { return fmt.Sprintf("%s/file-%d", benchDir(i), i) }

// benchLayer is a layer of benchFiles files.
func benchLayer(tb testing.TB) []byte {
	tb.Helper()
	var out bytes.Buffer
	require.NoError(tb, writeBenchLayer(&out, benchFiles, benchBody))
	return out.Bytes()
}

// writeBenchLayer writes a layer of files of that many bytes as it is read, for
// a large one does not fit into memory.
func writeBenchLayer(w io.Writer, files, body int) error {
	tw := stdtar.NewWriter(w)
	for i := range files {
		if i%100 == 0 {
			if err := tw.WriteHeader(Dir(benchDir(i)).Header()); err != nil {
				return err
			}
		}
		content := strings.Repeat(fmt.Sprint(i%10), body)
		if err := tw.WriteHeader(File(benchFile(i), content).Header()); err != nil {
			return err
		}
		if _, err := io.WriteString(tw, content); err != nil {
			return err
		}
	}
	return tw.Close()
}

func (s *suite) benchApply(b *testing.B) {
	st := s.open(b)
	layer := benchLayer(b)
	b.SetBytes(int64(len(layer)))
	for b.Loop() {
		st.create("a")
		_, err := st.d.ApplyDiff(b.Context(), "a", bytes.NewReader(layer), driver.ApplyOptions{})
		require.NoError(b, err)
		b.StopTimer()
		require.NoError(b, st.d.Remove(b.Context(), "a"))
		require.NoError(b, st.d.Cleanup(b.Context()))
		b.StartTimer()
	}
	b.ReportMetric(float64(benchFiles)*float64(b.N)/b.Elapsed().Seconds(), "files/s")
}

// benchDiffs measures the diff of ten changes over bases of growing size: where
// Properties.NativeDiff holds, the times are the same.
func (s *suite) benchDiffs(b *testing.B) {
	sizes := []int{1_000, 10_000, 100_000}
	if *million {
		sizes = append(sizes, 1_000_000)
	}
	for _, files := range sizes {
		b.Run(fmt.Sprintf("op=diff/changes=10/files=%d", files), func(b *testing.B) { s.benchDiff(b, files) })
	}
}

// benchBase makes a sealed layer of small files.
func (st *store) benchBase(files int) driver.ID {
	st.t.Helper()
	st.create("base")
	r, w := io.Pipe()
	go func() { w.CloseWithError(writeBenchLayer(w, files, 64)) }()
	_, err := st.d.ApplyDiff(st.ctx(), "base", r, driver.ApplyOptions{})
	require.NoError(st.t, r.Close())
	require.NoError(st.t, err)
	st.seal("base")
	return "base"
}

// benchDiff changes ten files in ten directories, spread over the base.
func (s *suite) benchDiff(b *testing.B, files int) {
	st := s.open(b)
	st.create("a", st.benchBase(files))
	var changes []Entry
	for i := range 10 {
		changes = append(changes, File(benchFile(i*files/10), "changed"))
	}
	st.mustApply("a", changes...)
	for b.Loop() {
		stats, err := driver.Diff(b.Context(), st.d, "a", io.Discard, driver.DiffOptions{})
		require.NoError(b, err)
		require.Equal(b, int64(10), stats.Modified)
		require.Zero(b, stats.Added+stats.Deleted)
	}
}

func (s *suite) benchLifeCycle(b *testing.B) {
	st := s.open(b)
	chain := st.layer("base", nil, canonicalBase()...)
	for b.Loop() {
		st.create("a", chain...)
		st.seal("a")
		require.NoError(b, st.d.Remove(b.Context(), "a"))
	}
}

func (s *suite) benchMount(b *testing.B) {
	if !s.can.mounts {
		b.Skip("mounting is not permitted here")
	}
	st := s.open(b)
	var chain []driver.ID
	for i := range 10 {
		chain = st.layer(layerID(i), chain, File("f", fmt.Sprint(i)))
	}
	st.create("a", chain...)
	for b.Loop() {
		st.mounted("a", driver.MountOptions{}, func(string) error { return nil })
	}
}
