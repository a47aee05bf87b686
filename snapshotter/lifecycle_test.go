package snapshotter

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

func TestEveryRefusalHasItsKindAndChangesNothing(t *testing.T) {
	withParent := func(p string) snapshots.Opt { return snapshots.WithParent(p) }
	failing := errors.New("option")
	for name, c := range map[string]struct {
		call func(ctx context.Context, s *Snapshotter) error
		want error
	}{
		"prepare a taken key": {func(ctx context.Context, s *Snapshotter) error {
			_, err := s.Prepare(ctx, "active", "base")
			return err
		}, errdefs.ErrAlreadyExists},
		"prepare a committed name": {func(ctx context.Context, s *Snapshotter) error {
			_, err := s.Prepare(ctx, "base", "")
			return err
		}, errdefs.ErrAlreadyExists},
		"prepare on a missing parent": {func(ctx context.Context, s *Snapshotter) error {
			_, err := s.Prepare(ctx, "new", "missing")
			return err
		}, errdefs.ErrNotFound},
		"prepare on an active parent": {func(ctx context.Context, s *Snapshotter) error {
			_, err := s.Prepare(ctx, "new", "active")
			return err
		}, errdefs.ErrInvalidArgument},
		"view a view": {func(ctx context.Context, s *Snapshotter) error {
			_, err := s.View(ctx, "new", "view")
			return err
		}, errdefs.ErrInvalidArgument},
		"prepare without a key": {func(ctx context.Context, s *Snapshotter) error {
			_, err := s.Prepare(ctx, "", "base")
			return err
		}, errdefs.ErrInvalidArgument},
		"prepare with a failing option": {func(ctx context.Context, s *Snapshotter) error {
			_, err := s.Prepare(ctx, "new", "base", func(*snapshots.Info) error { return failing })
			return err
		}, failing},
		"commit to a taken name": {func(ctx context.Context, s *Snapshotter) error {
			return s.Commit(ctx, "base", "active")
		}, errdefs.ErrAlreadyExists},
		"commit to its own key": {func(ctx context.Context, s *Snapshotter) error {
			return s.Commit(ctx, "active", "active")
		}, errdefs.ErrAlreadyExists},
		"commit to no name": {func(ctx context.Context, s *Snapshotter) error {
			return s.Commit(ctx, "", "active")
		}, errdefs.ErrInvalidArgument},
		"commit a missing key": {func(ctx context.Context, s *Snapshotter) error {
			return s.Commit(ctx, "new", "missing")
		}, errdefs.ErrNotFound},
		"commit a view": {func(ctx context.Context, s *Snapshotter) error {
			return s.Commit(ctx, "new", "view")
		}, errdefs.ErrFailedPrecondition},
		"commit a committed one": {func(ctx context.Context, s *Snapshotter) error {
			return s.Commit(ctx, "new", "base")
		}, errdefs.ErrFailedPrecondition},
		"commit on another parent": {func(ctx context.Context, s *Snapshotter) error {
			return s.Commit(ctx, "new", "active", withParent("other"))
		}, errdefs.ErrInvalidArgument},
		"commit on a missing parent": {func(ctx context.Context, s *Snapshotter) error {
			return s.Commit(ctx, "new", "alone", withParent("missing"))
		}, errdefs.ErrNotFound},
		"commit on an active parent": {func(ctx context.Context, s *Snapshotter) error {
			return s.Commit(ctx, "new", "alone", withParent("active"))
		}, errdefs.ErrFailedPrecondition},
		"commit a layer that needs its parents": {func(ctx context.Context, s *Snapshotter) error {
			return s.Commit(ctx, "new", "alone", withParent("base"))
		}, driver.ErrNeedsParents},
		"remove a parent": {func(ctx context.Context, s *Snapshotter) error {
			return s.Remove(ctx, "base")
		}, errdefs.ErrFailedPrecondition},
		"remove a missing one": {func(ctx context.Context, s *Snapshotter) error {
			return s.Remove(ctx, "missing")
		}, errdefs.ErrNotFound},
		"mount a committed one": {func(ctx context.Context, s *Snapshotter) error {
			_, err := s.Mounts(ctx, "base")
			return err
		}, errdefs.ErrFailedPrecondition},
		"mount a missing one": {func(ctx context.Context, s *Snapshotter) error {
			_, err := s.Mounts(ctx, "missing")
			return err
		}, errdefs.ErrNotFound},
		"stat a missing one": {func(ctx context.Context, s *Snapshotter) error {
			_, err := s.Stat(ctx, "missing")
			return err
		}, errdefs.ErrNotFound},
		"usage of a missing one": {func(ctx context.Context, s *Snapshotter) error {
			_, err := s.Usage(ctx, "missing")
			return err
		}, errdefs.ErrNotFound},
		"update a missing one": {func(ctx context.Context, s *Snapshotter) error {
			_, err := s.Update(ctx, snapshots.Info{Name: "missing"})
			return err
		}, errdefs.ErrNotFound},
		"update what cannot change": {func(ctx context.Context, s *Snapshotter) error {
			_, err := s.Update(ctx, snapshots.Info{Name: "base"}, "parent")
			return err
		}, errdefs.ErrInvalidArgument},
		"walk with a bad filter": {func(ctx context.Context, s *Snapshotter) error {
			return s.Walk(ctx, nil, "name~~~")
		}, errdefs.ErrInvalidArgument},
		"apply to a committed one": {func(ctx context.Context, s *Snapshotter) error {
			_, err := s.Apply(ctx, "base", strings.NewReader("x"), driver.ApplyOptions{})
			return err
		}, driver.ErrSealed},
		"apply to a view": {func(ctx context.Context, s *Snapshotter) error {
			_, err := s.Apply(ctx, "view", strings.NewReader("x"), driver.ApplyOptions{})
			return err
		}, errdefs.ErrFailedPrecondition},
		"apply the wrong layer": {func(ctx context.Context, s *Snapshotter) error {
			_, err := s.Apply(ctx, "active", strings.NewReader("x"), driver.ApplyOptions{DiffID: digest.FromString("y")})
			return err
		}, driver.ErrDigest},
		"explain a path that is not there": {func(ctx context.Context, s *Snapshotter) error {
			_, err := s.Provider(ctx, "active", "nothing")
			return err
		}, fs.ErrNotExist},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := openFake(t)
			commit(t, s, "base", "", "base content")
			commit(t, s, "other", "", "other content")
			active(t, s, "active", "base", "active content")
			active(t, s, "alone", "", "needs parents")
			_, err := s.View(t.Context(), "view", "base")
			require.NoError(t, err)
			before := rowsOf(t, s)

			require.ErrorIs(t, c.call(t.Context(), s), c.want)

			require.Equal(t, before, rowsOf(t, s))
			require.Equal(t, "active content", diffOf(t, s, "active"))
			requireSound(t, s)
		})
	}
}

