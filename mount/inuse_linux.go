package mount

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// WorkInUse reports whether an existing overlay uses the work directory work.
// The overlay may be mounted in any mount namespace, or be lazily unmounted
// while files in it are open.
//
// WorkInUse tries to mount an overlay of its own with the same work directory
// and an index: the kernel refuses this (EBUSY) while another overlay uses the
// directory. Dir is an existing empty directory on the same mount, and
// WorkInUse leaves its files in it. known is false where overlays cannot have
// an index, so that the attempt tells nothing.
func (mr Mounter) WorkInUse(ctx context.Context, work, dir string, userXattr bool) (used, known bool, err error) {
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"lower", "upper", "merged"} {
		if err := os.Mkdir(at(name), 0o700); err != nil {
			return false, false, err
		}
	}
	options := []string{"index=on"}
	if userXattr {
		options = append(options, "userxattr")
	}
	p := &prober{ctx: ctx, mr: mr, dir: dir}
	_, done, err := p.mount(Mount{
		Type: "overlay", Source: "overlay", Options: options,
		Overlay: &Overlay{Lower: []string{at("lower")}, Upper: at("upper"), Work: work},
	}, at("merged"))
	if errors.Is(err, unix.EBUSY) {
		return true, true, nil
	}
	if passing(err) {
		return false, false, err
	}
	if err != nil {
		return false, false, nil //nolint:nilerr // no index, or no mount, can be had here
	}
	// Where the file system cannot have an index the kernel goes on without one.
	_, err = os.Lstat(filepath.Join(work, "index"))
	missing := errors.Is(err, fs.ErrNotExist)
	if missing {
		err = nil
	} else if err == nil {
		known = true
	}
	if err := errors.Join(err, done()); err != nil || missing {
		return false, false, err
	}
	return false, known, os.Remove(filepath.Join(work, "index"))
}
