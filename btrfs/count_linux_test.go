package btrfs

import (
	"math/rand/v2"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// noise returns content that cannot be compressed.
func noise(size int) string {
	b := make([]byte, size)
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return string(b)
}

func truncate(size int64) func(testing.TB, *os.File) {
	return func(t testing.TB, f *os.File) { require.NoError(t, f.Truncate(size)) }
}

func TestUsageCountsWhatALayerAddedOnly(t *testing.T) {
	vols := &volumes{root: scratch(t)}
	mib := noise(1 << 20)
	old := newVolume(t, vols.root, vols.name())
	all(some, edits(fstest.Create("mib", mib)))(t, old.fs())
	for _, c := range []struct {
		name   string
		change change
		want   driver.Usage
	}{
		{"nothing", all(), driver.Usage{}},
		{"a new file and a new directory", edits(fstest.Mkdir("n"), fstest.Create("n/mib", mib)), driver.Usage{Bytes: 1 << 20, Inodes: 2}},
		{"a small file, which is in the tree itself", edits(fstest.Create("n", "12345")), driver.Usage{Bytes: 5, Inodes: 1}},
		{"a block written in a file of the parent", pwrite("mib", 8192, mib[:4096]), driver.Usage{Bytes: 4096}},
		{"a clone of a file of the parent", all(edits(fstest.Create("n", "")), cloneRange("mib", "n", 0, 0, 0)), driver.Usage{Inodes: 1}},
		{"a clone of a new file", all(edits(fstest.Create("n", mib), fstest.Create("m", "")), cloneRange("n", "m", 0, 0, 0)), driver.Usage{Bytes: 1 << 20, Inodes: 2}},
		{"space reserved", all(edits(fstest.Create("n", "")), fallocate("n", 0, 0, 1<<20)), driver.Usage{Bytes: 1 << 20, Inodes: 1}},
		{"a hole", all(edits(fstest.Create("n", "")), opened("n", unix.O_RDWR, truncate(1<<30))), driver.Usage{Inodes: 1}},
		{"a second name", edits(fstest.MakeLink("n", "mib")), driver.Usage{}},
		{"what was removed", edits(fstest.Remove("mib"), fstest.Remove("a")), driver.Usage{}},
		{"what was moved and read", all(edits(fstest.Rename("a", "n")), read("mib")), driver.Usage{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			new := old.snapshot(t, vols.name())
			c.change(t, new.fs())
			got, err := usageSince(t.Context(), new.path, new.base, false)
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
	t.Run("a layer without parents", func(t *testing.T) {
		alone := newVolume(t, vols.root, vols.name())
		edits(fstest.Mkdir("d"), fstest.Create("d/f", "123"), fstest.Create("mib", mib), fstest.MakeLink("d/mib", "mib"))(t, alone.fs())
		got, err := usageSince(t.Context(), alone.path, 0, false)
		require.NoError(t, err)
		require.Equal(t, driver.Usage{Bytes: 1<<20 + 3, Inodes: 4}, got, "the root, a directory and two files")
	})
}
