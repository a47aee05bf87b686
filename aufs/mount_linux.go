package aufs

import (
	"context"
	"errors"
	"fmt"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/layerdir"
	"github.com/layerkeep/layerkeep/mount"
)

// A mounter knows how to mount layers on this kernel: with aufs, or without
// aufs as a translation.
type mounter struct {
	kernel     kernel
	translator *translator
}

// newMounter probes what this kernel can mount. It stores translations in dir,
// which has to exist.
func newMounter(ctx context.Context, dir string, opts driver.Options) (*mounter, error) {
	t, err := newTranslator(dir, opts)
	if err != nil {
		return nil, err
	}
	m := &mounter{translator: t}
	if m.kernel, err = findKernel(ctx, t.copies, opts); err != nil {
		if !opts.ReadOnly && !layerdir.Excused(opts, err) {
			return nil, errors.Join(err, t.close())
		}
		m.kernel.lacks = fmt.Errorf("%w: whether aufs can be mounted could not be tried: %w", driver.ErrUnsupported, err)
	}
	return m, nil
}

// findKernel probes what this kernel can mount. It probes in a directory of the
// store, or in memory if the store is read-only.
func findKernel(ctx context.Context, s *layerdir.Store, opts driver.Options) (k kernel, err error) {
	if opts.ReadOnly {
		if k.lacks = listed(procFilesystems); k.lacks != nil {
			return k, unlessLacking(k.lacks)
		}
		err = layerdir.InMemory(s.Root(), opts, func(mr mount.Mounter, dir string) error {
			k, err = probeKernel(ctx, procFilesystems, dir, mr)
			return err
		})
		return k, err
	}
	probe, done, err := s.Staging("probe")
	if err != nil {
		return k, err
	}
	defer done()
	return probeKernel(ctx, procFilesystems, probe, mount.Mounter{First: opts.Fallbacks.MountWay})
}

// writable reports whether writable layers can be mounted, that is, whether
// aufs works.
func (m *mounter) writable() bool { return m.kernel.lacks == nil }

// mount returns how to mount the merged tree of l.
func (m *mounter) mount(ctx context.Context, l layers, opts driver.MountOptions) ([]mount.Mount, error) {
	switch {
	case m.writable():
		return m.union(l, !opts.ReadOnly && !l.sealed)
	case !l.sealed:
		return nil, fmt.Errorf("%w; without it only sealed layers and views can be mounted, for reading: "+
			"commit the layer, or keep it in a store of another driver", m.kernel.lacks)
	}
	return m.translator.mount(ctx, l)
}

// union returns the mount calls for an aufs of all branches.
func (m *mounter) union(l layers, writable bool) ([]mount.Mount, error) {
	u := union{source: l.label, branches: l.branches, writable: writable, options: m.kernel.options}
	var err error
	if u.xino, err = chooseXINO(m.kernel.xino, u.source, u.branches); err != nil {
		return nil, err
	}
	return u.mounts()
}

// drop removes the translations of a layer that is going to be removed. It
// returns nil if there are none, and [driver.ErrBusy] if one is mounted.
func (m *mounter) drop(ctx context.Context, id driver.ID) error {
	return m.translator.drop(ctx, id)
}

// cleanup removes the translations of removed layers, and what interrupted
// calls left. all returns all existing layers.
func (m *mounter) cleanup(ctx context.Context, all func() ([]layers, error)) error {
	return m.translator.cleanup(ctx, all)
}

// trim removes the translations that no mount and no view needs. all returns
// all existing layers.
func (m *mounter) trim(ctx context.Context, all func() ([]layers, error)) error {
	return m.translator.trim(ctx, all)
}

// close waits for background work.
func (m *mounter) close() error { return m.translator.close() }
