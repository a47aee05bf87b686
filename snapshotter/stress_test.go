package snapshotter

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/layerkeep/layerkeep/driver"
)

const stressWorkers = 200

// TestManyCallersShareAStore lets callers prepare, apply, commit, read and
// remove at the same time. Half of them use the same names.
func TestManyCallersShareAStore(t *testing.T) {
	s, disk := openFake(t)
	commit(t, s, "base", "", "base")
	var g errgroup.Group
	for worker := range stressWorkers {
		g.Go(func() error {
			rnd := rand.New(rand.NewPCG(1, uint64(worker))) //nolint:gosec // reproducible
			for round := range 3 {
				name := fmt.Sprintf("own-%d-%d", worker, round)
				if worker%2 == 0 {
					name = fmt.Sprintf("shared-%d", rnd.IntN(8))
				}
				if err := liveAndDie(t, s, name, rnd); err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
			}
			return nil
		})
	}
	require.NoError(t, g.Wait())

	requireSound(t, s)
	for name := range rowsOf(t, s) {
		require.True(t, name == "base" || strings.HasPrefix(name, "shared-"), "left over: %s", name)
	}
	s.bg.wait()
	require.NoError(t, s.Cleanup(t.Context()))
	require.Zero(t, disk.trash)
}

// liveAndDie makes, commits and removes a snapshot. It ignores the errors of
// losing a race against another caller that uses the same name.
func liveAndDie(t *testing.T, s *Snapshotter, name string, rnd *rand.Rand) error {
	ctx, key := t.Context(), name+" key"
	parent, opts := "base", []snapshots.Opt(nil)
	if rnd.IntN(2) == 0 {
		parent, opts = "", []snapshots.Opt{snapshots.WithParent("base")}
	}
	if err := s.Create(ctx, key, parent); err != nil {
		return lostRace(name, err)
	}
	if _, err := s.Apply(ctx, key, strings.NewReader(name), driver.ApplyOptions{Detached: parent == ""}); err != nil {
		return lostRace(name, err)
	}
	if rnd.IntN(4) == 0 {
		return lostRace(name, s.Remove(ctx, key))
	}
	if err := s.Commit(ctx, name, key, opts...); err != nil {
		return errors.Join(lostRace(name, err), lostRace(name, s.Remove(ctx, key)))
	}
	if _, err := s.View(ctx, key+" view", name); err != nil {
		return lostRace(name, err)
	}
	if _, err := s.Usage(ctx, name); err != nil {
		return lostRace(name, err)
	}
	return errors.Join(lostRace(name, s.Remove(ctx, key+" view")), lostRace(name, s.Remove(ctx, name)))
}

// lostRace drops the errors that can occur only for a shared name.
func lostRace(name string, err error) error {
	if !strings.HasPrefix(name, "shared-") {
		return err
	}
	for _, kind := range []error{errdefs.ErrAlreadyExists, errdefs.ErrNotFound, errdefs.ErrFailedPrecondition} {
		if errors.Is(err, kind) {
			return nil
		}
	}
	return err
}
