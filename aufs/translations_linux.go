package aufs

import (
	"context"
	"errors"
	"fmt"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/layerdir"
)

// drop removes the translations and the copy of a layer. It returns
// [driver.ErrBusy] and removes nothing if the copy is mounted. The caller has
// checked that nothing else is mounted.
func (t *translator) drop(ctx context.Context, id driver.ID) error {
	if err := t.copies.NotMounted(id, layerdir.Unmounted); err != nil {
		return err
	}
	var errs []error
	for _, s := range t.stores() {
		errs = append(errs, t.remove(ctx, s, id))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.given, id)
	return nil
}

func (t *translator) remove(ctx context.Context, s *layerdir.Store, id driver.ID) error {
	unlock, err := t.locks.Lock(ctx, s.Path(id))
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := s.Load(id); errors.Is(err, driver.ErrNotFound) {
		return nil
	}
	return s.Remove(id)
}

// cleanup removes what interrupted calls left, and the translations of removed
// layers. all returns all existing layers.
func (t *translator) cleanup(ctx context.Context, all func() ([]layers, error)) error {
	var errs []error
	for _, s := range t.stores() {
		errs = append(errs, s.Cleanup(ctx))
	}
	return errors.Join(append(errs, t.prune(ctx, all, everyLayer))...)
}

// trim removes unneeded translations. A translation is needed as long as a
// layer that it was made for is mounted in this mount namespace, is a view,
// which exists only to be mounted, or had its mounts returned by this driver.
func (t *translator) trim(ctx context.Context, all func() ([]layers, error)) error {
	return t.prune(ctx, all, mountedLayers)
}

// prune removes all translations whose layer is not in the result of keep.
func (t *translator) prune(ctx context.Context, all func() ([]layers, error), keep func([]layers) (map[driver.ID]bool, error)) error {
	var needed map[driver.ID]bool
	var errs []error
	for _, s := range t.stores() {
		ids, err := s.List()
		errs = append(errs, err)
		if len(ids) > 0 && needed == nil {
			list, err := all()
			if err == nil {
				needed, err = keep(list)
			}
			if err != nil {
				return fmt.Errorf("translations in use: %w", err)
			}
		}
		for _, id := range ids {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if !needed[id] {
				errs = append(errs, t.removeUnused(ctx, s, id))
			}
		}
	}
	return errors.Join(errs...)
}

func (t *translator) removeUnused(ctx context.Context, s *layerdir.Store, id driver.ID) error {
	if t.isGiven(id) {
		return nil
	}
	use, err := s.Mounted(id) // a copy is mounted under its own path
	if err != nil || use != layerdir.Unmounted {
		return err
	}
	return t.remove(ctx, s, id)
}

func everyLayer(list []layers) (map[driver.ID]bool, error) {
	ids := map[driver.ID]bool{}
	for _, l := range list {
		ids[l.id] = true
	}
	return ids, nil
}

// mountedLayers returns the layers whose translations mounts and views need.
func mountedLayers(list []layers) (map[driver.ID]bool, error) {
	mounted, err := layerdir.Sources("overlay")
	if err != nil {
		return nil, err
	}
	needed := map[driver.ID]bool{}
	for _, l := range list {
		if !l.own || mounted[l.label] {
			for _, id := range l.ids {
				needed[id] = true
			}
		}
	}
	return needed, nil
}

// isGiven reports whether this driver returned mounts that need the layer.
func (t *translator) isGiven(id driver.ID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range t.given {
		for _, needs := range l.ids {
			if needs == id {
				return true
			}
		}
	}
	return false
}

func (t *translator) close() error {
	var errs []error
	for _, s := range t.stores() {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	return errors.Join(errs...)
}
