package snapshotter

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

var growth = flag.String("growth", "", "numbers of snapshots, with commas in between, to measure stores of")

// A placedDriver is a fakeDriver that has a name in a directory for each layer,
// as backends do. It counts the calls that read all of them.
type placedDriver struct {
	*fakeDriver
	place    string
	listings *int
}

func placed(disk *fakeDisk, listings *int) openDriver {
	return func(ctx context.Context, root, name string, opts driver.Options) (driver.Driver, error) {
		d, err := disk.open(ctx, root, name, opts)
		if err != nil {
			return nil, err
		}
		place := filepath.Join(root, "fake")
		if err := os.MkdirAll(place, 0o700); err != nil {
			return nil, err
		}
		probe := filepath.Join(place, ".new-probe") // it changes the directory, as probes do
		if err := errors.Join(os.WriteFile(probe, nil, 0o600), os.Remove(probe)); err != nil {
			return nil, err
		}
		return &placedDriver{d.(*fakeDriver), place, listings}, nil //nolint:forcetypeassert // the type that open returns
	}
}

func (d *placedDriver) Create(ctx context.Context, id driver.ID, parents []driver.ID, opts driver.CreateOptions) error {
	if err := d.fakeDriver.Create(ctx, id, parents, opts); err != nil {
		return err
	}
	return os.Mkdir(filepath.Join(d.place, string(id)), 0o700)
}

func (d *placedDriver) Remove(ctx context.Context, id driver.ID) error {
	if err := d.fakeDriver.Remove(ctx, id); err != nil {
		return err
	}
	return os.RemoveAll(filepath.Join(d.place, string(id)))
}

func (d *placedDriver) Layers(context.Context) (ids []driver.ID, err error) {
	*d.listings++
	entries, err := os.ReadDir(d.place)
	for _, e := range entries {
		ids = append(ids, driver.ID(e.Name()))
	}
	return ids, err
}

func (d *placedDriver) Cleanup(context.Context) error {
	*d.listings++
	_, err := os.ReadDir(d.place)
	return err
}

func (d *placedDriver) Place() string   { return d.place }
func (d *placedDriver) Leftovers() bool { return false }

