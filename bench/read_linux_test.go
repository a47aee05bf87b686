package bench

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

func TestColdReadsComeFromTheDevice(t *testing.T) {
	for kind, names := range map[fstest.FS][]string{
		fstest.Ext4:  {"overlay2", "bare"},
		fstest.XFS:   {"overlay2", "vfs"},
		fstest.Btrfs: {"btrfs"},
	} {
		t.Run(string(kind), func(t *testing.T) {
			if kind != fstest.Ext4 && testing.Short() {
				t.Skip("ext4 alone is tested with -short: it keeps most in its caches")
			}
			stages := newStages(t, kind, names...)
			needDrop(t, stages[0].Place)
			for _, st := range stages {
				for _, op := range readOps() {
					if testing.Short() && op.name != "stat" {
						continue
					}
					got, note := oneRound(t, st, startRead(op, 1, true))
					require.Empty(t, note, op.name)
					read := value(t, got, "read")
					require.Positive(t, read, op.name)
					if op.name == "open-read" {
						require.GreaterOrEqual(t, read, float64(treeSize))
					}
				}
			}
		})
	}
}

func TestEachLayerOfAStackIsRead(t *testing.T) {
	st := newStage(t, fstest.Tmpfs, "overlay2")
	parents, err := st.StackOf(t.Context(), "read", 5, fillRead)
	require.NoError(t, err)
	c, err := st.Start(t.Context(), parents...)
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Stop(t.Context())) }()
	for i := range listDirs {
		entries, err := os.ReadDir(c.Path(listDir(i)))
		require.NoError(t, err)
		require.Len(t, entries, 5)
	}
	v, err := openView(c)
	require.NoError(t, err)
	defer v.root.Close()
	for _, op := range readOps() {
		for _, name := range op.names {
			require.NoError(t, op.do(v, name), op.name)
		}
	}
}

func TestWhatShouldBeMissingMustNotExist(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(dir+"/there", nil, 0o600))
	v, err := openView(&Container{Root: dir})
	require.NoError(t, err)
	defer v.root.Close()
	require.NoError(t, v.statMissing("missing"))
	require.Error(t, v.statMissing("there"))
	require.Error(t, v.stat("missing"))
	require.Error(t, v.openRead("there"), "it is shorter than it should be")
}

func TestContainersShareTheirPagesOrNot(t *testing.T) {
	const size = 8 << 20
	for _, test := range []struct {
		kind  fstest.FS
		name  string
		twice bool
	}{
		{fstest.Ext4, "overlay2", false},
		{fstest.Ext4, "vfs", true},
		{fstest.XFS, "overlay2", false},
		{fstest.XFS, "vfs", true}, // files that share blocks do not share pages
		{fstest.Btrfs, "overlay2", false},
		{fstest.Btrfs, "btrfs", true},
	} {
		t.Run(string(test.kind)+" "+test.name, func(t *testing.T) {
			if test.kind != fstest.Ext4 && testing.Short() {
				t.Skip("ext4 alone is tested with -short")
			}
			st := newStage(t, test.kind, test.name)
			needDrop(t, st.Place)
			got, _ := oneRound(t, st, startPageCache(size))
			if test.twice {
				require.GreaterOrEqual(t, value(t, got, "device-reads"), float64(size))
				require.InDelta(t, size, value(t, got, "resident"), 0)
				return
			}
			require.Less(t, value(t, got, "device-reads"), float64(size/16))
			require.Zero(t, value(t, got, "resident"))
		})
	}
}
