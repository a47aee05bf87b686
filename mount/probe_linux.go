package mount

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/sys"
)

// Features are what overlay mounts can do on one file system under this kernel.
type Features struct {
	// Way is the system interface that made the mounts of the probe. The probe
	// attaches them to no directory. So it does not notice a filter that
	// forbids only move_mount(2); mounts then use [WayMount2].
	Way Way
	// UserXattr: overlay's own attributes are in "user.overlay.", as in a user
	// namespace. The mount option userxattr is necessary.
	UserXattr bool
	// These mount options exist and work.
	RedirectDir, Metacopy, Xino, UUID, Volatile bool
	// Escapes: the mount shows an attribute whose name on disk has "overlay."
	// twice without one of them: "trusted.overlay.overlay.opaque" is shown as
	// "trusted.overlay.opaque" (Linux 6.7). Older kernels hide it.
	Escapes bool
}

// Probe makes mounts to find out what overlay can do with upper directories on
// the file system of dir. Dir is an existing empty directory, and Probe leaves
// its files in it. userXattr asks for the "user.overlay." namespace where both
// would work.
//
// Probe returns an error that matches [ErrUnsupported] and says what is
// missing. It returns another error when it could not find out, for example on
// a full disk.
func (mr Mounter) Probe(ctx context.Context, dir string, userXattr bool) (Features, error) {
	p := &prober{ctx: ctx, mr: mr, dir: dir}
	f := Features{UserXattr: userXattr}
	if !userXattr {
		err := p.xattr("trusted.overlay.probe")
		f.UserXattr = errors.Is(err, unix.EPERM)
		if err != nil && !f.UserXattr {
			return f, unsupportedBy("trusted extended attributes", err)
		}
	}
	if f.UserXattr {
		if err := p.xattr("user.overlay.probe"); err != nil {
			return f, unsupportedBy("user extended attributes", err)
		}
	}
	err := f.options(p.try)
	f.Way, f.Escapes = p.way, p.escapes
	return f, err
}

// unsupportedBy makes err one of the machine, unless it says nothing of it.
func unsupportedBy(what string, err error) error {
	if passing(err) {
		return fmt.Errorf("%s: %w", what, err)
	}
	return fmt.Errorf("%w: %s: %w", ErrUnsupported, what, err)
}

// passing reports an error that says nothing of what the machine can do, only
// that something is used up now, or that the call was cancelled. Taken for a
// missing feature, it would leave out an option that layers rely on.
func passing(err error) bool {
	if errors.As(err, new(unproven)) {
		return true
	}
	for _, e := range []error{context.Canceled, context.DeadlineExceeded, unix.EINTR} {
		if errors.Is(err, e) {
			return true
		}
	}
	return sys.UsedUp(err)
}

// unproven is an error of the probe's own steps, before what it tries or beside
// it.
type unproven struct{ error }

func (e unproven) Unwrap() error { return e.error }

// unlessTried marks an error of the disk, which says nothing of an overlay.
func unlessTried(err error) error {
	if errors.Is(err, unix.EIO) {
		return unproven{err}
	}
	return err
}

type prober struct {
	ctx context.Context //nolint:containedctx // lives as long as the call
	mr  Mounter
	dir string
	n   int
	// way is how the last mount was made, escapes what it showed.
	way     Way
	escapes bool
}

func (p *prober) xattr(name string) error {
	return unix.Setxattr(p.dir, name, []byte("1"), 0)
}

// options tries all options at once, which is what new kernels take, and only
// then each by itself.
func (f *Features) options(try func(options []string) error) error {
	base := []string{"index=off"}
	if f.UserXattr {
		base = append(base, "userxattr")
	}
	optional := map[string]*bool{"xino=off": &f.Xino, "uuid=null": &f.UUID, "volatile": &f.Volatile}
	if !f.UserXattr { // the kernel refuses these beside userxattr
		optional["redirect_dir=on"] = &f.RedirectDir
		optional["metacopy=on"] = &f.Metacopy
	}
	all := append([]string{}, base...)
	for o := range optional {
		all = append(all, o)
	}
	err := try(all)
	refused := func() bool { return errors.Is(err, unix.EIO) && !errors.As(err, new(unproven)) }
	if refused() { // for good, or only now
		err = try(all)
	}
	if refused() {
		// So overlay refuses volatile as long as the disk has failed a write and nobody
		// was told. That is no reason for a store not to be opened.
		delete(optional, "volatile")
		all = slices.DeleteFunc(all, func(o string) bool { return o == "volatile" })
		err = try(all)
	}
	if err == nil {
		for _, has := range optional {
			*has = true
		}
		return nil
	}
	if passing(err) {
		return err
	}
	if err := try(base); err != nil {
		return unsupportedBy("overlay mount", err)
	}
	for o, has := range optional {
		with := append(append([]string{}, base...), o)
		if o == "metacopy=on" {
			with = append(with, "redirect_dir=on")
		}
		err := try(with)
		if *has = err == nil; passing(err) {
			return err
		}
	}
	return nil
}

