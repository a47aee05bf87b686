package aufs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/mount"
)

// A kernel says what the running kernel can do with aufs.
type kernel struct {
	// lacks says why aufs cannot be mounted. It is nil if aufs can be mounted.
	lacks error
	// options are the mount options that all mounts get and that this aufs knows.
	options []string
	xino    []xinoPlace
}

// optionSets are the sets of options to try, best first. With dirperm1 only the
// uppermost directory decides who may enter, as in other union file systems.
// Without acl, access control lists can neither be read nor set. Old versions
// of aufs lack dirperm1, acl or both.
var optionSets = [][]string{{"dio", "dirperm1", "acl"}, {"dio", "dirperm1"}, {"dio", "acl"}, {"dio"}}

const procFilesystems = "/proc/filesystems"

// probeKernel finds out whether this kernel can mount aufs, by mounting it in
// dir, an empty directory. It does not clean dir up, and it loads no module.
// If aufs cannot be mounted, kernel.lacks says why, and the error is nil. It
// returns an error only if it found out nothing, for example on a full disk.
func probeKernel(ctx context.Context, filesystems, dir string, mr mount.Mounter) (kernel, error) {
	k := kernel{xino: xinoPlaces(dir)}
	if k.lacks = listed(filesystems); k.lacks != nil {
		return k, unlessLacking(k.lacks)
	}
	for i, options := range optionSets {
		k.options = options
		err := tryUnion(ctx, fmt.Sprintf("%s/%d", dir, i), k, mr)
		if err == nil {
			k.lacks = nil
			return k, nil
		}
		if isPassing(err) {
			return k, err
		}
		k.lacks = fmt.Errorf("%w: this kernel has aufs, but mounting it failed: %w", driver.ErrUnsupported, err)
	}
	return k, nil
}

// listed returns nil if the kernel's list of file systems has aufs. Otherwise
// the error matches [driver.ErrUnsupported]. If the list cannot be read at the
// moment, it returns another error.
func listed(filesystems string) error {
	list, err := os.ReadFile(filesystems)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("look whether this kernel has aufs: %w", err)
	}
	if err != nil {
		return fmt.Errorf("%w: whether this kernel has aufs is not known: %w", driver.ErrUnsupported, err)
	}
	for line := range strings.Lines(string(list)) {
		if f := strings.Fields(line); len(f) > 0 && f[len(f)-1] == "aufs" {
			return nil
		}
	}
	return fmt.Errorf("%w: this kernel has no aufs (%s does not list it; a module, if there is one, is not loaded)", driver.ErrUnsupported, filesystems)
}

// unlessLacking returns nil if err is a definite answer, namely that the kernel
// has no aufs. Otherwise it returns err.
func unlessLacking(err error) error {
	if errors.Is(err, driver.ErrUnsupported) {
		return nil
	}
	return err
}

// tryUnion mounts a union of two branches and removes a file of the lower one.
func tryUnion(ctx context.Context, dir string, k kernel, mr mount.Mounter) error {
	for _, d := range []string{"", "/upper", "/lower", "/merged"} {
		if err := os.Mkdir(dir+d, 0o700); err != nil {
			return err
		}
	}
	if err := os.WriteFile(dir+"/lower/f", nil, 0o600); err != nil {
		return err
	}
	u := union{source: dir, branches: []string{dir + "/upper", dir + "/lower"}, writable: true, options: k.options}
	var err error
	if u.xino, err = chooseXINO(k.xino, u.source, u.branches); err != nil {
		return err
	}
	list, err := u.mounts()
	if err != nil {
		return err
	}
	target := dir + "/merged"
	if err := mr.All(ctx, list, target); err != nil {
		return err
	}
	err = os.Remove(target + "/f")
	if err = errors.Join(err, mount.Unmount(target)); err != nil {
		return err
	}
	_, err = os.Lstat(dir + "/upper/.wh.f")
	return err
}

// isPassing reports whether err is temporary and says nothing about what the
// kernel can do.
func isPassing(err error) bool {
	for _, e := range []error{
		context.Canceled, context.DeadlineExceeded,
		unix.ENOSPC, unix.EDQUOT, unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.EIO, unix.EINTR,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// xinoPlaces returns the places where a xino file may be made. Places in memory
// come first, because aufs writes to the file all the time. The last place is
// beside the layers.
func xinoPlaces(beside string) []xinoPlace {
	var places []xinoPlace
	for _, dir := range []string{"/run", "/dev/shm", filepath.Dir(beside)} {
		p := xinoPlace{dir: dir}
		var st unix.Statfs_t
		if unix.Access(dir, unix.W_OK|unix.X_OK) == nil && unix.Statfs(dir, &st) == nil {
			p.fs = int64(st.Type) //nolint:unconvert // 32 bits on some architectures
		}
		places = append(places, p)
	}
	return places
}