func TestDriverErrorsCarryBothTheSentinelAndTheKind(t *testing.T) {
	for sentinel, kind := range map[error]error{
		driver.ErrNotFound:     errdefs.ErrNotFound,
		driver.ErrExists:       errdefs.ErrAlreadyExists,
		driver.ErrSealed:       errdefs.ErrFailedPrecondition,
		driver.ErrNotSealed:    errdefs.ErrFailedPrecondition,
		driver.ErrNeedsParents: errdefs.ErrFailedPrecondition,
		driver.ErrBusy:         errdefs.ErrUnavailable,
		driver.ErrUnsupported:  errdefs.ErrNotImplemented,
		driver.ErrDigest:       errdefs.ErrInvalidArgument,
		driver.ErrInvalidLayer: errdefs.ErrInvalidArgument,
		driver.ErrInvalidID:    errdefs.ErrInvalidArgument,
	} {
		err := classify(sentinel)
		require.ErrorIs(t, err, sentinel)
		require.ErrorIs(t, err, kind)
		require.Equal(t, sentinel.Error(), err.Error())
	}
	require.NoError(t, classify(nil))
	require.Equal(t, context.Canceled, classify(context.Canceled))
}

func TestCommitGivesTheActiveSnapshotItsNameAndItsUsage(t *testing.T) {
	s, _ := openFake(t)
	commit(t, s, "base", "", "base content")
	active(t, s, "key", "base", "12345")

	err := s.Commit(t.Context(), "name", "key", snapshots.WithLabels(map[string]string{"l": "1", "empty": ""}))
	require.NoError(t, err)

	_, err = s.Stat(t.Context(), "key")
	require.ErrorIs(t, err, errdefs.ErrNotFound)
	info, err := s.Stat(t.Context(), "name")
	require.NoError(t, err)
	require.Equal(t, snapshots.KindCommitted, info.Kind)
	require.Equal(t, "base", info.Parent)
	require.Equal(t, map[string]string{"l": "1"}, info.Labels)
	require.Equal(t, info.Created, info.Updated)
	usage, err := s.Usage(t.Context(), "name")
	require.NoError(t, err)
	require.Equal(t, snapshots.Usage{Size: 5, Inodes: 1}, usage)
	require.Equal(t, "12345", diffOf(t, s, "name"))
	requireSound(t, s)
}

