package check_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/layerkeep/layerkeep/check"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/driver/all/alltest"
	"github.com/layerkeep/layerkeep/image"
	. "github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/snapshotter"
)

// A crowd changes a store in every way, all the time.
type crowd struct {
	snaps  *snapshotter.Snapshotter
	images *image.Store
	parent string
	layer  []byte
	other  image.Source
	done   atomic.Int64 // number of changes so far
	runs   int
}

// work makes all kinds of changes again and again until ctx ends, in several
// goroutines.
func (c *crowd) work(ctx context.Context) func() error {
	var all errgroup.Group
	c.runs++ // a change that was interrupted leaves things behind
	for i := range 3 {
		for n, step := range []func(context.Context, string) error{c.commits, c.rebases, c.views} {
			name := fmt.Sprintf("crowd-%d-%d-%d", c.runs, n, i)
			all.Go(func() error { return c.repeat(ctx, func() error { return step(ctx, name) }) })
		}
	}
	all.Go(func() error { return c.repeat(ctx, func() error { return c.imports(ctx) }) })
	all.Go(func() error {
		return c.repeat(ctx, func() error { _, err := c.images.Collect(ctx); return err })
	})
	return all.Wait
}

func (c *crowd) repeat(ctx context.Context, step func() error) error {
	for ctx.Err() == nil {
		if err := step(); err != nil && ctx.Err() == nil {
			return err
		}
		c.done.Add(1)
	}
	return nil
}

// commits makes a snapshot, fills it for the time of two layers, commits it
// under the name that it had before, and removes it.
func (c *crowd) commits(ctx context.Context, name string) error {
	if err := c.snaps.Create(ctx, name, c.parent); err != nil {
		return err
	}
	for range 2 {
		if _, err := c.snaps.Apply(ctx, name, bytes.NewReader(c.layer), driver.ApplyOptions{}); err != nil {
			return err
		}
	}
	if err := c.snaps.Commit(ctx, name+" done", name); err != nil {
		return err
	}
	if err := c.snaps.Create(ctx, name, name+" done"); err != nil {
		return err
	}
	return errors.Join(c.snaps.Remove(ctx, name), c.snaps.Remove(ctx, name+" done"))
}

// rebases unpacks a layer without its parent, as engines do, if the driver can.
func (c *crowd) rebases(ctx context.Context, name string) error {
	if !c.snaps.Driver().Properties().Rebase {
		return c.commits(ctx, name)
	}
	if err := c.snaps.Create(ctx, name, ""); err != nil {
		return err
	}
	if _, err := c.snaps.Apply(ctx, name, bytes.NewReader(c.layer), driver.ApplyOptions{Detached: true}); err != nil {
		return err
	}
	if err := c.snaps.Commit(ctx, name+" done", name, snapshots.WithParent(c.parent)); err != nil {
		return err
	}
	return c.snaps.Remove(ctx, name+" done")
}

func (c *crowd) views(ctx context.Context, name string) error {
	if _, err := c.snaps.View(ctx, name, c.parent); err != nil {
		return err
	}
	_, err := c.snaps.Update(ctx, snapshots.Info{Name: name, Labels: map[string]string{"a": "b"}}, "labels.a")
	return errors.Join(err, c.snaps.Remove(ctx, name))
}

// imports imports an image, and removes it with all its snapshots and blobs.
func (c *crowd) imports(ctx context.Context) error {
	if _, err := c.images.Import(ctx, c.other, image.ImportOptions{Name: "crowd:1"}); err != nil {
		return err
	}
	_, err := c.images.Remove(ctx, "crowd:1")
	return err
}

func newCrowd(t *testing.T, snaps *snapshotter.Snapshotter, images *image.Store) *crowd {
	t.Helper()
	img, err := images.Image(t.Context(), "test:1")
	require.NoError(t, err)
	return &crowd{
		snaps: snaps, images: images, parent: img.Snapshot,
		layer: Layer(t, Dir("crowd"), File("crowd/a", "a"), File("crowd/b", "b"), Whiteout("base/gone")),
		other: sourceOf(t, []Entry{Dir("crowd"), File("crowd/x", "x")}, []Entry{File("crowd/y", "y")}),
	}
}