// manySnapshots makes a store with n committed snapshots in chains of ten.
func manySnapshots(t testing.TB, root string, n int) (opts Options, listings *int) {
	t.Helper()
	disk := newFakeDisk()
	listings = new(int)
	opts = Options{open: placed(disk, listings), LockTimeout: -1}
	s, err := Open(t.Context(), root, opts)
	require.NoError(t, err)
	for from := 0; from < n; from += 5000 {
		require.NoError(t, s.db.Update(func(tx *meta.Tx) error {
			for i := from; i < min(from+5000, n); i++ {
				row := meta.Snapshot{
					Name: manyName(i), Kind: meta.Committed, State: meta.Ready, Created: now(), Updated: now(),
					Labels: map[string]string{"containerd.io/snapshot.ref": manyName(i)},
				}
				if i%10 > 0 {
					row.Parent = manyName(i - 1)
				}
				row, err := tx.CreateSnapshot(row)
				if err != nil {
					return err
				}
				disk.layers[layerOf(row)] = &fakeLayer{sealed: true}
				if err := os.Mkdir(filepath.Join(root, "fake", row.Layer), 0o700); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	require.NoError(t, s.Close())
	return opts, listings
}

// manyName returns a name in the form of a chainID. The names of successive
// numbers are not in order.
func manyName(i int) string { return fmt.Sprintf("sha256:%08x%056d", uint32(i)*2654435761, i) } //nolint:gosec // to spread them

// Opening a store, and calls on one snapshot, read about as many pages in a
// large store as in a small one.
func TestNothingGrowsWithTheNumberOfSnapshotsButLists(t *testing.T) {
	type cost struct {
		pages    int64
		listings int
	}
	costs := map[string]map[int]cost{}
	for _, n := range []int{500, 10_000} {
		root := memDir(t)
		opts, listings := manySnapshots(t, root, n)
		for _, c := range []struct {
			name string
			run  func(s *Snapshotter) error
		}{
			{"open", func(*Snapshotter) error { return nil }},
			{"info", func(s *Snapshotter) error { _, err := s.Stat(t.Context(), manyName(n/2)); return err }},
			{"prepare", func(s *Snapshotter) error { return s.Create(t.Context(), "new", manyName(7)) }},
			{"commit", func(s *Snapshotter) error { return s.Commit(t.Context(), "committed", "new") }},
			{"remove", func(s *Snapshotter) error { return s.Remove(t.Context(), "committed") }},
			{"open again", func(*Snapshotter) error { return nil }},
		} {
			*listings = 0
			s, err := Open(t.Context(), root, opts)
			require.NoError(t, err, c.name)
			require.True(t, s.OpenedInOrder(), c.name)
			require.NoError(t, c.run(s), c.name)
			require.NoError(t, s.Close())
			if costs[c.name] == nil {
				costs[c.name] = map[int]cost{}
			}
			costs[c.name][n] = cost{s.db.PagesRead(), *listings}
		}
	}
	for name, of := range costs {
		t.Log(name, of)
		require.Zero(t, of[500].listings+of[10_000].listings, "%s: listings of all layers", name)
		require.LessOrEqual(t, of[10_000].pages, 2*of[500].pages+16, "%s: a tree of twenty times the rows is one level deeper", name)
	}
}

// Open notices changes that were made to a store after it was closed.
func TestWhatHasHappenedToAStoreIsSeen(t *testing.T) {
	for name, c := range map[string]struct {
		happen func(t *testing.T, root string, opts Options)
		said   string
	}{
		"a layer appears": {func(t *testing.T, root string, _ Options) {
			t.Helper()
			require.NoError(t, os.Mkdir(filepath.Join(root, "fake", "4711"), 0o700))
		}, "no snapshot has this layer"},
		"a layer goes": {func(t *testing.T, root string, _ Options) {
			t.Helper()
			require.NoError(t, os.Remove(filepath.Join(root, "fake", "7")))
		}, "layer of snapshot is missing"},
		"a process is killed": {func(t *testing.T, root string, _ Options) {
			t.Helper()
			require.NoError(t, os.WriteFile(filepath.Join(root, lockName), []byte("1\n"), 0o600))
		}, ""},
		"a process is killed in the middle of a step": {func(t *testing.T, root string, opts Options) {
			t.Helper()
			crash := errors.New("killed")
			opts.hook = func(point string) error {
				if point == "announce after" {
					panic(crash)
				}
				return nil
			}
			s, err := Open(t.Context(), root, opts)
			require.NoError(t, err)
			require.PanicsWithError(t, "killed", func() { _ = s.Create(context.Background(), "half", "") })
			s.sound.Store(false) // the process is dead, so it leaves no mark
			require.NoError(t, s.release())
		}, "finish interrupted work"},
	} {
		t.Run(name, func(t *testing.T) {
			root := memDir(t)
			opts, listings := manySnapshots(t, root, 20)
			c.happen(t, root, opts)
			for _, again := range []bool{false, true} {
				var said bytes.Buffer
				opts.Logger = slog.New(slog.NewTextHandler(&said, nil))
				*listings = 0
				s, err := Open(t.Context(), root, opts)
				require.NoError(t, err)
				require.NoError(t, s.Close())
				lasting := strings.Contains(c.said, "layer") // reported until it is repaired
				require.Equal(t, again && !lasting, s.OpenedInOrder())
				require.Equal(t, again && !lasting, *listings == 0)
				if !again || lasting {
					require.Contains(t, said.String(), c.said)
				}
			}
		})
	}
}

// TestGrowthTable measures stores of the sizes that -growth names; see
// docs/growth.md.
func TestGrowthTable(t *testing.T) {
	if *growth == "" {
		t.Skip("-growth names no sizes")
	}
	t.Logf("%9s %-16s %12s %12s", "snapshots", "what", "time", "written")
	for _, text := range strings.Split(*growth, ",") {
		n, err := strconv.Atoi(text)
		require.NoError(t, err)
		root := t.TempDir()
		opts, _ := manySnapshots(t, root, n)
		measure := func(name string, times int, run func(s *Snapshotter, i int) error) {
			var best time.Duration
			var written int64
			for i := range times {
				before, begin := writtenBytes(t), time.Now()
				s, err := Open(t.Context(), root, opts)
				require.NoError(t, err)
				require.NoError(t, run(s, i), name)
				require.NoError(t, s.Close())
				if took := time.Since(begin); best == 0 || took < best {
					best = took
				}
				written = writtenBytes(t) - before
			}
			t.Logf("%9d %-16s %12s %10d K", n, name, best.Round(10*time.Microsecond), written>>10)
		}
		one := func(s *Snapshotter, _ int) error {
			_, err := s.Stat(t.Context(), manyName(n/2))
			return err
		}
		measure("open", 7, func(*Snapshotter, int) error { return nil })
		measure("info", 7, one)
		measure("list", 5, func(s *Snapshotter, _ int) error { return listAll(t.Context(), s) })
		measure("prepare", 7, func(s *Snapshotter, i int) error { return s.Create(t.Context(), fmt.Sprint("new ", i), manyName(0)) })
		measure("remove", 7, func(s *Snapshotter, i int) error { return s.Remove(t.Context(), fmt.Sprint("new ", i)) })
		require.NoError(t, os.Remove(filepath.Join(root, lockName)))
		require.NoError(t, os.WriteFile(filepath.Join(root, lockName), []byte("1\n"), 0o600))
		_ = os.Chtimes(filepath.Join(root, metaName), time.Now(), time.Now())
		measure("open, disturbed", 1, func(*Snapshotter, int) error { return nil })
		full, err := os.Stat(filepath.Join(root, metaName))
		require.NoError(t, err)
		emptyStore(t, root, opts, n)
		empty, err := os.Stat(filepath.Join(root, metaName))
		require.NoError(t, err)
		t.Logf("%9d meta.db %d K, %d K after all was removed", n, full.Size()>>10, empty.Size()>>10)
		measure("prepare, emptied", 7, func(s *Snapshotter, i int) error { return s.Create(t.Context(), fmt.Sprint("new ", i), "") })
	}
}

func listAll(ctx context.Context, s *Snapshotter) error {
	return s.Stream(ctx, func(context.Context, snapshots.Info) error { return nil })
}

// emptyStore removes all snapshots, many of them in one transaction.
func emptyStore(t *testing.T, root string, opts Options, n int) {
	t.Helper()
	s, err := Open(t.Context(), root, opts)
	require.NoError(t, err)
	for from := n - 1; from >= 0; from -= 1000 {
		require.NoError(t, s.db.Update(func(tx *meta.Tx) error {
			for i := from; i > max(from-1000, -1); i-- {
				row, err := tx.Snapshot(manyName(i))
				if err != nil {
					return err
				}
				if err := errors.Join(tx.DeleteSnapshot(row.Name), os.Remove(filepath.Join(root, "fake", row.Layer))); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	require.NoError(t, s.Close())
}

// writtenBytes returns the number of bytes that this process has written with
// write(2) and similar calls.
func writtenBytes(t *testing.T) int64 {
	t.Helper()
	raw, err := os.ReadFile("/proc/self/io")
	require.NoError(t, err)
	for _, line := range strings.Split(string(raw), "\n") {
		if n, ok := strings.CutPrefix(line, "wchar: "); ok {
			bytes, err := strconv.ParseInt(n, 10, 64)
			require.NoError(t, err)
			return bytes
		}
	}
	return 0
}