func TestUsageOfWhatIsNotCommittedIsTheDrivers(t *testing.T) {
	s, _ := openFake(t)
	active(t, s, "key", "", "1234")
	_, err := s.View(t.Context(), "view", "")
	require.NoError(t, err)
	for key, size := range map[string]int64{"key": 4, "view": 0} {
		usage, err := s.Usage(t.Context(), key)
		require.NoError(t, err)
		require.Equal(t, snapshots.Usage{Size: size, Inodes: 1}, usage)
	}
}

func TestLabelsOfAnActiveSnapshotAreNotInherited(t *testing.T) {
	s, _ := openFake(t)
	labels := snapshots.WithLabels(map[string]string{snapshots.LabelSnapshotRef: "ref"})
	_, err := s.Prepare(t.Context(), "key", "", labels)
	require.NoError(t, err)
	require.NoError(t, s.Commit(t.Context(), "name", "key"))
	info, err := s.Stat(t.Context(), "name")
	require.NoError(t, err)
	require.Nil(t, info.Labels)
}

func TestALayerUnpackedWithoutItsParentGetsItAtCommit(t *testing.T) {
	s, disk := openFake(t)
	commit(t, s, "bottom", "", "bottom")
	commit(t, s, "base", "bottom", "base")
	active(t, s, "key", "", "top")

	require.NoError(t, s.Commit(t.Context(), "top", "key", snapshots.WithParent("base")))

	info, err := s.Stat(t.Context(), "top")
	require.NoError(t, err)
	require.Equal(t, "base", info.Parent)
	rows := rowsOf(t, s)
	require.Equal(t, []driver.ID{layerOf(rows["base"]), layerOf(rows["bottom"])}, disk.layers[layerOf(rows["top"])].parents)
	require.ErrorIs(t, s.Remove(t.Context(), "base"), errdefs.ErrFailedPrecondition)
	for path, want := range map[string]string{"bottom": "bottom", "base": "base", "top": "top"} {
		name, err := s.Provider(t.Context(), "top", path)
		require.NoError(t, err)
		require.Equal(t, want, name)
	}
	requireSound(t, s)
}

