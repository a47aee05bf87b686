package mount

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// WorkInUse reports whether an overlay that is alive has work as its work directory:
// mounted in any mount namespace, or unmounted lazily while files in it are open. It
// mounts an overlay of its own with it, which the kernel refuses then (EBUSY) when an index
// is asked for. dir is an existing empty directory on the same mount, in which it leaves
// what it made. known is false where that says nothing: no index can be had there.
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
