package layerdir

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/mount"
)

// OverlayInMemory probes what overlay can do on this kernel without writing to
// the store in root: it probes on a tmpfs. The result holds for overlays whose
// lower directories are on any file system. It says nothing about upper
// directories in the store.
func OverlayInMemory(ctx context.Context, root string, opts driver.Options) (f mount.Features, err error) {
	err = InMemory(root, opts, func(mr mount.Mounter, dir string) error {
		f, err = mr.Probe(ctx, dir, opts.Fallbacks.UserXattr)
		return err
	})
	return f, err
}

// InMemory calls [mount.Mounter.InMemory] on root, or on the nearest existing
// directory above it.
func InMemory(root string, opts driver.Options, fn func(mr mount.Mounter, dir string) error) error {
	dir := root
	for dir != filepath.Dir(dir) {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			break
		}
		dir = filepath.Dir(dir)
	}
	return mount.Mounter{First: opts.Fallbacks.MountWay}.InMemory(dir, fn)
}

// UserOverlayInMemory is [UserOverlay] for a caller that has no directory to
// write to. It probes on a file in memory.
func UserOverlayInMemory() bool {
	fd, err := unix.MemfdCreate("layerkeep-probe", unix.MFD_CLOEXEC)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return errors.Is(unix.Fsetxattr(fd, trustedProbe, nil, 0), unix.EPERM)
}
