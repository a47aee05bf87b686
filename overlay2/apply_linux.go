package overlay2

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/durable"
	"github.com/layerkeep/layerkeep/internal/layerdir"
	"github.com/layerkeep/layerkeep/internal/layerlife"
	"github.com/layerkeep/layerkeep/internal/rmtree"
	"github.com/layerkeep/layerkeep/internal/rootfd"
	"github.com/layerkeep/layerkeep/tar"
)

// Target returns the layer's own directory as the target. A detached layer tar
// is stored beside that directory.
func (d *backend) Target(_ context.Context, l layerlife.Layer, opts driver.ApplyOptions) (*layerlife.Target, error) {
	switch {
	case l.Detached:
		return nil, errDetached
	case l.IDMap != nil:
		return nil, errMapped
	}
	empty, err := isEmpty(d.store.Path(l.ID, fsDir))
	if err != nil {
		return nil, err
	}
	if opts.Detached && (!empty || len(l.Parents) > 0) {
		return nil, fmt.Errorf("%w: only an empty layer without parents can be unpacked detached", driver.ErrUnsupported)
	}
	staging, done, err := d.store.OpenStaging(l.ID)
	if err != nil {
		return nil, err
	}
	to := &layerlife.Target{Staging: staging, Options: layerdir.UnpackOptions(d.opts, opts, l.ID, d.marks.Encoding, d.userNS), Close: done}
	to.Options.NoEscape = !d.features.Escapes
	if opts.Detached {
		to.Keep = func(delta *tar.Delta) error { return d.keep(l.ID, l.Meta, delta, staging.Name()) }
		return to, nil
	}
	to.Unpacked = func(delta *tar.Delta) error { return d.recordEscaped(l.ID, l.Meta, delta.Escaped()) }
	to.Merge = func(ctx context.Context, delta *tar.Delta) error { return d.merge(ctx, l.ID, l.Parents, delta) }
	if empty && len(l.Parents) == 0 {
		return to, nil
	}
	shown := l.Meta
	shown.View = empty // then the parents show everything
	view, err := d.openLayers(l.ID, shown)
	if err != nil {
		done()
		return nil, err
	}
	to.Options.Parents = view
	to.Close = func() { view.Close(); done() }
	return to, nil
}

func isEmpty(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	_, err = f.Readdirnames(1)
	if errors.Is(err, io.EOF) {
		return true, nil
	}
	return false, err
}

// merge moves a delta into the layer's own directory, over the parents.
func (d *backend) merge(ctx context.Context, id driver.ID, parents []driver.ID, delta *tar.Delta) error {
	root, err := os.Open(d.store.Path(id, fsDir))
	if err != nil {
		return err
	}
	defer root.Close()
	target := tar.Target{Root: root, Encoding: d.marks.Encoding, NoFchmodat2: d.opts.Fallbacks.NoFchmodat2}
	if len(parents) > 0 {
		below, err := d.openLayers("", layerdir.Meta{View: true, Parents: parents})
		if err != nil {
			return err
		}
		defer below.Close()
		target.Below = below
	}
	return delta.Merge(ctx, target)
}

// keep stores the delta of a detached layer in the layer's directory.
func (d *backend) keep(id driver.ID, m layerdir.Meta, delta *tar.Delta, staging string) (err error) {
	to := d.store.Path(id, deltaDir)
	if err := rmtree.Remove(to); err != nil { // left by an interrupted call
		return err
	}
	err = durable.Write(durable.OS(), d.store.Path(id, deltaFile), 0o600, delta.Save)
	if err == nil {
		err = os.Rename(staging, to)
	}
	if err != nil {
		return errors.Join(err, d.dropDelta(id))
	}
	before := m
	m.Detached, m.Escaped = true, m.Escaped || delta.Escaped()
	if err := d.store.Save(id, m); err != nil {
		// The new record may be in place despite the error. It needs the delta, so the
		// delta is removed only after the old record is back.
		if back := d.store.Save(id, before); back != nil {
			return errors.Join(err, back)
		}
		return errors.Join(err, d.dropDelta(id))
	}
	return nil
}

