package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/mount"
)

// A store that is read-only holds no record of a mount that is made from it,
// and no view. So the layer itself is mounted, and the mount is found again by
// what is mounted.

// mountReadOnly mounts without changing the store.
func (a *app) mountReadOnly(ctx context.Context, st *store, opts mountOptions) error {
	r, err := st.mountUnrecorded(ctx, opts)
	if err != nil {
		return doing(err, "mounting %q at %q", opts.name, opts.target)
	}
	a.log.Info("the mount is not recorded, since the store is read-only", "target", r.Target)
	if a.global.json {
		return a.printJSON(r.json())
	}
	return nil
}

func (st *store) mountUnrecorded(ctx context.Context, opts mountOptions) (r mountRecord, err error) {
	r = mountRecord{Target: opts.target, Name: opts.name, ReadOnly: true, Created: time.Now()}
	switch {
	case opts.rw != "":
		return r, errReadOnly("make snapshot %q", opts.rw)
	case opts.volatile:
		return r, errReadOnly("mount without syncs")
	case opts.ids.given():
		return r, errReadOnly("make a view with a map of owners")
	}
	if err := st.refuseTaken(ctx, opts.target); err != nil {
		return r, err
	}
	if r.Key, err = st.mountable(ctx, opts.name); err != nil {
		return r, err
	}
	mounts, err := st.Mounts(ctx, r.Key, driver.MountOptions{ReadOnly: true})
	if err != nil {
		return r, err
	}
	return r, explainMount(mount.All(ctx, mounts, r.Target), r.Target)
}

// mountable returns the snapshot that name means. One that is mounted writable
// is refused: what a mount shows must not change below it.
func (st *store) mountable(ctx context.Context, name string) (string, error) {
	p, err := st.parent(ctx, name)
	if err == nil {
		return p.key, nil
	}
	info, statErr := st.Stat(ctx, name)
	if ctxErr := ctx.Err(); ctxErr != nil {
		return "", ctxErr
	}
	if statErr != nil || info.Kind == snapshots.KindCommitted {
		return "", err
	}
	if info.Kind == snapshots.KindActive {
		return name, st.refuseMounted(ctx, name)
	}
	return name, nil
}

// findUnrecorded finds the mount at one of the paths by what is mounted there:
// a snapshot of this store, read-only. ok is false when it is something else.
func (st *store) findUnrecorded(ctx context.Context, paths []string) (r mountRecord, ok bool, err error) {
	for _, path := range paths {
		there, err := readOnlyMountAt(path)
		if err != nil {
			return r, false, err
		}
		if there == nil {
			continue
		}
		infos, err := st.list(ctx)
		if err != nil {
			return r, false, err
		}
		for _, info := range slices.Backward(infos) {
			values, err := st.Mounts(ctx, info.Name, driver.MountOptions{ReadOnly: true})
			if err != nil {
				// Such as one that cannot be mounted, and so is not what is mounted.
				continue
			}
			if there.shows(values) {
				return mountRecord{Target: path, Name: info.Name, Key: info.Name, ReadOnly: true}, true, ctx.Err()
			}
		}
		return r, false, ctx.Err()
	}
	return r, false, nil
}

// A tableEntry is what the mount table says of one mount.
type tableEntry struct{ target, source, fsType string }

// shows reports whether the mount is what these values give.
func (e *tableEntry) shows(values []mount.Mount) bool {
	if len(values) == 0 {
		return false
	}
	v := values[0] // further ones are remounts of it
	if v.Type != "bind" {
		return v.Type == e.fsType && v.Source == e.source
	}
	ours, err := os.Stat(v.Source)
	if err != nil {
		return false
	}
	mounted, err := os.Stat(e.target)
	return err == nil && os.SameFile(ours, mounted)
}

// umountReadOnly unmounts what is mounted at path without changing the store.
// The record of a mount that has one stays until the next command that may
// forget it.
func (st *store) umountReadOnly(ctx context.Context, path string) (mountRecord, error) {
	r, err := st.findMount(ctx, path)
	if err == nil {
		unsynced, err := st.unmountRecorded(r)
		return r, errors.Join(unsynced, err)
	}
	paths, pathErr := lookupPaths(path)
	if pathErr != nil {
		return r, pathErr
	}
	found, ok, findErr := st.findUnrecorded(ctx, paths)
	switch {
	case findErr != nil:
		return found, findErr
	case !ok:
		return r, err
	}
	return found, st.unmountOurs(found)
}

// lookupPaths are the paths under which a mount at path may be known: after a
// reboot the directory may be gone, or be a link.
func lookupPaths(path string) ([]string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("make %q absolute: %w", path, err)
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil && real != abs {
		return []string{real, abs}, nil
	}
	return []string{abs}, nil
}
