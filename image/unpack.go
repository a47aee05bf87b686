package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/layerkeep/layerkeep/driver"
)

// An unpacker makes the snapshots of one image.
//
// If the driver can rebase, several layers are read and unpacked in parallel.
// Each is unpacked into an active snapshot without a parent. They are committed
// in order, each over its parent, so the result is the same as that of
// unpacking one layer after another. A layer that has a meaning only together
// with its parents is unpacked again over them, when its turn comes.
type unpacker struct {
	s     *Store
	img   *loaded
	opts  ImportOptions
	token string
	steps []step
	// rotten has the layers whose stored blobs are damaged.
	rotten sync.Map
}

// activePrefix is the prefix of the keys of snapshots that an import unpacks
// into.
const activePrefix = "import-"

// A step makes one committed snapshot.
type step struct {
	layer       int // index into Image.Layers, -1 for the empty layer
	key, parent string
	diffID      digest.Digest
	active      string // key of the active snapshot while the layer is unpacked
	// again: the layer could not be unpacked without its parents.
	again bool
	ready chan struct{}
}

func newUnpacker(s *Store, img *loaded, opts ImportOptions) *unpacker {
	u := &unpacker{s: s, img: img, opts: opts, token: s.running.add()}
	parent := ""
	for i, l := range img.Layers {
		u.steps = append(u.steps, step{layer: i, key: l.ChainID.String(), parent: parent, diffID: l.DiffID})
		parent = l.ChainID.String()
	}
	if len(u.steps) == 0 {
		u.steps = append(u.steps, step{layer: -1, key: emptyDiffID.String(), diffID: emptyDiffID})
	}
	for i := range u.steps {
		u.steps[i].active = fmt.Sprintf("%s%s-%d", activePrefix, u.token, i)
		u.steps[i].ready = make(chan struct{})
	}
	return u
}

func (u *unpacker) close() { u.s.running.drop(u.token) }

// run makes the missing snapshots. On an error it removes the snapshots that
// are not committed yet. The hold of the caller removes those that are
// committed.
func (u *unpacker) run(ctx context.Context) error {
	list := make([]ProgressLayer, len(u.img.Layers))
	for i, l := range u.img.Layers {
		list[i] = ProgressLayer{l.Blob.Digest, l.Blob.Size}
	}
	u.opts.Progress.Begin(list)
	have, err := u.present(ctx)
	if err != nil {
		return err
	}
	for i := range u.steps[:have] { // base first, because reading a layer needs the layers below it
		if err := u.keep(ctx, &u.steps[i]); err != nil {
			return u.failed(&u.steps[i], err)
		}
	}
	todo := u.steps[have:]
	if width := u.width(len(todo)); width > 1 {
		return u.parallel(ctx, todo, width)
	}
	for i := range todo {
		st := &todo[i]
		if err := u.stage(ctx, st, st.parent); err != nil {
			return u.failed(st, err)
		}
		if err := u.commit(ctx, st); err != nil {
			return u.failed(st, err)
		}
	}
	return nil
}

func (u *unpacker) width(todo int) int {
	if !u.s.snaps.Driver().Properties().Rebase {
		return 1
	}
	if u.opts.Parallel > 0 {
		return min(u.opts.Parallel, todo)
	}
	return min(runtime.GOMAXPROCS(0), todo)
}

// present returns the number of steps whose snapshots exist. A snapshot exists
// only if all its parents do, so the last existing one decides.
func (u *unpacker) present(ctx context.Context) (int, error) {
	for n := len(u.steps); n > 0; n-- {
		ok, err := u.s.committed(ctx, u.steps[n-1].key)
		if ok && err == nil {
			ok, err = u.s.lasting(ctx, u.steps[n-1].key)
		}
		if ok || err != nil {
			return n, err
		}
	}
	return 0, nil
}

// parallel stages up to width steps at a time, the lowest first, and commits
// them in order.
func (u *unpacker) parallel(ctx context.Context, todo []step, width int) error {
	defer func() { u.discard(context.WithoutCancel(ctx), todo) }()
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error {
		stages, ctx := errgroup.WithContext(ctx)
		stages.SetLimit(width)
		for i := range todo {
			st, parent := &todo[i], ""
			if i == 0 {
				parent = st.parent // its parent exists, so no rebase is needed
			}
			stages.Go(func() error {
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := u.stage(ctx, st, parent); err != nil {
					return u.failed(st, err)
				}
				close(st.ready)
				return nil
			})
		}
		return stages.Wait()
	})
	all.Go(func() error {
		for i := range todo {
			select {
			case <-todo[i].ready:
			case <-ctx.Done():
				return ctx.Err()
			}
			if err := u.commit(ctx, &todo[i]); err != nil {
				return u.failed(&todo[i], err)
			}
		}
		return nil
	})
	return all.Wait()
}

