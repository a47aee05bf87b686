package drivertest

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	. "github.com/layerkeep/layerkeep/internal/fstest"
)

// Size of the benchmarks' layer.
const (
	benchFiles = 10_000
	benchBody  = 4096
)

// benchLayer is a layer of benchFiles files in directories of 100.
func benchLayer(tb testing.TB) []byte {
	tb.Helper()
	var entries []Entry
	for i := range benchFiles {
		dir := fmt.Sprintf("usr/share/d%d", i/100)
		if i%100 == 0 {
			entries = append(entries, Dir(dir))
		}
		entries = append(entries, File(fmt.Sprintf("%s/file-%d", dir, i), strings.Repeat(fmt.Sprint(i%10), benchBody)))
	}
	return Layer(tb, entries...)
}

// Benchmark measures what a backend's calls cost, on a tmpfs and on ext4.
func Benchmark(b *testing.B, cfg Config) {
	for _, fs := range []FS{Tmpfs, Ext4} {
		b.Run("fs="+string(fs), func(b *testing.B) {
			if os.Geteuid() != 0 {
				b.Skip("scratch file systems need root")
			}
			cfg := cfg
			cfg.Dir = Scratch(b, fs)
			s := newSuite(b, cfg)
			b.Run("op=apply/files=10000", s.benchApply)
			b.Run("op=diff/files=10000/changes=10", s.benchDiff)
			b.Run("op=create-seal-remove", s.benchLifeCycle)
			b.Run("op=mount", s.benchMount)
		})
	}
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

// benchBase makes a sealed layer of benchFiles files.
func (st *store) benchBase() []driver.ID {
	st.t.Helper()
	st.create("base")
	require.NoError(st.t, st.applyBytes("base", benchLayer(st.t), driver.ApplyOptions{}))
	st.seal("base")
	return []driver.ID{"base"}
}

func (s *suite) benchDiff(b *testing.B) {
	st := s.open(b)
	st.create("a", st.benchBase()...)
	var changes []Entry
	for i := range 10 {
		changes = append(changes, File(fmt.Sprintf("usr/share/d%d/file-%d", i*10, i*1000), "changed"))
	}
	st.mustApply("a", changes...)
	for b.Loop() {
		stats, err := st.d.Diff(b.Context(), "a", io.Discard, driver.DiffOptions{})
		require.NoError(b, err)
		require.Equal(b, int64(10), stats.Modified)
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
