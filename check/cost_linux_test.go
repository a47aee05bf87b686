package check_test

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/check"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/image"
	. "github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/snapshotter"
)

var cost = flag.Int("cost", 0, "the number of snapshots in the store of TestCostTable, which takes minutes and 5 GB in TMPDIR; 0: a small run")

// The cost of a check and of the digest of a commit, as in docs/growth.md.
// Without the flag it runs on little data, to test that it works.
func TestCostTable(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("not root: layers have the owners that they name")
	}
	snapshots, mebibytes := *cost, 256
	if snapshots == 0 {
		snapshots, mebibytes = 20, 2
	}
	var table strings.Builder
	var once time.Duration // of the first row of a group, which the other rows are compared with
	row := func(of, what string, took time.Duration) {
		if of != "" {
			once = took
		}
		fmt.Fprintf(&table, "| %s | %s | %v | %.1f |\n", of, what, took.Round(time.Millisecond), took.Seconds()/once.Seconds())
	}
	p := place{filepath.Join(t.TempDir(), "store"), "overlay2"}
	costOfImage(t, p, mebibytes, row)
	p = place{filepath.Join(t.TempDir(), "store"), "overlay2"}
	costOfSnapshots(t, p, snapshots, row)
	costOfDigest(t, mebibytes/4+1, row)
	t.Log("\n" + table.String())
}

// A costRow writes a row of the table. of is empty for a row that belongs to
// the row before.
type costRow func(of, what string, took time.Duration)

// costOfImage is the cost of checking an image of four layers, compared with
// reading all its files and blobs once.
func costOfImage(t *testing.T, p place, mebibytes int, row costRow) {
	t.Helper()
	snaps, images := p.open(t)
	var layers [][]Entry
	for i := range 4 {
		layers = append(layers, filesOf(fmt.Sprintf("layer%d", i), mebibytes))
	}
	_, err := images.Import(t.Context(), sourceOf(t, layers...), image.ImportOptions{Name: "test:1"})
	require.NoError(t, err)
	require.NoError(t, snaps.Close())
	start := time.Now()
	n := readAll(t, p.root)
	row(fmt.Sprintf("an image of %d MiB (%d MiB with its blobs)", 4*mebibytes, n>>20), "reading every file and blob once", time.Since(start))
	timedChecks(t, p, row)
}

func costOfSnapshots(t *testing.T, p place, n int, row costRow) {
	t.Helper()
	snaps, _ := p.open(t)
	parent := ""
	for i := range n {
		if i%10 == 0 {
			parent = ""
		}
		name := fmt.Sprintf("s%d", i)
		commitFiles(t, snaps, name, parent, []Entry{Dir("d"), File("d/"+name, name), File("f", name)})
		parent = name
	}
	require.NoError(t, snaps.Close())
	start := time.Now()
	read := readAll(t, p.root)
	row(fmt.Sprintf("%d snapshots of 3 files (%d MiB with records and database)", n, read>>20), "reading every file once", time.Since(start))
	timedChecks(t, p, row)
}

// costOfDigest is the time of a commit with and without the digest of its
// changes.
func costOfDigest(t *testing.T, mebibytes int, row costRow) {
	t.Helper()
	entries := filesOf("d", min(mebibytes, 60))
	of := fmt.Sprintf("a layer of %d files and %d MiB", len(entries), min(mebibytes, 60))
	for _, limit := range []int64{-1, 0} {
		snaps, err := snapshotter.Open(t.Context(), filepath.Join(t.TempDir(), "store"), snapshotter.Options{Driver: "overlay2", DigestLimit: limit})
		require.NoError(t, err)
		took := commitFiles(t, snaps, "done", "", entries)
		require.NoError(t, snaps.Close())
		if limit < 0 {
			row(of, "a commit that keeps no digest", took)
		} else {
			row("", "a commit that keeps one", took)
		}
	}
}

// filesOf makes files of 4 KiB, which have a quarter of the size, and of 1 MiB.
// Their content compresses like text.
func filesOf(dir string, mebibytes int) []Entry {
	random := rand.New(rand.NewPCG(1, uint64(len(dir)))) //nolint:gosec // not a secret
	content := func(size int) string {
		raw := make([]byte, size/2)
		for i := range raw {
			raw[i] = byte(random.Uint32())
		}
		return hex.EncodeToString(raw)
	}
	entries := []Entry{Dir(dir)}
	for i := range mebibytes - mebibytes/4 {
		entries = append(entries, File(fmt.Sprintf("%s/large%d", dir, i), content(1<<20)))
	}
	for i := range mebibytes / 4 * 256 {
		entries = append(entries, File(fmt.Sprintf("%s/small%d", dir, i), content(4096)))
	}
	return entries
}

// commitFiles makes a committed snapshot and returns how long the commit took.
func commitFiles(t *testing.T, snaps *snapshotter.Snapshotter, name, parent string, entries []Entry) time.Duration {
	t.Helper()
	key := name + " key"
	require.NoError(t, snaps.Create(t.Context(), key, parent))
	_, err := snaps.Apply(t.Context(), key, bytes.NewReader(Layer(t, entries...)), driver.ApplyOptions{})
	require.NoError(t, err)
	start := time.Now()
	require.NoError(t, snaps.Commit(t.Context(), name, key))
	return time.Since(start)
}

func timedChecks(t *testing.T, p place, row costRow) {
	t.Helper()
	for _, opts := range []check.Options{{}, {ReadData: true}} {
		what := "check"
		if opts.ReadData {
			what = "check --read-data"
		}
		start := time.Now()
		found, sum := p.check(t, opts)
		row("", what, time.Since(start))
		require.Empty(t, found)
		require.Positive(t, sum.Snapshots)
	}
}

// readAll reads every file below dir and returns the number of bytes.
func readAll(t *testing.T, dir string) (n int64) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		read, err := io.Copy(io.Discard, f)
		n += read
		return err
	}))
	return n
}