// discard removes the snapshots that were staged and not committed.
func (u *unpacker) discard(ctx context.Context, todo []step) {
	for i := range todo {
		_ = u.remove(ctx, todo[i].active) // if this fails, a later Open or Collect removes it
	}
}

// stage unpacks a layer into its active snapshot. The snapshot has the parent
// that is given. If that is not the final parent of the step, the layer is
// unpacked detached.
func (u *unpacker) stage(ctx context.Context, st *step, parent string) (err error) {
	u.state(st, LayerStarted)
	err = u.s.snaps.Create(ctx, st.active, parent, snapshots.WithLabels(map[string]string{LabelImporting: u.token}))
	if err != nil {
		return err
	}
	detached := parent != st.parent
	err = u.apply(ctx, st, detached)
	if detached && errors.Is(err, driver.ErrNeedsParents) {
		st.again = true
		err = nil
	}
	if err != nil || st.again {
		err = errors.Join(err, u.remove(context.WithoutCancel(ctx), st.active))
	}
	return err
}

func (u *unpacker) apply(ctx context.Context, st *step, detached bool) error {
	opts := u.applyOptions(st)
	opts.Detached = detached
	return u.reading(ctx, st, func(r io.Reader) error {
		_, err := u.s.snaps.Apply(ctx, st.active, r, opts)
		return err
	})
}

func (u *unpacker) applyOptions(st *step) driver.ApplyOptions {
	opts := driver.ApplyOptions{DiffID: st.diffID, Limits: u.opts.Limits, Fresh: true}
	if u.opts.Warn != nil {
		opts.Warn = func(path, message string) { u.opts.Warn(st.layer, path, message) }
	}
	return opts
}

// commit gives a staged step its parents and its name.
func (u *unpacker) commit(ctx context.Context, st *step) error {
	if st.again {
		if err := u.restage(ctx, st); err != nil {
			return err
		}
	}
	err := u.publish(ctx, st)
	if errors.Is(err, driver.ErrNeedsParents) {
		if err = u.remove(ctx, st.active); err == nil {
			err = u.restage(ctx, st)
		}
		if err == nil {
			err = u.publish(ctx, st)
		}
	}
	switch {
	case errdefs.IsAlreadyExists(err): // the import of another image was faster
		if err := u.remove(context.WithoutCancel(ctx), st.active); err != nil {
			return err
		}
		u.state(st, LayerExists)
		return nil
	case err != nil:
		return errors.Join(err, u.remove(context.WithoutCancel(ctx), st.active))
	}
	u.s.pins.made(snapPin(st.key))
	u.state(st, LayerDone)
	return nil
}

func (u *unpacker) restage(ctx context.Context, st *step) error {
	u.state(st, LayerRetry)
	st.again = false
	return u.stage(ctx, st, st.parent)
}

func (u *unpacker) publish(ctx context.Context, st *step) error {
	labels := map[string]string{LabelLayer: st.key, LabelDiffID: st.diffID.String()}
	if st.layer >= 0 {
		labels[LabelBlob] = u.img.Layers[st.layer].Blob.Digest.String()
	}
	opts := []snapshots.Opt{snapshots.WithLabels(labels)}
	info, err := u.s.snaps.Stat(ctx, st.active)
	if err != nil {
		return err
	}
	if info.Parent != st.parent {
		opts = append(opts, snapshots.WithParent(st.parent))
	}
	return u.s.snaps.CommitApplied(ctx, st.key, st.active, opts...)
}

func (u *unpacker) remove(ctx context.Context, key string) error {
	if err := u.s.snaps.Remove(ctx, key); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("removing what was unpacked: %w", err)
	}
	return nil
}

func (u *unpacker) state(st *step, state LayerState) {
	if st.layer >= 0 {
		u.opts.Progress.Layer(st.layer, state)
	}
}

func (u *unpacker) failed(st *step, err error) error {
	if st.layer < 0 {
		return err
	}
	return fmt.Errorf("layer %d of %d: %w", st.layer+1, len(u.img.Layers), err)
}
