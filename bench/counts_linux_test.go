package bench

import (
	"context"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/bench/synth"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// stagesOn is newStages with what others are compared with, by name.
func stagesOn(t *testing.T, kind fstest.FS, names ...string) map[string]*Stage {
	t.Helper()
	all := map[string]*Stage{}
	for _, st := range newStages(t, kind, append(names, "bare", "hardlinks")...) {
		all[st.Subject.Name] = st
	}
	return all
}

// once is oneRound for what is noted, too.
func once(t *testing.T, st *Stage, start func(context.Context, *Stage) (Trial, error)) Result {
	t.Helper()
	r, note := oneRound(t, st, start)
	r.Note = note
	return r
}

// some is a sample of a metric, near the median if the metric has many.
func (r Result) some(t *testing.T, name string) float64 {
	t.Helper()
	m := r.Metric(name)
	require.NotNil(t, m, name)
	return m.Samples[len(m.Samples)/2]
}

// A chmod copies up all of a file, and with metacopy nothing of it.
func TestAChangeOfAttributesWithMetacopyWritesNoData(t *testing.T) {
	const size = 1 << 20
	stages := stagesOn(t, fstest.Ext4, "overlay2", "overlay2+metacopy")
	chmod := operation{name: "chmod", do: func(path string) error { return os.Chmod(path, 0o600) }, again: true}
	full := once(t, stages["overlay2"], startCopyUp(chmod, size, 1))
	require.GreaterOrEqual(t, full.some(t, "written"), float64(size))
	require.GreaterOrEqual(t, full.some(t, "space"), float64(size))
	require.InDelta(t, 1, full.some(t, "inodes"), 0.5, "and the directories above, once for all files")
	meta := once(t, stages["overlay2+metacopy"], startCopyUp(chmod, size, 1))
	require.Less(t, meta.some(t, "written"), float64(size/4))
	require.Less(t, meta.some(t, "space"), float64(size/8))
	require.InDelta(t, 1, meta.some(t, "inodes"), 0.5)
	bare := once(t, stages["bare"], startCopyUp(chmod, size, 1))
	require.Less(t, bare.some(t, "space"), float64(4096))
	require.Zero(t, bare.some(t, "inodes"))
}

// Where files can share blocks, a copy-up takes no space but that of what is
// written.
func TestACopyUpSharesBlocksWhereItCan(t *testing.T) {
	const size = 1 << 20
	for kind, shares := range map[fstest.FS]bool{fstest.XFS: true, fstest.Btrfs: true, fstest.Ext4: false} {
		t.Run(string(kind), func(t *testing.T) {
			stages := stagesOn(t, kind, "overlay2")
			got := once(t, stages["overlay2"], startCopyUp(appendOne, size, 1))
			shared := got.some(t, "shared")
			if shares {
				require.Greater(t, shared, 0.9)
				require.Less(t, got.some(t, "written"), float64(size/2))
			} else {
				require.Zero(t, shared)
				require.GreaterOrEqual(t, got.some(t, "written"), float64(size))
			}
		})
	}
}

func TestEachOperationDoesWhatItSays(t *testing.T) {
	stages := stagesOn(t, fstest.Ext4, "overlay2", "vfs")
	for _, op := range operations() {
		for _, st := range stages {
			if st.Subject.Name == "hardlinks" || st.Subject.Store != "" {
				continue
			}
			got := once(t, st, startCopyUp(op, 4096, 1))
			require.Len(t, got.Metric("first").Samples, filesOf(4096), "%s %s", op.name, st.Subject.Name)
			require.Equal(t, op.again, got.Metric("second") != nil, op.name)
		}
	}
}

// Directories and symbolic links have no hard links: with k layers over one
// another, what the first has of them is there k times.
func TestTheOldSchemeTakesTheInodesThatTheFormulaSays(t *testing.T) {
	const layers = 5
	want := 0
	for k := 1; k <= layers; k++ {
		want += 1 + k*(layerDirs+layerSymlinks) + layerFiles // the root, all directories and links so far, new files
	}
	for _, kind := range []fstest.FS{fstest.Ext4, fstest.Btrfs} {
		t.Run(string(kind), func(t *testing.T) {
			stages := stagesOn(t, kind, "overlay2")
			old := once(t, stages["hardlinks"], startImage(layers, layerOfImage))
			require.EqualValues(t, want, old.some(t, "inodes"))
			now := once(t, stages["overlay2"], startImage(layers, layerOfImage))
			entries := layers * (layerDirs + layerFiles + layerSymlinks)
			require.GreaterOrEqual(t, now.some(t, "inodes"), float64(entries))
			require.LessOrEqual(t, now.some(t, "inodes"), float64(entries+4*layers), "each layer has a few of its own")
		})
	}
}

func TestADiskWithoutInodesIsFilledAndFreed(t *testing.T) {
	stages := stagesOn(t, fstest.Ext4, "overlay2", "vfs")
	containers := map[string]float64{}
	for _, name := range []string{"overlay2", "vfs"} {
		got := once(t, stages[name], startFill)
		containers[name] = got.some(t, "containers")
		require.Contains(t, got.Note, "cleaning up worked, and all inodes came back")
	}
	require.Greater(t, containers["overlay2"], 5*containers["vfs"])
}

func TestEachWorkloadRuns(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it builds, commits and upgrades")
	}
	stages := stagesOn(t, fstest.Ext4, "overlay2", "vfs")
	for _, w := range workloads() {
		for _, name := range []string{"overlay2", "bare"} {
			st := stages[name]
			if reason := w.cannot(st.Subject, st.Place); reason != "" {
				t.Log(w.name, reason)
				continue
			}
			got := once(t, st, func(ctx context.Context, st *Stage) (Trial, error) { return startWorkload(ctx, st, w) })
			require.Positive(t, got.some(t, "time"), w.name)
		}
	}
	e := experiment{name: "small", files: 20, fill: func(l *synth.Layer) { l.Files("small", 20, 100) }}
	got := once(t, stages["overlay2"], func(ctx context.Context, st *Stage) (Trial, error) { return e.start(ctx, st, 2) })
	require.Positive(t, got.some(t, "time"), "two containers at once")
}

func TestNamesOfStacksAreShared(t *testing.T) {
	stages := stagesOn(t, fstest.Tmpfs, "vfs")
	st := stages["vfs"]
	fill := func(l *synth.Layer) { l.Text("f", "x") }
	low, err := st.Stack(t.Context(), "s", 2, fill)
	require.NoError(t, err)
	high, err := st.Stack(t.Context(), "s", 4, fill)
	require.NoError(t, err)
	require.Equal(t, low, high[2:])
	c, err := st.Start(t.Context(), high...)
	require.NoError(t, err)
	require.FileExists(t, c.Path("f"))
	require.FileExists(t, c.Path("layer-0003"))
	require.NoError(t, c.Stop(t.Context()))
	require.NoFileExists(t, c.Path("f"))
}
