package peers

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/v2/pkg/archive"
	mobyarchive "github.com/moby/go-archive"
	"github.com/opencontainers/go-digest"
	podmanarchive "go.podman.io/storage/pkg/archive"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/overlay2"
)

// scratchMiB is enough for the largest layer once, and its inodes.
const scratchMiB = 2048

func BenchmarkApply(b *testing.B) {
	shapes := []struct {
		name string
		make func() ([]byte, error)
	}{
		{"10000 files of 4 KiB", func() ([]byte, error) { return smallFiles(10_000) }},
		{"16700 mixed files", func() ([]byte, error) { return mixedFiles(16_700) }},
	}
	for _, shape := range shapes {
		content, err := shape.make()
		if err != nil {
			b.Fatal(err)
		}
		for _, fs := range []fstest.FS{fstest.Tmpfs, fstest.Ext4} {
			b.Run(shape.name+"/"+string(fs), func(b *testing.B) {
				b.SetBytes(int64(len(content)))
				race(b, appliers(fstest.ScratchSize(b, fs, scratchMiB), content))
			})
		}
	}
}

// appliers are those who unpack a layer into an empty directory. Ours computes
// the layer's digest as well; of the others only the one that says so.
func appliers(dir string, content []byte) []contender {
	ctx := context.Background()
	return []contender{
		{"layerkeep", func(b *testing.B) (func() error, func()) {
			b.Helper()
			d, root := newDriver(b, dir)
			settle(b, dir)
			work := func() error {
				if err := d.Create(ctx, "1", nil, driver.CreateOptions{}); err != nil {
					return err
				}
				_, err := d.ApplyDiff(ctx, "1", bytes.NewReader(content), driver.ApplyOptions{})
				return err
			}
			return work, func() { closeDriver(b, d, root) }
		}},
		into(dir, "containerd", func(root string) error {
			_, err := archive.Apply(ctx, root, bytes.NewReader(content))
			return err
		}),
		into(dir, "containerd+digest", func(root string) error {
			digester := digest.Canonical.Digester()
			r := io.TeeReader(bytes.NewReader(content), digester.Hash())
			if _, err := archive.Apply(ctx, root, r); err != nil {
				return err
			}
			_, err := io.Copy(io.Discard, r)
			return err
		}),
		into(dir, "go-archive", func(root string) error {
			_, err := mobyarchive.UnpackLayer(root, bytes.NewReader(content), &mobyarchive.TarOptions{})
			return err
		}),
		into(dir, "podman", func(root string) error {
			_, err := podmanarchive.UnpackLayer(root, bytes.NewReader(content), &podmanarchive.TarOptions{})
			return err
		}),
	}
}

// into is a contender that gets an empty directory.
func into(dir, name string, apply func(root string) error) contender {
	return contender{name, func(b *testing.B) (func() error, func()) {
		b.Helper()
		root := filepath.Join(dir, "root")
		if err := os.Mkdir(root, 0o755); err != nil {
			b.Fatal(err)
		}
		settle(b, dir)
		return func() error { return apply(root) }, func() { remove(b, root) }
	}}
}

// settle writes back what earlier work left in memory, so that its cost does
// not fall to whoever comes next.
func settle(tb testing.TB, dir string) {
	tb.Helper()
	f, err := os.Open(dir)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		tb.Fatal(err)
	}
}

func newDriver(tb testing.TB, dir string) (driver.Driver, string) {
	tb.Helper()
	root := filepath.Join(dir, "store")
	d, err := overlay2.New(context.Background(), root, driver.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	return d, root
}

func closeDriver(tb testing.TB, d driver.Driver, root string) {
	tb.Helper()
	if err := d.Close(); err != nil {
		tb.Fatal(err)
	}
	remove(tb, root)
}

func remove(tb testing.TB, root string) {
	tb.Helper()
	if err := os.RemoveAll(root); err != nil {
		tb.Fatal(err)
	}
}
