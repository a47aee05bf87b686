package graphdriver

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/mount"
)

// get mounts a layer and returns where: to be written to, unless it is
// committed.
func (d *Driver) get(ctx context.Context, req request) (response, error) {
	if err := checkMountLabel(req.MountLabel); err != nil {
		return response{}, err
	}
	unlock, err := d.lock(ctx, req.ID)
	if err != nil {
		return response{}, err
	}
	defer unlock()
	l, err := d.find(ctx, req.ID)
	if err != nil {
		return response{}, err
	}
	if l.applying() {
		return response{}, errTorn(req.ID)
	}
	dir, err := d.mounts.acquire(ctx, req.ID, func() ([]mount.Mount, error) {
		return d.store.MountValues(ctx, d.scope.Full(l.name()), driver.MountOptions{})
	})
	if err != nil {
		return response{}, fmt.Errorf("mount layer %s: %w", req.ID, err)
	}
	return response{Dir: dir}, nil
}

// put ends what get began. A layer that is not mounted, or not there, is no
// error.
func (d *Driver) put(ctx context.Context, req request) (response, error) {
	if err := checkID(req.ID); err != nil {
		return response{}, err
	}
	unlock, err := d.lock(ctx, req.ID)
	if err != nil {
		return response{}, err
	}
	defer unlock()
	if err := d.mounts.put(req.ID); err != nil {
		return response{}, fmt.Errorf("unmount layer %s: %w", req.ID, err)
	}
	return response{}, nil
}

// cleanup unmounts every layer, which an engine asks for when it stops.
func (d *Driver) cleanup(ctx context.Context, _ struct{}) (response, error) {
	var errs []error
	for _, id := range d.mounts.ids() {
		errs = append(errs, d.unmountNow(ctx, id))
	}
	return response{}, errors.Join(errs...)
}

func (d *Driver) unmountNow(ctx context.Context, id string) error {
	unlock, err := d.lock(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	if err := d.mounts.drop(id); err != nil {
		return fmt.Errorf("unmount layer %s: %w", id, err)
	}
	return nil
}

// dropStrayMounts unmounts layers that were removed while nobody could unmount
// them.
func (d *Driver) dropStrayMounts(ctx context.Context) {
	for _, id := range d.mounts.ids() {
		_, err := d.find(ctx, id)
		if errdefs.IsNotFound(err) {
			err = d.unmountNow(ctx, id)
		}
		if err != nil {
			d.log.WarnContext(ctx, "mount of a layer that is gone stays", "layer", id, "error", err)
		}
	}
}
