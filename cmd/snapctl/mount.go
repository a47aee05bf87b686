package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/mount"
)

type mountOptions struct {
	name, target, rw string
	volatile         bool
	size             sizeFlag
	ids              idMapFlags
}

const mountLong = `Mount the root file system of NAME, an image or a snapshot, at the directory TARGET.
TARGET must be a directory that is not a mount point and not part of the store.

An active snapshot is mounted writable, a view read-only. An image or a committed
snapshot is mounted read-only, through a view that the command makes for it;
'snapctl umount' removes this view.

With --rw the command makes a new writable snapshot KEY on NAME, and mounts KEY. KEY
stays when it is unmounted. --size limits what KEY takes on the disk, as in 'snapctl
prepare'. --uidmap and --gidmap map the owners of files in the mount of KEY or of the
view, as in 'snapctl prepare'.

With --volatile, writing is much faster and fsync(2) does nothing. What is written is on
the disk when the snapshot is committed, or mounted again without --volatile, and not
before. If the machine stops or restarts before that, the snapshot can only be removed.
Use it for builds, and for other work that can be repeated. Backends without this
feature make a normal mount; 'snapctl version' says which backends have it.

In a read-only store everything is mounted read-only, and --rw, --volatile, --uidmap and
--gidmap are refused. The mount is not recorded: 'snapctl ls' does not list it. 'snapctl umount'
still finds it by what is mounted at TARGET, and umount(8) works too.`

const mountJSON = `{
  "target": "/mnt",
  "name": "debian:12",
  "key": "work",
  "view": false,
  "readOnly": false
}`

// mountJSONResult is one of our mounts in JSON.
type mountJSONResult struct {
	Target   string `json:"target"`
	Name     string `json:"name"`
	Key      string `json:"key"`
	View     bool   `json:"view"`
	ReadOnly bool   `json:"readOnly"`
}

func (r mountRecord) json() mountJSONResult {
	return mountJSONResult{Target: r.Target, Name: r.Name, Key: r.Key, View: r.View, ReadOnly: r.ReadOnly}
}

func newMountCommand(a *app) *cobra.Command {
	var opts mountOptions
	cmd := &cobra.Command{
		Use:   "mount [--rw KEY [--size SIZE]] [--volatile] [--uidmap MAP --gidmap MAP] NAME TARGET",
		Short: "Mount an image or a snapshot",
		Long:  jsonHelp(mountLong, mountJSON),
		Args:  exactArgs(2),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return nil, cobra.ShellCompDirectiveFilterDirs
			}
			return a.complete(either(imageNames, allKeys()), argAt(0))(cmd, args, prefix)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.name, opts.target = args[0], args[1]
			if cmd.Flags().Changed("rw") && opts.rw == "" {
				return usagef("mount: --rw needs a key for the new snapshot")
			}
			if opts.size != 0 && opts.rw == "" {
				return advise(usagef("mount: --size needs --rw"), "only a new writable snapshot has a size limit")
			}
			if err := opts.ids.check("mount"); err != nil {
				return err
			}
			return runMount(cmd.Context(), a, opts)
		},
	}
	cmd.Flags().StringVar(&opts.rw, "rw", "", "make a new writable snapshot `KEY` on NAME and mount it")
	completeFlag(cmd, "rw", cobra.NoFileCompletions)
	cmd.Flags().BoolVar(&opts.volatile, "volatile", false, "write faster: nothing is safe on the disk before a commit, or a mount without --volatile")
	addSizeFlag(cmd, &opts.size)
	addIDMapFlags(cmd, &opts.ids)
	return cmd
}

func runMount(ctx context.Context, a *app, opts mountOptions) error {
	return a.withStore(ctx, func(st *store) error {
		target, err := mountTarget(opts.target, st.Root())
		if err != nil {
			return doing(err, "mounting %q at %q", opts.name, opts.target)
		}
		h, err := st.reserve(ctx, reservedMounts, reservedSnapshot(opts.name), reservedSnapshot(opts.rw))
		if err != nil {
			return doing(err, "mounting %q at %q", opts.name, opts.target)
		}
		defer h.Release()
		if st.isReadOnly() {
			opts.target = target
			return a.mountReadOnly(ctx, st, opts)
		}
		if err := st.forgetGone(ctx, a); err != nil {
			return err
		}
		if err := st.checkQuota(ctx, a, opts.size); err != nil {
			return doing(err, "mounting %q at %q", opts.name, opts.target)
		}
		if err := st.checkIDMap(opts.ids); err != nil {
			return doing(err, "mounting %q at %q", opts.name, opts.target)
		}
		opts.target = target
		r, err := st.mount(ctx, opts)
		if err != nil {
			return doing(err, "mounting %q at %q", opts.name, opts.target)
		}
		if a.global.json {
			return a.printJSON(r.json())
		}
		return nil
	})
}

// mountTarget resolves the target and refuses those that would hide the store
// or be hidden in it.
func mountTarget(path, root string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	target, err := filepath.EvalSymlinks(abs)
	if err != nil {
		return "", advise(err, "make the directory first")
	}
	info, err := os.Stat(target)
	if err != nil {
		return "", err
	}
	if !info.IsDir() {
		return "", advise(fmt.Errorf("%w: %q", mount.ErrNotDirectory, target), "choose an empty directory")
	}
	if within(target, root) || within(root, target) {
		return "", advise(fmt.Errorf("%w: this mount and the store %q would hide each other", errState, root), "choose a directory outside the store")
	}
	return target, nil
}

// within reports whether path is dir or below it; both are clean and absolute.
func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// forgetGone cleans up after mounts that others unmounted, and says so.
func (st *store) forgetGone(ctx context.Context, a *app) error {
	gone, err := st.dropGoneMounts(ctx)
	for _, target := range gone {
		a.log.Info("forgot a mount that is gone", "target", target)
	}
	return err
}