// try mounts an overlay and does what fails when its attributes or whiteouts
// do not work: removes a directory of the lower layer and makes it anew.
func (p *prober) try(options []string) (err error) {
	if err := p.ctx.Err(); err != nil {
		return err
	}
	p.n++
	at := func(name string) string { return filepath.Join(p.dir, name+strconv.Itoa(p.n)) }
	for _, d := range []string{at("lower"), at("lower") + "/d", at("upper"), at("work"), at("merged")} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return unproven{err}
		}
	}
	shown := "trusted.overlay."
	if slices.Contains(options, "userxattr") {
		shown = "user.overlay."
	}
	if err := unix.Setxattr(at("lower")+"/d", shown+"overlay.probe", []byte("1"), 0); err != nil {
		return unproven{err}
	}
	merged, done, err := p.mount(Mount{
		Type: "overlay", Source: "overlay", Options: options,
		Overlay: &Overlay{Lower: []string{at("lower")}, Upper: at("upper"), Work: at("work")},
	}, at("merged"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	_, p.escapes, err = sys.Lgetxattrat(int(merged.Fd()), "d", shown+"probe")
	if err != nil {
		return unlessTried(err)
	}
	if err := sys.Rmdirat(int(merged.Fd()), "d"); errors.Is(err, unix.EROFS) {
		return errors.Join(err, room(at("upper")))
	} else if err != nil {
		return unlessTried(err)
	}
	return unlessTried(sys.Mkdirat(int(merged.Fd()), "d", 0o700))
}

// roomNeeded is how many directories an overlay may make in its work directory
// while it is mounted, with some to spare.
const roomNeeded = 8

// room makes a few directories in dir and removes them. An overlay that could
// not make its own directories is mounted read-only, and does not say why; when
// this returns an error such as ENOSPC, that is why.
func room(dir string) error {
	var err error
	for n := range roomNeeded {
		name := filepath.Join(dir, "room"+strconv.Itoa(n))
		if err = os.Mkdir(name, 0o700); err != nil {
			break
		}
		defer os.Remove(name)
	}
	return err
}

// mount mounts m and opens its root. It is mounted nowhere, or, where that
// takes mount(2), on target in a namespace of its own: nothing stays when this
// process is killed. Where no namespace can be made target is all there is.
func (p *prober) mount(m Mount, target string) (root *os.File, done func() error, err error) {
	if err := m.check(); err != nil {
		return nil, nil, err
	}
	done = func() error { return root.Close() }
	if m.IDMap != nil {
		root, err = p.mr.detachedMapped(m, target)
		return root, done, err
	}
	way, err := p.mr.eachWay(func(w Way) (err error) {
		if w != WayMount2 {
			root, err = p.mr.detachedBy(w, m)
			return err
		}
		err = p.mr.inOwnNamespace(func(mr Mounter) (err error) {
			root, err = openMounted(mr, w, m, target)
			return err
		})
		if isRefused(err) {
			if root, err = openMounted(p.mr, w, m, target); err == nil {
				done = func() error { return errors.Join(root.Close(), Unmount(target)) }
			}
		}
		return err
	})
	if err == nil {
		p.way = way
	}
	return root, done, err
}

// openMounted mounts m on target and opens the root of it.
func openMounted(mr Mounter, w Way, m Mount, target string) (*os.File, error) {
	if err := mr.over(w, m, target); err != nil {
		return nil, err
	}
	root, err := openDir(target)
	if err != nil {
		return nil, errors.Join(err, Unmount(target))
	}
	return root, nil
}
