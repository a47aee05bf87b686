package graphdriver

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"

	"github.com/layerkeep/layerkeep/snapshotter"
)

// labelApplying is on a layer to which a layer tar is being applied, or was
// when the process ended. Its value says nothing.
const labelApplying = "containerd.io/snapshot/layerkeep.graph.applying"

// A layer is what the store has under an ID of Docker's.
type layer struct {
	id   string
	info snapshots.Info
}

func (l layer) committed() bool { return l.info.Kind == snapshots.KindCommitted }

// applying tells whether applying a layer to it has begun, and did not end.
func (l layer) applying() bool { return !l.committed() && l.info.Labels[labelApplying] != "" }

// parent returns the ID of the layer's parent.
func (l layer) parent() string { return l.info.Parent }

// name is the layer's name in the scope.
func (l layer) name() string { return l.info.Name }

// find returns the layer. The caller holds its lock, or is prepared for it to
// be committed, and so renamed, at any time.
func (d *Driver) find(ctx context.Context, id string) (layer, error) {
	if err := checkID(id); err != nil {
		return layer{}, err
	}
	info, err := d.scope.Stat(ctx, id+activeSuffix)
	if errdefs.IsNotFound(err) {
		info, err = d.scope.Stat(ctx, id)
	}
	if errdefs.IsNotFound(err) {
		return layer{}, fmt.Errorf("layer %s: %w", id, errdefs.ErrNotFound)
	}
	return layer{id: id, info: info}, err
}

// create makes a layer that can be written to. The one that is there already
// will do if it is as a call that was cut off would have left it.
func (d *Driver) create(ctx context.Context, req request) (response, error) {
	if err := checkID(req.ID); err != nil {
		return response{}, err
	}
	if err := checkMountLabel(req.MountLabel); err != nil {
		return response{}, err
	}
	labels, err := labelsOf(req.StorageOpt)
	if err != nil {
		return response{}, fmt.Errorf("create layer %s: %w", req.ID, err)
	}
	if req.Parent != "" {
		if err := d.commit(ctx, req.Parent); err != nil {
			return response{}, fmt.Errorf("create layer %s: parent: %w", req.ID, err)
		}
	}
	unlock, err := d.lock(ctx, req.ID)
	if err != nil {
		return response{}, err
	}
	defer unlock()
	there, err := d.find(ctx, req.ID)
	if err == nil {
		return response{}, d.asCreated(ctx, there, req.Parent, labels)
	}
	if !errdefs.IsNotFound(err) {
		return response{}, err
	}
	// Create does not ask how to mount it, which not every driver can for a layer
	// that can be written to.
	return response{}, d.store.Create(ctx, d.scope.Full(req.ID+activeSuffix), d.scope.Full(req.Parent), snapshots.WithLabels(labels))
}

// asCreated returns an error unless the layer is as create with these arguments
// would make it.
func (d *Driver) asCreated(ctx context.Context, l layer, parent string, labels map[string]string) error {
	taken := fmt.Errorf("layer %s: %w", l.id, errdefs.ErrAlreadyExists)
	if l.committed() || l.parent() != parent || len(l.info.Labels) != len(labels) || d.mounts.used(l.id) ||
		l.info.Labels[snapshotter.LabelSize] != labels[snapshotter.LabelSize] {
		return taken
	}
	for _, err := range d.store.Changes(ctx, d.scope.Full(l.name())) {
		if err != nil {
			return err
		}
		return taken
	}
	return nil
}

// commit makes a layer one that others can be made on, and never changes again.
func (d *Driver) commit(ctx context.Context, id string) error {
	unlock, err := d.lock(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	l, err := d.find(ctx, id)
	if err != nil || l.committed() {
		return err
	}
	if l.applying() {
		return errTorn(id)
	}
	if err := d.mounts.release(id); err != nil {
		return fmt.Errorf("layer %s can still be written to, so nothing can be made on it: %w", id, err)
	}
	return d.scope.Commit(ctx, id, l.name())
}

// remove removes a layer, of which nothing may be left already.
func (d *Driver) remove(ctx context.Context, req request) (response, error) {
	if err := checkID(req.ID); err != nil {
		return response{}, err
	}
	unlock, err := d.lock(ctx, req.ID)
	if err != nil {
		return response{}, err
	}
	defer unlock()
	l, err := d.find(ctx, req.ID)
	if err != nil && !errdefs.IsNotFound(err) {
		return response{}, err
	}
	missing := err != nil
	if !missing && l.committed() {
		// Before anything is unmounted: its children may be in use.
		if err := d.childless(ctx, l); err != nil {
			return response{}, err
		}
	}
	if err := d.mounts.drop(req.ID); err != nil || missing {
		return response{}, err
	}
	err = d.scope.Remove(ctx, l.name())
	if errdefs.IsNotFound(err) {
		err = nil
	}
	return response{}, err
}

// childless returns an error when something was made on the layer.
func (d *Driver) childless(ctx context.Context, l layer) error {
	return d.scope.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		return fmt.Errorf("remove layer %s: %s is made on it: %w", l.id, info.Name, errdefs.ErrFailedPrecondition)
	}, fmt.Sprintf("parent==%q", l.name()))
}

// exists tells whether there is such a layer.
func (d *Driver) exists(ctx context.Context, req request) (response, error) {
	_, err := d.find(ctx, req.ID)
	if errdefs.IsNotFound(err) {
		return response{}, nil
	}
	return response{Exists: err == nil}, err
}

func errTorn(id string) error {
	return fmt.Errorf("layer %s: an apply to it was interrupted; remove it: %w", id, errdefs.ErrFailedPrecondition)
}
