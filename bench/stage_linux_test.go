package bench

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/bench/disk"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// newStages opens stores of subjects on a file system of their own. The test is
// skipped where this takes what the process does not have.
func newStages(t *testing.T, kind fstest.FS, names ...string) []*Stage {
	t.Helper()
	if os.Geteuid() != 0 || !fstest.CanMount(t) {
		t.Skip("containers are mounted by root alone")
	}
	s, err := disk.Open(fstest.ScratchSize(t, kind, 1024))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	p, err := s.Directory("place")
	require.NoError(t, err)
	var stages []*Stage
	for _, sub := range Subjects() {
		if !slices.Contains(names, sub.Name) {
			continue
		}
		if i := slices.IndexFunc(stages, func(st *Stage) bool { return st.Subject.Name == sub.Store }); i >= 0 {
			stages = append(stages, stages[i].as(sub))
			continue
		}
		st, err := openStage(t.Context(), sub, p, s)
		require.NoError(t, err, sub.Name)
		t.Cleanup(func() { require.NoError(t, st.close()) })
		stages = append(stages, st)
	}
	require.Len(t, stages, len(names))
	return stages
}

// newStage is newStages for one subject.
func newStage(t *testing.T, kind fstest.FS, name string) *Stage {
	t.Helper()
	return newStages(t, kind, name)[0]
}

// needDrop skips the test where the kernel's caches cannot be dropped.
func needDrop(t *testing.T, p *disk.Place) {
	t.Helper()
	if err := canDrop(p); err != nil {
		t.Skip(err)
	}
}

// oneRound does one round of a case.
func oneRound(t *testing.T, st *Stage, start func(context.Context, *Stage) (Trial, error)) (Result, string) {
	t.Helper()
	trial, err := start(t.Context(), st)
	require.NoError(t, err, st.Subject.Name)
	var r Round
	err = trial.Round(t.Context(), &r)
	require.NoError(t, trial.Stop(t.Context()), st.Subject.Name)
	require.NoError(t, err, st.Subject.Name)
	return Result{Metrics: r.metrics}, r.note
}

// value is the only sample of a metric.
func value(t *testing.T, r Result, name string) float64 {
	t.Helper()
	m := r.Metric(name)
	require.NotNil(t, m, name)
	require.Len(t, m.Samples, 1, name)
	return m.Samples[0]
}

// layersOf lists the layers of a store.
func layersOf(t *testing.T, s Store) []string {
	t.Helper()
	var names []string
	switch s := s.(type) {
	case driverStore:
		all, err := s.d.Layers(t.Context())
		require.NoError(t, err)
		for _, id := range all {
			names = append(names, string(id))
		}
	case bareStore:
		entries, err := os.ReadDir(s.dir)
		require.NoError(t, err)
		for _, e := range entries {
			names = append(names, e.Name())
		}
	default:
		require.Failf(t, "no list of layers", "of a %T", s)
	}
	slices.Sort(names)
	return names
}

// kept lists the layers that the stage keeps for further cases.
func kept(st *Stage) []string {
	var names []string
	for _, name := range st.bases {
		names = append(names, name)
	}
	for _, all := range st.stacks {
		names = append(names, all...)
	}
	slices.Sort(names)
	return names
}

// requireClean fails the test if a container is left.
func requireClean(t *testing.T, st *Stage, s Store) {
	t.Helper()
	require.Empty(t, fstest.MountsBelow(t, st.Place.Dir), st.Subject.Name)
	require.Equal(t, kept(st), layersOf(t, s), st.Subject.Name)
	entries, err := os.ReadDir(st.dir)
	require.NoError(t, err)
	for _, e := range entries {
		require.False(t, strings.HasPrefix(e.Name(), "dir-"), "mount point %s of %s is left", e.Name(), st.Subject.Name)
	}
}

func TestEveryQuickCaseLeavesTheStoreAsItWas(t *testing.T) {
	kind, names := fstest.Btrfs, []string{"overlay2", "btrfs", "bare"}
	if testing.Short() {
		kind, names = fstest.Tmpfs, []string{"overlay2"}
	}
	stages := newStages(t, kind, names...)
	for _, s := range []Suite{readSuite(), lifeCycleSuite()} {
		for _, c := range s.Cases {
			for _, st := range stages {
				if !c.Quick || c.Cannot != nil && c.Cannot(st.Subject, st.Place) != "" {
					continue
				}
				name := Result{Suite: s.Name, Case: c.Name, Params: c.Params, Subject: st.Subject.Name}.Name()
				t.Run(name+" "+st.Subject.Name, func(t *testing.T) {
					got, note := oneRound(t, st, c.Start)
					require.NotEmpty(t, got.Metrics)
					require.Empty(t, note)
					requireClean(t, st, st.Store)
				})
			}
		}
	}
}