// checks checks the store n times while a crowd works.
func (c *crowd) checks(t *testing.T, n int, want []check.Finding) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	wait := c.work(ctx)
	for i := range n {
		before := c.done.Load()
		for c.done.Load() == before && ctx.Err() == nil { // wait until the crowd has changed something
			time.Sleep(time.Millisecond)
		}
		var found []check.Finding
		opts := check.Options{ReadData: i%3 != 0 || len(want) > 0, Shared: true}
		sum, err := check.Run(ctx, c.snaps, c.images, opts, func(f check.Finding) { found = append(found, f) })
		require.NoError(t, err)
		require.Equal(t, want, found, "check %d", i)
		require.Equal(t, len(want), sum.Findings)
		require.GreaterOrEqual(t, sum.Snapshots, 5, "all that nobody changes")
	}
	cancel()
	require.NoError(t, wait())
}

// Changes by other callers during a check are not damage, and real damage is
// still found.
func TestACheckBesideOtherWorkFindsDamageAlone(t *testing.T) {
	n := 60
	if testing.Short() {
		n = 4
	}
	for _, backend := range []string{"overlay2", "vfs", "btrfs"} {
		t.Run(backend, func(t *testing.T) {
			alltest.SkipInShort(t, backend)
			p := newPlace(t, backend)
			n := n
			if backend == "btrfs" {
				thaw(t, p)
				n /= 4 // its commits sync the file system
			}
			key := p.keys(t)[1]
			victim := p.file(t, key, "base/c")
			snaps, images := p.open(t)
			c := newCrowd(t, snaps, images)
			c.checks(t, n, nil)

			flip(t, victim)
			var want []check.Finding
			_, err := check.Run(t.Context(), snaps, images, check.Options{ReadData: true}, func(f check.Finding) { want = append(want, f) })
			require.NoError(t, err)
			require.Len(t, want, 1)
			require.Equal(t, key, want[0].Name)
			c.checks(t, n/2, want)
			require.NoError(t, snaps.Close())
		})
	}
}

// A check never blocks callers that want to change what it reads.
func TestWhoChangesASnapshotDoesNotWaitForTheCheck(t *testing.T) {
	p := newPlace(t, "overlay2")
	snaps, images := p.open(t)
	reading := make(chan struct{})
	opts := check.Options{ReadData: true, Shared: true, Names: []string{"loose"}, Read: func(ctx context.Context, _ int) error {
		select {
		case reading <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		<-ctx.Done() // as slow as possible
		return ctx.Err()
	}}
	type result struct {
		sum check.Summary
		err error
	}
	done := make(chan result, 1)
	go func() {
		sum, err := check.Run(t.Context(), snaps, images, opts, func(f check.Finding) { t.Errorf("found %s", f) })
		done <- result{sum, err}
	}()
	<-reading
	require.NoError(t, snaps.Remove(t.Context(), "loose"), "it waits for nobody")
	r := <-done
	require.NoError(t, r.err)
	require.Equal(t, 1, r.sum.Changed)
	require.Zero(t, r.sum.Snapshots)
	_, err := snaps.Stat(t.Context(), "loose")
	require.True(t, errdefs.IsNotFound(err))
	require.NoError(t, snaps.Close())
}

// A check that is cancelled ends with an error.
func TestACheckThatIsCancelledEnds(t *testing.T) {
	p := newPlace(t, "overlay2")
	snaps, images := p.open(t)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := check.Run(ctx, snaps, images, check.Options{ReadData: true, Shared: true, Read: func(ctx context.Context, _ int) error {
		cancel()
		return ctx.Err()
	}}, func(f check.Finding) { t.Errorf("found %s", f) })
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, snaps.Close())
}

// A layer that an engine has unpacked without its parents, and then abandoned,
// is not damage.
func TestALayerUnpackedWithoutItsParentsIsNoDamage(t *testing.T) {
	p := newPlace(t, "overlay2")
	snaps, images := p.open(t)
	require.NoError(t, snaps.Create(t.Context(), "detached", ""))
	_, err := snaps.Apply(t.Context(), "detached", bytes.NewReader(Layer(t, Dir("d"), Whiteout("d/x"))), driver.ApplyOptions{Detached: true})
	require.NoError(t, err)
	for _, shared := range []bool{false, true} {
		_, err := check.Run(t.Context(), snaps, images, check.Options{Shared: shared}, func(f check.Finding) { t.Errorf("found %s", f) })
		require.NoError(t, err)
	}
	require.NoError(t, snaps.Close())
}
