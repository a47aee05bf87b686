package mount

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// checkWritable returns an error for an overlay that was to be writable and is
// not. The kernel makes a directory in the work directory, and where that
// fails, as on a full disk, it mounts the overlay for reading and says so in
// its log alone.
func (m Mount) checkWritable(target string) error {
	if m.Overlay == nil || m.Overlay.Upper == "" || m.ReadOnly {
		return nil
	}
	var st unix.Statfs_t
	if err := unix.Statfs(target, &st); err != nil {
		return &os.PathError{Op: "statfs", Path: target, Err: err}
	}
	if st.Flags&unix.ST_RDONLY == 0 {
		return nil
	}
	return fmt.Errorf("the kernel mounts it read-only, as it cannot write to %s: %w", m.Overlay.Work, whyReadOnly(m.Overlay.Work))
}

// whyReadOnly tells what the file system of a work directory lacks, as far as
// it shows.
func whyReadOnly(work string) error {
	var st unix.Statfs_t
	switch err := unix.Statfs(work, &st); {
	case err != nil:
		return err
	case st.Flags&unix.ST_RDONLY != 0:
		return unix.EROFS
	case st.Bavail == 0, st.Files > 0 && st.Ffree == 0:
		return unix.ENOSPC
	}
	return unix.EIO
}
