package drivertest

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/driver/drivertest/model"
	. "github.com/layerkeep/layerkeep/internal/fstest"
)

// testTimes gives layers times that not every file system can hold. A file
// system that can has to keep them. Elsewhere the files get the nearest that
// there is, one warning tells of it, and from then on the layer is what is on
// the disk: its diff says so, and goes round exactly.
func (s *suite) testTimes(t *testing.T) {
	zero := time.Time{}.Unix()
	base := []Entry{Dir("d").WithMtime(zero, 0), File("d/x", "x").WithMtime(zero, 0), File("d/kept", "k").WithMtime(1<<40, 5)}
	top := []Entry{
		Dir("d").WithMtime(253_402_300_799, 999_999_999), File("d/x", "x").WithMtime(zero+1, 0), File("d/y", "y").WithMtime(zero, 0),
		Symlink("l", "x").WithMtime(math.MinInt32-1, 0), Fifo("p").WithMtime(1<<31, 1), File("n", "n").WithMtime(-1, 999_999_999),
		File("late", "").WithMtime(15_032_385_536, 0), File("later", "").WithMtime(16_299_260_425, 0), Dir(".").WithMtime(zero, 0),
	}
	st := s.open(t)
	holds := TimesOf(t, s.Dir)
	tree := model.New()
	require.NoError(t, tree.Apply(held(holds, base)))
	chain := st.layer("base", nil, base...)
	st.requireTree(tree.Snapshot(), "base", "the times of the base")
	parents := tree.Clone()
	require.NoError(t, tree.Apply(held(holds, top)))
	st.create("top", chain...)
	st.warns = nil
	st.mustApply("top", top...)
	ways := 0 // in which times are lost
	if slices.ContainsFunc(top, func(e Entry) bool { return holds.Keep(e.Mtime).Unix() != e.Mtime.Unix() }) {
		ways++
	}
	if holds.Unit > 1 {
		ways++
	}
	require.Len(t, st.warns, ways, "one warning for each way in which times are lost: %q", st.warns)
	st.requireTree(tree.Snapshot(), "top", "the times of the layer")
	st.warns = nil
	st.requireDiff(parents, tree, "top", chain)
	require.Empty(t, st.warns, "what the disk has is no surprise to it")
	st.seal("top")
	if s.props.Rebase {
		st.create("side")
		require.NoError(t, st.applyBytes("side", Layer(t, top...), driver.ApplyOptions{Detached: true}))
		require.NoError(t, st.d.(driver.Rebaser).Rebase(st.ctx(), "side", chain))
		st.requireTree(tree.Snapshot(), "side", "unpacked without parents")
	}
}

// held returns the entries with the times that a file system holds.
func held(holds Times, entries []Entry) []Entry {
	entries = slices.Clone(entries)
	for i := range entries {
		entries[i].Mtime = holds.Keep(entries[i].Mtime)
	}
	return entries
}

// runTimes runs what depends on the times that a file system holds.
func runTimes(t *testing.T, cfg Config) { newSuite(t, cfg).testTimes(t) }