func TestAnInterruptedRebaseIsFinishedWithTheSameParentOnly(t *testing.T) {
	s, _ := openFake(t)
	commit(t, s, "base", "", "base")
	commit(t, s, "other", "", "other")
	active(t, s, "key", "", "top")
	require.NoError(t, s.update("test", func(tx *meta.Tx) error {
		_, err := setRebase(tx, "key", "base")
		return err
	}))

	require.ErrorIs(t, s.Commit(t.Context(), "top", "key"), errdefs.ErrFailedPrecondition)
	require.ErrorIs(t, s.Commit(t.Context(), "top", "key", snapshots.WithParent("other")), errdefs.ErrFailedPrecondition)
	require.ErrorIs(t, s.Remove(t.Context(), "base"), errdefs.ErrFailedPrecondition)
	require.NoError(t, s.Commit(t.Context(), "top", "key", snapshots.WithParent("base")))
	requireSound(t, s)
}

func TestAMountedSnapshotThatCannotBeRemovedStays(t *testing.T) {
	s, disk := openFake(t)
	active(t, s, "key", "", "content")
	layer := disk.layers[layerOf(rowsOf(t, s)["key"])]

	layer.busy = true
	err := s.Remove(t.Context(), "key")
	require.ErrorIs(t, err, driver.ErrBusy)
	require.ErrorIs(t, err, errdefs.ErrUnavailable)
	require.Equal(t, "content", diffOf(t, s, "key"))

	layer.busy = false
	require.NoError(t, s.Remove(t.Context(), "key"))
	require.Empty(t, namesOf(t, s))
	requireSound(t, s)
}

func TestACancelledCallLeavesNothing(t *testing.T) {
	s, _ := openFake(t)
	commit(t, s, "base", "", "base")
	active(t, s, "key", "base", "content")
	before := rowsOf(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()

	_, err := s.Prepare(ctx, "new", "base")
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, s.Commit(ctx, "new", "key"), context.Canceled)
	require.ErrorIs(t, s.Remove(ctx, "key"), context.Canceled)
	_, err = s.Apply(ctx, "key", strings.NewReader("x"), driver.ApplyOptions{})
	require.ErrorIs(t, err, context.Canceled)

	require.Equal(t, before, rowsOf(t, s))
	require.Equal(t, "content", diffOf(t, s, "key"))
	requireSound(t, s)
}

func TestACallCancelledInItsMidstIsUndoneOrFinished(t *testing.T) {
	for name, c := range map[string]struct {
		point string
		call  func(ctx context.Context, s *Snapshotter) error
		want  error
	}{
		"prepare, before its layer is made": {"announce after", func(ctx context.Context, s *Snapshotter) error {
			_, err := s.Prepare(ctx, "new", "base")
			return err
		}, context.Canceled},
		"remove, before its layer is removed": {"condemn after", func(ctx context.Context, s *Snapshotter) error {
			return s.Remove(ctx, "key")
		}, context.Canceled},
		"commit on a parent, before its rebase": {"rebase after", func(ctx context.Context, s *Snapshotter) error {
			return s.Commit(ctx, "new", "alone", snapshots.WithParent("base"))
		}, context.Canceled},
		"commit, when its layer is sealed": {"commit before", func(ctx context.Context, s *Snapshotter) error {
			return s.Commit(ctx, "new", "key")
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			armed := false
			s := openAt(t, memDir(t), Options{open: newFakeDisk().open, hook: func(point string) error {
				if armed && point == c.point {
					cancel()
				}
				return nil
			}})
			commit(t, s, "base", "", "base")
			active(t, s, "key", "base", "key")
			active(t, s, "alone", "", "alone")
			before := rowsOf(t, s)

			armed = true
			require.ErrorIs(t, c.call(ctx, s), c.want)
			require.Error(t, ctx.Err())
			if c.want != nil {
				require.Equal(t, before, rowsOf(t, s))
			}
			requireSound(t, s)
		})
	}
}