// Rebase merges the delta of a detached layer into the layer, over its parents.
func (d *backend) Rebase(ctx context.Context, id driver.ID, parents []driver.ID) error {
	if err := d.rebase(ctx, id, parents); err != nil {
		return fmt.Errorf("overlay2: rebase layer %s: %w", id, layerdir.TarError(err))
	}
	return nil
}

func (d *backend) rebase(ctx context.Context, id driver.ID, parents []driver.ID) error {
	if err := d.store.Changeable(); err != nil {
		return err
	}
	m, err := d.store.Load(id)
	if err != nil {
		return err
	}
	if !m.Detached && len(parents) > 0 && slices.Equal(m.Parents, parents) {
		return d.dropDelta(id) // an earlier call did this, and its caller may not know
	}
	m, err = d.store.Writable(id)
	switch {
	case err != nil:
		return err
	case m.IDMap != nil:
		return errMapped
	case !m.Detached:
		return d.rebaseFilled(ctx, id, m, parents)
	case m.Merging:
		return fmt.Errorf("%w: an earlier attempt ended in the middle", driver.ErrNeedsParents)
	}
	inherited, err := d.store.CheckParents(parents)
	if err != nil {
		return err
	}
	delta, staging, err := d.loadDelta(id)
	if err != nil {
		return err
	}
	defer staging.Close()
	if err := d.mergeDetached(ctx, id, m, parents, delta); err != nil {
		return err
	}
	m.Detached, m.Parents = false, parents
	m.Inherit(inherited)
	if err := d.store.Save(id, m); err != nil {
		return err
	}
	// The record decides. Files left beside it are removed with the layer at the
	// latest.
	if err := d.dropDelta(id); err != nil && d.opts.Logger != nil {
		d.opts.Logger.WarnContext(ctx, "remove what a rebase has used up", "layer", id, "error", err)
	}
	return nil
}

// mergeDetached merges the delta of a detached layer. The layer's record has
// the Merging mark meanwhile. After success, the caller removes the mark when
// it saves the record.
func (d *backend) mergeDetached(ctx context.Context, id driver.ID, m layerdir.Meta, parents []driver.ID, delta *tar.Delta) error {
	m.Merging = true
	if err := d.store.Save(id, m); err != nil {
		m.Merging = false // the new record may be in place despite the error
		return errors.Join(err, d.store.Save(id, m))
	}
	own := d.store.Path(id, fsDir)
	err := d.setRoot(own, parents)
	spent := false
	if err == nil {
		err = d.merge(ctx, id, parents, delta)
		// If the parents do not fit, Merge says so before it moves anything.
		spent = err != nil && !errors.Is(err, tar.ErrNeedsParents)
	}
	if err == nil {
		return nil
	}
	err = errors.Join(err, layerdir.EmptyRoot(own))
	if spent {
		return err // the delta is no longer complete, so the mark stays
	}
	m.Merging = false
	return errors.Join(err, d.store.Save(id, m))
}

// dropDelta removes the stored delta of a detached layer.
func (d *backend) dropDelta(id driver.ID) error {
	return errors.Join(rmtree.Remove(d.store.Path(id, deltaDir)), rmtree.Remove(d.store.Path(id, deltaFile)))
}

func (d *backend) loadDelta(id driver.ID) (*tar.Delta, *os.File, error) {
	staging, err := os.Open(d.store.Path(id, deltaDir))
	if err != nil {
		return nil, nil, err
	}
	saved, err := os.Open(d.store.Path(id, deltaFile))
	if err != nil {
		return nil, nil, errors.Join(err, staging.Close())
	}
	defer saved.Close()
	delta, err := tar.LoadDelta(saved, staging)
	if err != nil {
		return nil, nil, errors.Join(err, staging.Close())
	}
	return delta, staging, nil
}

// read returns how trees are read.
func (d *backend) read() rootfd.Options {
	return layerdir.ReadOptions(d.opts.Fallbacks)
}
