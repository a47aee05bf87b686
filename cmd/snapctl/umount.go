package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/layerkeep/layerkeep/mount"
)

const umountLong = `Unmount what 'snapctl mount' mounted at TARGET, and drop the view if it made one.
A writable snapshot stays, with what was changed in it, which is on the disk once
this returns.`

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
		Short:             "Unmount what mount mounted",
		Long:              jsonHelp(umountLong, umountJSON),
		Args:              exactArgs(1),
		ValidArgsFunction: a.complete(mountTargets, argAt(0)),
		RunE:              func(cmd *cobra.Command, args []string) error { return runUmount(cmd.Context(), a, args[0]) },
	}
}

func runUmount(ctx context.Context, a *app, path string) error {
	return a.withStore(ctx, func(st *store) error {
		h, err := st.Hold(ctx, holdMounts)
		if err != nil {
			return err
		}
		defer h.Release()
		r, err := st.findMount(ctx, path)
		if err == nil {
			err = st.umount(ctx, r)
		}
		if err != nil {
			return doing(err, "unmounting %q", path)
		}
		if a.global.json {
			return a.printJSON(r.json())
		}
		return nil
	})
}

// findMount finds the record of the mount at path. The path is looked up as it
// is too: after a reboot the directory may be gone, or be a link.
func (st *store) findMount(ctx context.Context, path string) (mountRecord, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return mountRecord{}, err
	}
	candidates := []string{abs}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		candidates = []string{real, abs}
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
	state, err := r.state()
	if err != nil {
		return err
	}
	if state == mountElsewhere {
		return advise(fmt.Errorf("%w: it was mounted in another mount namespace", errState), "unmount it from there, or end the processes in it")
	}
	var unsynced error
	if state == mountLive {
		if !r.ReadOnly {
			// An overlay is synced when it is unmounted, a bind mount is not.
			unsynced = syncMount(r.Target)
		}
		if err := st.unmountOurs(r); err != nil {
			return err
		}
	}
	// It is unmounted: whoever interrupts us now must not be left with the view.
	return errors.Join(unsynced, st.forgetMount(context.WithoutCancel(ctx), r))
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
		return advise(err, "end the processes that use it, and leave it yourself; 'fuser -m "+mount.Quote(r.Target)+"' lists them")
	default:
		return err
	}
}
