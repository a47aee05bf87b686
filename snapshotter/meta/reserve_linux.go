package meta

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/ownfiles"
)

// Sizes of each file of the reserve, in bytes. The pages of a transaction and a
// long list of free pages need far less than reserveSize. Btrfs reserves for
// each rename what it needs in the worst case, about 3 MiB. The larger size
// gives it that, when data and metadata share the space.
const (
	reserveSize      = 512 << 10
	reserveSizeBtrfs = 4 << 20
)

// allocate makes a file with its blocks allocated, when it does not have them.
// The content does not matter.
func allocate(path string) error {
	f, err := ownfiles.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	err = fillUp(int(f.Fd()))
	return errors.Join(err, f.Close())
}

func fillUp(fd int) error {
	var on unix.Statfs_t
	var st unix.Stat_t
	if err := errors.Join(unix.Fstatfs(fd, &on), unix.Fstat(fd, &st)); err != nil {
		return err
	}
	size := int64(reserveSize)
	if on.Type == unix.BTRFS_SUPER_MAGIC {
		size = reserveSizeBtrfs
	}
	if st.Blocks*512 >= size {
		return nil
	}
	for {
		if err := unix.Fallocate(fd, 0, 0, size); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
