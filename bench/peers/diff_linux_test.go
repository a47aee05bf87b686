package peers

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"testing"

	"github.com/containerd/containerd/v2/pkg/archive"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/mount"
)

// BenchmarkDiffOfTenChanges compares the diff of a layer of ten changes over a
// large base: ours from the layer's directory, theirs by walking both trees, as
// containerd's walking differ does.
func BenchmarkDiffOfTenChanges(b *testing.B) {
	for _, files := range []int{10_000, 100_000} {
		b.Run(fmt.Sprintf("over %d files", files), func(b *testing.B) {
			ctx := context.Background()
			d := tenChanges(b, fstest.ScratchSize(b, fstest.Tmpfs, scratchMiB), files)
			race(b, []contender{
				measured("layerkeep", func() error {
					_, err := d.Diff(ctx, "changed", io.Discard, driver.DiffOptions{})
					return err
				}),
				measured("containerd", walkingDiff(b, d)),
			})
		})
	}
}

func measured(name string, work func() error) contender {
	return contender{name, func(b *testing.B) (func() error, func()) {
		b.Helper()
		return work, func() {}
	}}
}

// tenChanges returns a driver with the layers "base" and "changed".
func tenChanges(tb testing.TB, dir string, files int) driver.Driver {
	tb.Helper()
	ctx := context.Background()
	d, root := newDriver(tb, dir)
	tb.Cleanup(func() { closeDriver(tb, d, root) })
	base, err := smallFilesOf(files, 64)
	if err != nil {
		tb.Fatal(err)
	}
	changes, err := layer(func(w *layerWriter) {
		for i := range 5 {
			w.file(fmt.Sprintf("d%04d/f%06d", i*10, i*1000), 100)
			w.file(fmt.Sprintf("d%04d/.wh.f%06d", i*10, i*1000+1), 0)
		}
	})
	if err != nil {
		tb.Fatal(err)
	}
	fill(ctx, tb, d, "base", nil, base)
	fill(ctx, tb, d, "changed", []driver.ID{"base"}, changes)
	return d
}

func fill(ctx context.Context, tb testing.TB, d driver.Driver, id driver.ID, parents []driver.ID, content []byte) {
	tb.Helper()
	if err := d.Create(ctx, id, parents, driver.CreateOptions{}); err != nil {
		tb.Fatal(err)
	}
	if _, err := d.ApplyDiff(ctx, id, bytes.NewReader(content), driver.ApplyOptions{}); err != nil {
		tb.Fatal(err)
	}
	if err := d.Seal(ctx, id); err != nil {
		tb.Fatal(err)
	}
}

// walkingDiff mounts both layers for the time of the benchmark.
func walkingDiff(tb testing.TB, d driver.Driver) func() error {
	tb.Helper()
	base, changed := mounted(tb, d, "base"), mounted(tb, d, "changed")
	return func() error { return archive.WriteDiff(context.Background(), io.Discard, base, changed) }
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
