package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/layerkeep/layerkeep/mount"
)

const umountLong = `Unmount what 'snapctl mount' mounted at TARGET. If that command made a view, remove the
view too. A writable snapshot stays. Its changes are on the disk when the command
returns, unless it was mounted with --volatile (see 'snapctl help mount').

A read-only store may have no record of the mount. The command then unmounts a snapshot
of the store that is mounted read-only at TARGET. If there is a record, it stays until
the store is writable.`

const umountJSON = `{
  "target": "/mnt",
  "name": "debian:12",
  "key": "work",
  "view": false,
  "readOnly": false
}`

func newUmountCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "umount TARGET",
		Aliases:           []string{"unmount"},
		Short:             "Unmount what 'snapctl mount' mounted",
		Long:              jsonHelp(umountLong, umountJSON),
		Args:              exactArgs(1),
		ValidArgsFunction: a.complete(mountTargets, argAt(0)),
		RunE:              func(cmd *cobra.Command, args []string) error { return runUmount(cmd.Context(), a, args[0]) },
	}
}

func runUmount(ctx context.Context, a *app, path string) error {
	return a.withStore(ctx, func(st *store) error {
		h, err := st.reserve(ctx, reservedMounts)
		if err != nil {
			return err
		}
		defer h.Release()
		r, err := st.umountAt(ctx, path)
		if err != nil {
			return doing(err, "unmounting %q", path)
		}
		if a.global.json {
			return a.printJSON(r.json())
		}
		return nil
	})
}

func (st *store) umountAt(ctx context.Context, path string) (mountRecord, error) {
	if st.isReadOnly() {
		return st.umountReadOnly(ctx, path)
	}
	r, err := st.findMount(ctx, path)
	if err != nil {
		return r, err
	}
	return r, st.umount(ctx, r)
}

// findMount finds the record of the mount at path.
func (st *store) findMount(ctx context.Context, path string) (mountRecord, error) {
	candidates, err := lookupPaths(path)
	if err != nil {
		return mountRecord{}, err
	}
	records, err := st.mountRecords(ctx)
	if err != nil {
		return mountRecord{}, err
	}
	for _, c := range candidates {
		for _, r := range records {
			if r.Target == c {
				return r, nil
			}
		}
	}
	return mountRecord{}, advise(
		fmt.Errorf("%w: this store has nothing mounted there", errMissing),
		"'snapctl ls' lists the mounts; umount(8) unmounts what snapctl did not mount",
	)
}

func (st *store) umount(ctx context.Context, r mountRecord) error {
	unsynced, err := st.unmountRecorded(r)
	if err != nil {
		return errors.Join(unsynced, err)
	}
	// It is unmounted: whoever interrupts us now must not be left with the view.
	return errors.Join(unsynced, st.forgetMount(context.WithoutCancel(ctx), r))
}

// unmountRecorded unmounts what a record tells of, if it is still mounted. What
// was written may not be on the disk after unsynced, which keeps nothing from
// being unmounted.
func (st *store) unmountRecorded(r mountRecord) (unsynced, err error) {
	state, err := r.state()
	if err != nil {
		return nil, err
	}
	if state == mountElsewhere {
		return nil, advise(fmt.Errorf("%w: it is mounted in another mount namespace", errState), "unmount it there, or end the processes in that namespace")
	}
	if state == mountLive {
		if !r.ReadOnly {
			// An overlay is synced when it is unmounted, a bind mount is not.
			unsynced = syncMount(r.Target)
		}
		err = st.unmountOurs(r)
	}
	return unsynced, err
}

// unmountOurs unmounts our mount, which must be the uppermost one there.
func (st *store) unmountOurs(r mountRecord) error {
	id, err := mountID(r.Target)
	if err != nil {
		return err
	}
	if r.Where.ID != 0 && id != r.Where.ID {
		return advise(fmt.Errorf("%w: something else is mounted over it", mount.ErrBusy), "unmount that first, with umount(8)")
	}
	err = mount.Unmount(r.Target)
	switch {
	case errors.Is(err, mount.ErrNotMounted):
		return nil
	case errors.Is(err, mount.ErrBusy):
		return advise(err, "end the processes that use it, and change to another directory yourself; 'fuser -m "+mount.Quote(r.Target)+"' lists them")
	default:
		return err
	}
}
