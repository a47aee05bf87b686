package btrfs

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/subvol"
)

// trySubvolumes probes in dir what the driver needs: it searches, makes a
// subvolume and a snapshot, makes the snapshot read-only, and removes both. The
// search fails if this process lacks the right.
func trySubvolumes(dir *os.File) (err error) {
	const snap = "snap"
	if err := trySearch(dir); err != nil {
		return err
	}
	if err := subvol.Create(dir, volDir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, destroyIn(dir, volDir)) }()
	if err := snapshotNamed(dir, volDir, snap); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, destroyIn(dir, snap)) }()
	f, err := os.Open(dir.Name() + "/" + snap)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := subvol.InfoOf(f)
	if err != nil {
		return err
	}
	if info.Otransid == 0 {
		return fmt.Errorf("%w: a snapshot does not say when it was made", errors.ErrUnsupported)
	}
	if err := trySearch(f); err != nil {
		return err
	}
	return subvol.SetReadOnly(f, true)
}

// trySearch searches for an inode that every subvolume has.
func trySearch(f *os.File) error {
	found := false
	root := subvol.OfInode(subvol.FirstInode, subvol.InodeItem, subvol.InodeItem)
	err := subvol.Each(f, root, func(subvol.Item) error { found = true; return nil })
	if err == nil && !found {
		err = fmt.Errorf("%w: a search finds nothing", errors.ErrUnsupported)
	}
	return err
}

func snapshotNamed(dir *os.File, from, to string) error {
	src, err := os.Open(dir.Name() + "/" + from)
	if err != nil {
		return err
	}
	defer src.Close()
	return subvol.Snapshot(src, dir, to)
}

func destroyIn(dir *os.File, name string) error {
	_, err := subvol.DestroyAll(dir, name)
	return err
}

// unsupported makes errors match [driver.ErrUnsupported] if they mean that a
// feature is missing or not permitted. It returns other errors, such as a full
// disk, as they are.
func unsupported(err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w: not permitted, it needs CAP_SYS_ADMIN (%w)", driver.ErrUnsupported, err)
	case errors.Is(err, unix.ENOTTY), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EINVAL), errors.Is(err, errors.ErrUnsupported):
		return fmt.Errorf("%w: the kernel lacks something (%w)", driver.ErrUnsupported, err)
	}
	return err
}
