package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/bench/disk"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// A troubledStore calls trouble before it creates a layer, and returns its
// error. It counts the layers from 1.
type troubledStore struct {
	Store
	count   atomic.Int32
	trouble func(n int) error
}

func (s *troubledStore) Create(ctx context.Context, name string, parents []string) error {
	if err := s.trouble(int(s.count.Add(1))); err != nil {
		return err
	}
	return s.Store.Create(ctx, name, parents)
}

// withTrouble makes the small image of a stage, and then replaces its store.
func withTrouble(t *testing.T, st *Stage, trouble func(n int) error) (image string, below Store) {
	t.Helper()
	image, err := smallImage(t.Context(), st)
	require.NoError(t, err)
	below = st.Store
	st.Store = &troubledStore{Store: below, trouble: trouble}
	return image, below
}

func TestACanceledRunLeavesNoContainers(t *testing.T) {
	for _, name := range []string{"overlay2", "vfs", "bare"} {
		t.Run(name, func(t *testing.T) {
			st := newStage(t, fstest.Tmpfs, name)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			image, below := withTrouble(t, st, func(n int) error {
				if n == 8 {
					cancel()
				}
				return nil
			})
			var r Round
			err := manyTrial{st, image, 1000}.Round(ctx, &r)
			require.ErrorIs(t, err, context.Canceled)
			requireClean(t, st, below)
		})
	}
}

func TestARunCanceledWhileItStartsContainersToPollLeavesNone(t *testing.T) {
	st := newStage(t, fstest.Tmpfs, "overlay2")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, below := withTrouble(t, st, func(n int) error {
		if n == pollContainers {
			cancel()
		}
		return nil
	})
	_, err := startPoll(100)(ctx, st)
	require.ErrorIs(t, err, context.Canceled)
	requireClean(t, st, below)
}

func TestContainersThatTheMachineCannotHaveAreNoted(t *testing.T) {
	errTooMany := errors.New("too many of them")
	st := newStage(t, fstest.Tmpfs, "overlay2")
	image, below := withTrouble(t, st, func(n int) error {
		if n > 5 {
			return errTooMany
		}
		return nil
	})
	var r Round
	require.NoError(t, manyTrial{st, image, 20}.Round(t.Context(), &r))
	require.Equal(t, "only 5 of 20 containers could be mounted at the same time: too many of them", r.note)
	require.Len(t, Result{Metrics: r.metrics}.Metric("start").Samples, 5)
	requireClean(t, st, below)
	_, err := st.StartAll(t.Context(), 3, image)
	require.ErrorIs(t, err, errTooMany)
	requireClean(t, st, below)
}

func TestContainersStartedAtOnceHaveLayersOfTheirOwn(t *testing.T) {
	for _, name := range []string{"overlay2", "bare"} {
		t.Run(name, func(t *testing.T) {
			st := newStage(t, fstest.Tmpfs, name)
			image, err := smallImage(t.Context(), st)
			require.NoError(t, err)
			all, err := st.StartAll(t.Context(), 5, image)
			require.NoError(t, err)
			for i, c := range all {
				require.NoError(t, os.WriteFile(c.Path(fmt.Sprint("of-", i)), nil, 0o600))
			}
			for i, c := range all {
				entries, err := os.ReadDir(c.Root)
				require.NoError(t, err)
				require.Len(t, entries, 2, "the directory of the image and a file of its own")
				require.FileExists(t, c.Path(fmt.Sprint("of-", i)))
			}
			require.NoError(t, st.StopAll(t.Context(), all))
			requireClean(t, st, st.Store)
		})
	}
}

func TestTheSpaceOfARemovedLayerComesBack(t *testing.T) {
	for kind, names := range map[fstest.FS][]string{
		fstest.Ext4:  {"overlay2", "vfs", "bare"},
		fstest.Btrfs: {"btrfs"},
	} {
		t.Run(string(kind), func(t *testing.T) {
			if kind == fstest.Btrfs && testing.Short() {
				t.Skip("ext4 alone is tested with -short")
			}
			for _, st := range newStages(t, kind, names...) {
				got, note := oneRound(t, st, func(context.Context, *Stage) (Trial, error) {
					return removeTrial{st, 1000, freedWithin}, nil
				})
				require.Empty(t, note)
				require.Greater(t, value(t, got, "space"), 500_000.0)
				require.GreaterOrEqual(t, value(t, got, "freed"), value(t, got, "returns"))
				requireClean(t, st, st.Store)
			}
		})
	}
}

// A hoardingStore removes nothing.
type hoardingStore struct{ Store }

func (hoardingStore) Remove(context.Context, string) error { return nil }

func TestSpaceThatDoesNotComeBackIsNoted(t *testing.T) {
	st := newStage(t, fstest.Tmpfs, "bare")
	st.Store = hoardingStore{st.Store}
	var r Round
	require.NoError(t, removeTrial{st, 1000, 20 * time.Millisecond}.Round(t.Context(), &r))
	require.Contains(t, r.note, "still in use")
	require.Nil(t, Result{Metrics: r.metrics}.Metric("freed"))
}

func TestAContainerIsCountedWithWhatItTakesUp(t *testing.T) {
	stages := newStages(t, fstest.Ext4, "overlay2", "bare")
	for _, st := range stages {
		got, _ := oneRound(t, st, startLifeOverFiles(1000))
		inodes := value(t, got, "inodes")
		if st.Subject.Copies {
			require.Greater(t, inodes, 1000.0)
		} else {
			require.Less(t, inodes, 20.0)
		}
		require.Len(t, got.Metric("start").Samples, len(got.Metric("remove").Samples))
		requireClean(t, st, st.Store)
	}
}

func TestALargerChangeGivesALargerDiff(t *testing.T) {
	if testing.Short() {
		t.Skip("the image has 10,000 files")
	}
	st := newStage(t, fstest.Tmpfs, "overlay2")
	few, _ := oneRound(t, st, startDiff(1))
	many, _ := oneRound(t, st, startDiff(100))
	require.Greater(t, value(t, few, "size"), 1024.0)
	require.Greater(t, value(t, many, "size"), 50*1024.0)
	requireClean(t, st, st.Store)
}

func TestPlacesWithoutRoomAreLeftOut(t *testing.T) {
	stages := newStages(t, fstest.Ext4, "overlay2", "bare")
	p := stages[0].Place
	require.Empty(t, takesContainers(50)(stages[0].Subject, p))
	require.Empty(t, takesContainers(50)(stages[1].Subject, p))
	require.Empty(t, takesContainers(1000)(stages[0].Subject, p))
	require.Contains(t, takesContainers(1000)(stages[1].Subject, p), "are free", "1,000 copies")
	require.Contains(t, need{inodes: 1 << 40}.missing(p), "inodes")
	require.Contains(t, need{bytes: inMemory + 1}.missing(&disk.Place{Dir: p.Dir, FileSystem: disk.Tmpfs}), "in memory")
}