// mount records, makes what has to be made, and mounts. After an error all of
// it is undone; after a crash, the next command that looks at the records does
// so.
func (st *store) mount(ctx context.Context, opts mountOptions) (r mountRecord, err error) {
	r, base, err := st.planMount(ctx, opts)
	if err != nil {
		return r, err
	}
	if opts.volatile && r.ReadOnly {
		return r, advise(usagef("mount: --volatile needs a writable snapshot"), "make one with --rw KEY")
	}
	if r.Where, err = place(); err != nil {
		return r, err
	}
	var undo undoer
	defer func() { err = undo.onError(err) }()

	if err := st.putMountRecord(ctx, r); err != nil {
		return r, err
	}
	undo.add(func() error { return st.deleteMountRecord(ctx, r.Target) })
	if base != nil {
		if err := st.makeMounted(ctx, r, *base, opts); err != nil {
			return r, err
		}
		undo.add(func() error { return st.Remove(context.WithoutCancel(ctx), r.Key, false) })
	}
	if opts.volatile {
		// Else a snapshot that was never mounted so would be lost when the machine
		// stops.
		undo.add(func() error {
			_, err := st.Mounts(context.WithoutCancel(ctx), r.Key, driver.MountOptions{})
			return err
		})
	}
	mounts, err := st.Mounts(ctx, r.Key, driver.MountOptions{Volatile: opts.volatile})
	if err != nil {
		return r, err
	}
	if err := mount.All(ctx, mounts, r.Target); err != nil {
		return r, explainMount(err, r.Target)
	}
	undo.add(func() error { return mount.Unmount(r.Target) })
	if r.Where.ID, err = mountID(r.Target); err != nil {
		return r, err
	}
	return r, st.putMountRecord(ctx, r)
}

// planMount says which snapshot is to be mounted, and on which parent it has to
// be made first, if it has to.
func (st *store) planMount(ctx context.Context, opts mountOptions) (mountRecord, *parent, error) {
	r := mountRecord{Target: opts.target, Name: opts.name, Created: time.Now()}
	if err := st.refuseTaken(ctx, opts.target); err != nil {
		return r, nil, err
	}
	if err := refuseMark(opts.rw); err != nil {
		return r, nil, err
	}
	p, err := st.parent(ctx, opts.name)
	if err == nil {
		r.Key, r.View, r.ReadOnly = opts.rw, false, false
		if opts.rw == "" {
			r.Key, r.View, r.ReadOnly = viewKey(opts.target, r.Created), true, true
		}
		return r, &p, nil
	}
	info, statErr := st.Stat(ctx, opts.name)
	if ctxErr := ctx.Err(); ctxErr != nil {
		return r, nil, ctxErr
	}
	if opts.rw != "" || statErr != nil || info.Kind == snapshots.KindCommitted {
		return r, nil, err
	}
	if opts.ids.given() {
		return r, nil, advise(fmt.Errorf("%w: the map of owners of a snapshot cannot change once the snapshot is made", errState), "mount an image or a committed snapshot instead")
	}
	r.Key, r.ReadOnly = opts.name, info.Kind == snapshots.KindView
	if r.ReadOnly {
		return r, nil, nil
	}
	if err := refuseEngines(r.Key); err != nil {
		return r, nil, err // the engine mounts it without asking us
	}
	// Two overlays on one upper directory corrupt each other.
	return r, nil, st.refuseMounted(ctx, r.Key)
}

// refuseTaken returns an error when we, or somebody, mounted at the target.
func (st *store) refuseTaken(ctx context.Context, target string) error {
	records, err := st.mounts(ctx)
	if err != nil {
		return err
	}
	for _, r := range records {
		if r.Target == target {
			return advise(fmt.Errorf("%w: %q is already mounted there", errState, r.Name), "'snapctl umount "+mount.Quote(target)+"' first")
		}
	}
	id, err := mountID(target)
	if err == nil && id != 0 {
		err = advise(fmt.Errorf("%w: it is already a mount point", mount.ErrBusy), "unmount it first, or choose another directory")
	}
	return err
}

// viewKey names the view made for a mount; the time keeps two mounts at one
// target apart.
func viewKey(target string, at time.Time) string {
	sum := digest.FromString(target + at.Format(time.RFC3339Nano)).Encoded()
	return "snapctl-mount-" + sum[:16]
}

// makeMounted makes the snapshot that is about to be mounted.
func (st *store) makeMounted(ctx context.Context, r mountRecord, p parent, opts mountOptions) error {
	labels := opts.ids.label(opts.size.limit(p.labels))
	if !r.View {
		return explainTaken(st.Prepare(ctx, r.Key, p.key, labels))
	}
	return st.View(ctx, r.Key, p.key, labels)
}

func explainMount(err error, target string) error {
	if errors.Is(err, mount.ErrBusy) {
		return advise(err, "something is already mounted at "+mount.Quote(target)+"; choose another directory")
	}
	if errors.Is(err, os.ErrPermission) {
		return advise(err, "mounting needs root, or a user and mount namespace of your own such as 'unshare -Urm' makes")
	}
	return err
}

// An undoer keeps what has to be undone should something fail later.
type undoer []func() error

func (u *undoer) add(fn func() error) { *u = append(*u, fn) }

// onError undoes all, the latest first, when err is an error.
func (u *undoer) onError(err error) error {
	if err == nil {
		return nil
	}
	errs := []error{err}
	for i := len(*u) - 1; i >= 0; i-- {
		if undoErr := (*u)[i](); undoErr != nil {
			errs = append(errs, fmt.Errorf("putting things back: %w", undoErr))
		}
	}
	return errors.Join(errs...)
}
