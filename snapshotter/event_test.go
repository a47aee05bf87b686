package snapshotter

import (
	"context"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
)

// recorder stores events.
type recorder struct {
	mu     sync.Mutex
	events []Event
}

func (r *recorder) observe(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

// take returns the events since the last take, without the fields that differ
// between runs.
func (r *recorder) take(t *testing.T) []Event {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.events {
		require.WithinDuration(t, time.Now(), r.events[i].Start, time.Minute)
		require.GreaterOrEqual(t, r.events[i].Duration, time.Duration(0))
		r.events[i].Start, r.events[i].Duration = time.Time{}, 0
	}
	events := r.events
	r.events = nil
	return events
}

func TestEveryCallIsTold(t *testing.T) {
	var r recorder
	s := openAt(t, memDir(t), Options{open: newFakeDisk().open, Observer: r.observe})
	sc, err := s.Scope("eng")
	require.NoError(t, err)
	ctx := t.Context()
	walk := func(context.Context, snapshots.Info) error { return nil }

	require.NoError(t, s.Create(ctx, "k", ""))
	_, err = s.Apply(ctx, "k", strings.NewReader("four"), driver.ApplyOptions{})
	require.NoError(t, err)
	require.NoError(t, s.Commit(ctx, "base", "k"))
	require.Equal(t, []Event{
		{Op: OpPrepare, Key: "k"}, {Op: OpApply, Key: "k", Bytes: 4, Entries: 1}, {Op: OpCommit, Key: "k", Name: "base"},
	}, r.take(t))

	_, err = sc.Prepare(ctx, "k", "")
	require.NoError(t, err)
	_, err = sc.Mounts(ctx, "k")
	require.NoError(t, err)
	require.NoError(t, sc.Commit(ctx, "c", "k"))
	_, err = sc.View(ctx, "v", "c")
	require.NoError(t, err)
	require.Equal(t, []Event{
		{Op: OpPrepare, Key: "@eng/k"},
		{Op: OpMounts, Key: "@eng/k"},
		{Op: OpCommit, Key: "@eng/k", Name: "@eng/c"},
		{Op: OpView, Key: "@eng/v", Parent: "@eng/c"},
	}, r.take(t), "once, by its whole name")

	_, err = s.Stat(ctx, "base")
	require.NoError(t, err)
	_, err = s.Update(ctx, snapshots.Info{Name: "base"})
	require.NoError(t, err)
	_, err = s.Usage(ctx, "base")
	require.NoError(t, err)
	require.NoError(t, s.Walk(ctx, walk))
	_, err = s.Diff(ctx, "base", io.Discard, driver.DiffOptions{})
	require.NoError(t, err)
	for _, err := range s.Changes(ctx, "base") {
		require.NoError(t, err)
	}
	require.NoError(t, s.Remove(ctx, "base"))
	require.NoError(t, s.Cleanup(ctx))
	_, err = s.MountValues(ctx, "@eng/v", driver.MountOptions{})
	require.NoError(t, err)
	require.Equal(t, []Event{
		{Op: OpStat, Key: "base"},
		{Op: OpUpdate, Key: "base"},
		{Op: OpUsage, Key: "base"},
		{Op: OpWalk},
		{Op: OpDiff, Key: "base", Bytes: 2048, Entries: 1}, // the tar of a file of 4 bytes
		{Op: OpChanges, Key: "base"},
		{Op: OpRemove, Key: "base"},
		{Op: OpCleanup},
		{Op: OpMounts, Key: "@eng/v"},
	}, r.take(t))

	require.Error(t, s.Remove(ctx, "none"))
	events := r.take(t)
	require.Len(t, events, 1)
	require.ErrorIs(t, events[0].Err, errdefs.ErrNotFound)
}
