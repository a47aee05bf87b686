package peers

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/bench/synth"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/driver/all"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/mount"
)

// million asks for the largest base, which takes minutes and up to 9 GB of
// memory: scratch file systems are in memory.
var million = flag.Bool("million", false, "compare diffs over a base of 1,000,000 files too")

// BenchmarkDiffOfTenChanges compares, on every backend, the diff of a layer of
// ten changes over a large base: ours, and containerd's walking differ's, which
// walks the mounted trees of both. Where the backend cannot be mounted by the
// kernel, its read-only mount is what Mount makes of it.
func BenchmarkDiffOfTenChanges(b *testing.B) {
	sizes := []int{1_000, 10_000, 100_000}
	if *million {
		sizes = append(sizes, 1_000_000)
	}
	for _, backend := range all.Backends() {
		b.Run(backend.Name, func(b *testing.B) {
			dir := scratchFor(b, backend)
			for _, files := range sizes {
				b.Run(fmt.Sprintf("over %d files", files), func(b *testing.B) { raceDiffs(b, backend, dir, files) })
			}
		})
	}
}

// scratchFor returns a directory on the first file system on which the backend
// works: ext4, else btrfs.
func scratchFor(b *testing.B, backend all.Backend) string {
	b.Helper()
	size := 4 << 10 // MiB; ext4 has an inode for each 16 KiB
	if *million {
		size = 40 << 10
	}
	var reasons []error
	for _, fs := range []fstest.FS{fstest.Ext4, fstest.Btrfs} {
		dir := fstest.ScratchSize(b, fs, size)
		d, err := backend.New(b.Context(), filepath.Join(dir, "probe"), driver.Options{})
		if err == nil {
			err = d.Close()
		}
		if err == nil {
			return dir
		}
		reasons = append(reasons, err)
	}
	b.Skip(errors.Join(reasons...))
	return ""
}

func raceDiffs(b *testing.B, backend all.Backend, dir string, files int) {
	b.Helper()
	ctx := context.Background()
	d := tenChanges(b, backend, dir, files)
	ours := func(w io.Writer) error {
		_, err := driver.Diff(ctx, d, "changed", w, driver.DiffOptions{})
		return err
	}
	theirs := walkingDiff(b, d)
	requireSameChanges(b, ours, theirs)
	race(b, []contender{
		measured("layerkeep", func() error { return ours(io.Discard) }),
		measured("containerd", func() error { return theirs(io.Discard) }),
	})
}

// requireSameChanges fails unless both write the same ten changes. Directories
// are left out: containerd writes those above a change too.
func requireSameChanges(tb testing.TB, ours, theirs func(io.Writer) error) {
	tb.Helper()
	want := changedNames(tb, ours)
	require.Len(tb, want, 10)
	require.ElementsMatch(tb, want, changedNames(tb, theirs))
}

func changedNames(tb testing.TB, write func(io.Writer) error) (names []string) {
	tb.Helper()
	var out bytes.Buffer
	require.NoError(tb, write(&out))
	for r := tar.NewReader(&out); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		require.NoError(tb, err)
		if h.Typeflag != tar.TypeDir {
			names = append(names, strings.TrimPrefix(h.Name, "/"))
		}
	}
}

func measured(name string, work func() error) contender {
	return contender{name, func(b *testing.B) (func() error, func()) {
		b.Helper()
		return work, func() {}
	}}
}

// tenChanges returns a driver with the layers "base" and "changed".
func tenChanges(tb testing.TB, backend all.Backend, dir string, files int) driver.Driver {
	tb.Helper()
	ctx := context.Background()
	root := filepath.Join(dir, "store")
	d, err := backend.New(ctx, root, driver.Options{})
	require.NoError(tb, err)
	tb.Cleanup(func() { dropStore(tb, d, root) })
	fill(ctx, tb, d, "base", nil, synth.Stream(smallFilesOf(files, 64)))
	fill(ctx, tb, d, "changed", []driver.ID{"base"}, synth.Stream(func(w *synth.Layer) {
		for i := range 5 {
			n := i * files / 5
			w.File(fmt.Sprintf("d%04d/f%06d", n/100, n), 100)
			w.File(fmt.Sprintf("d%04d/.wh.f%06d", n/100, n+1), 0)
		}
	}))
	return d
}

func fill(ctx context.Context, tb testing.TB, d driver.Driver, id driver.ID, parents []driver.ID, content io.ReadCloser) {
	tb.Helper()
	defer content.Close()
	require.NoError(tb, d.Create(ctx, id, parents, driver.CreateOptions{}))
	_, err := d.ApplyDiff(ctx, id, content, driver.ApplyOptions{})
	require.NoError(tb, err)
	require.NoError(tb, d.Seal(ctx, id))
}

// dropStore removes a store the way its driver does: not every layer is a plain
// directory.
func dropStore(tb testing.TB, d driver.Driver, root string) {
	tb.Helper()
	ctx := context.Background()
	for _, id := range []driver.ID{"changed", "base"} {
		require.NoError(tb, d.Remove(ctx, id))
	}
	require.NoError(tb, d.Cleanup(ctx))
	closeDriver(tb, d, root)
}

// walkingDiff mounts both layers for the time of the benchmark.
func walkingDiff(tb testing.TB, d driver.Driver) func(io.Writer) error {
	tb.Helper()
	base, changed := mounted(tb, d, "base"), mounted(tb, d, "changed")
	return func(w io.Writer) error { return archive.WriteDiff(context.Background(), w, base, changed) }
}

func mounted(tb testing.TB, d driver.Driver, id driver.ID) string {
	tb.Helper()
	mounts, err := d.Mount(context.Background(), id, driver.MountOptions{ReadOnly: true})
	if err != nil {
		tb.Fatal(err)
	}
	target := tb.TempDir()
	if err := mount.All(context.Background(), mounts, target); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := mount.Unmount(target); err != nil {
			tb.Error(err)
		}
	})
	return target
}