func TestWaitingForAnotherCallEndsWithTheContext(t *testing.T) {
	s, _ := openFake(t)
	active(t, s, "key", "", "content")
	unlock, err := s.keys.read(t.Context(), "key")
	require.NoError(t, err)
	require.Equal(t, "content", diffOf(t, s, "key"), "readers do not wait for readers")

	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Remove(ctx, "key") }()
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	unlock()
	require.NoError(t, s.Remove(t.Context(), "key"))
	requireSound(t, s)
}

func TestWalkShowsOneMomentAndMayChangeTheStore(t *testing.T) {
	s, _ := openFake(t)
	for _, key := range []string{"a", "b", "c"} {
		active(t, s, key, "", key)
	}
	var seen []string
	require.NoError(t, s.Walk(t.Context(), func(ctx context.Context, info snapshots.Info) error {
		seen = append(seen, info.Name)
		return s.Remove(ctx, info.Name)
	}))
	require.Equal(t, []string{"a", "b", "c"}, seen)
	require.Empty(t, namesOf(t, s))
}

func TestWalkStopsAtTheFirstError(t *testing.T) {
	s, _ := openFake(t)
	active(t, s, "a", "", "")
	active(t, s, "b", "", "")
	stop, calls := errors.New("stop"), 0
	err := s.Walk(t.Context(), func(context.Context, snapshots.Info) error { calls++; return stop })
	require.ErrorIs(t, err, stop)
	require.Equal(t, 1, calls)
}

func TestChangesCanBeLeftEarlyAndReportErrors(t *testing.T) {
	s, _ := openFake(t)
	active(t, s, "key", "", "a path")
	for change, err := range s.Changes(t.Context(), "key") {
		require.NoError(t, err)
		require.Equal(t, "a path", change.Path)
		break
	}
	require.NoError(t, s.Remove(t.Context(), "key"), "a sequence left early holds no lock")
	for _, err := range s.Changes(t.Context(), "key") {
		require.ErrorIs(t, err, errdefs.ErrNotFound)
	}
}

func TestWhatADiffLeavesOutIsLoggedUnlessSomebodyListens(t *testing.T) {
	var log bytes.Buffer
	disk := newFakeDisk()
	s := openAt(t, t.TempDir(), Options{open: disk.open, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	active(t, s, "key", "", "a socket")
	var said []string
	_, err := s.Diff(t.Context(), "key", io.Discard, driver.DiffOptions{Warn: func(path, _ string) { said = append(said, path) }})
	require.NoError(t, err)
	require.Equal(t, []string{"a socket"}, said)
	require.NotContains(t, log.String(), "socket cannot")
	_, err = s.Diff(t.Context(), "key", io.Discard, driver.DiffOptions{})
	require.NoError(t, err)
	require.Contains(t, log.String(), `msg="a socket cannot be in a layer; left out" snapshot=key path="a socket"`)
}

func TestMountsOfViewsAreReadOnly(t *testing.T) {
	s, _ := openFake(t)
	commit(t, s, "base", "", "base")
	for key, parent := range map[string]string{"of a parent": "base", "of nothing": ""} {
		mounts, err := s.View(t.Context(), key, parent)
		require.NoError(t, err)
		require.Contains(t, mounts[0].Options, "ro")
		again, err := s.Mounts(t.Context(), key)
		require.NoError(t, err)
		require.Equal(t, mounts, again)
	}
	values, err := s.MountValues(t.Context(), "base", driver.MountOptions{})
	require.NoError(t, err)
	require.True(t, values[0].ReadOnly)
}

func TestAClosedStoreRefusesEveryCall(t *testing.T) {
	s, _ := openFake(t)
	require.NoError(t, s.Close())
	_, err := s.Stat(t.Context(), "key")
	require.ErrorIs(t, err, errdefs.ErrUnavailable)
	_, err = s.Prepare(t.Context(), "key", "")
	require.ErrorIs(t, err, errdefs.ErrUnavailable)
	require.ErrorIs(t, s.Cleanup(t.Context()), errdefs.ErrUnavailable)
}
