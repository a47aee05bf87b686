package subvol

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// readOnlyFlag is BTRFS_SUBVOL_RDONLY.
const readOnlyFlag = 1 << 1

// OnBtrfs reports whether f is on a btrfs.
func OnBtrfs(f *os.File) (bool, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return false, &os.PathError{Op: "statfs", Path: f.Name(), Err: err}
	}
	return int64(st.Type) == unix.BTRFS_SUPER_MAGIC, nil //nolint:unconvert // 32 bits on some architectures
}

// IsSubvolume reports whether f is the root directory of a subvolume; f is on a
// btrfs.
func IsSubvolume(f *os.File) (bool, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return false, &os.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	return st.Ino == FirstInode && st.Mode&unix.S_IFMT == unix.S_IFDIR, nil
}

// Create makes an empty subvolume in an open directory.
func Create(dir *os.File, name string) error {
	if err := checkName("BTRFS_IOC_SUBVOL_CREATE", name); err != nil {
		return err
	}
	var args volArgs
	copy(args.name[:], name)
	return ioctl(dir, "BTRFS_IOC_SUBVOL_CREATE", request(write, 14, unsafe.Sizeof(args)), unsafe.Pointer(&args))
}

// Snapshot makes a writable snapshot of the subvolume src in an open directory.
// When it returns, the snapshot is on disk. Subvolumes in src are empty
// directories in it.
func Snapshot(src, dir *os.File, name string) error {
	if err := checkName("BTRFS_IOC_SNAP_CREATE_V2", name); err != nil {
		return err
	}
	args := volArgsV2{fd: int64(src.Fd())}
	copy(args.name[:], name)
	err := ioctl(dir, "BTRFS_IOC_SNAP_CREATE_V2", request(write, 23, unsafe.Sizeof(args)), unsafe.Pointer(&args))
	if err != nil {
		return fmt.Errorf("snapshot of %s: %w", src.Name(), err)
	}
	return nil
}

// Destroy removes a subvolume from an open directory. It must hold no other
// subvolumes. The space it takes is freed later.
func Destroy(dir *os.File, name string) error {
	if err := checkName("BTRFS_IOC_SNAP_DESTROY", name); err != nil {
		return err
	}
	var args volArgs
	copy(args.name[:], name)
	return ioctl(dir, "BTRFS_IOC_SNAP_DESTROY", request(write, 15, unsafe.Sizeof(args)), unsafe.Pointer(&args))
}

// ReadOnly reports whether a subvolume is read-only.
func ReadOnly(vol *os.File) (bool, error) {
	flags, err := getFlags(vol)
	return flags&readOnlyFlag != 0, err
}

func getFlags(vol *os.File) (uint64, error) {
	var flags uint64
	err := ioctl(vol, "BTRFS_IOC_SUBVOL_GETFLAGS", request(read, 25, unsafe.Sizeof(flags)), unsafe.Pointer(&flags))
	return flags, err
}

// SetReadOnly makes a subvolume read-only or writable, durably. What is so
// already costs no commit.
func SetReadOnly(vol *os.File, readOnly bool) error {
	flags, err := getFlags(vol)
	if err != nil || (flags&readOnlyFlag != 0) == readOnly {
		return err
	}
	flags ^= readOnlyFlag
	return ioctl(vol, "BTRFS_IOC_SUBVOL_SETFLAGS", request(write, 26, unsafe.Sizeof(flags)), unsafe.Pointer(&flags))
}

// An Info says what the file system knows of a subvolume.
type Info struct {
	// ID is the subvolume's, never given to another in this file system.
	ID uint64
	// UUID is the subvolume's, ParentUUID that of what it is a snapshot of, or
	// zero.
	UUID, ParentUUID [16]byte
	// Otransid is the transaction in which the subvolume was made; whatever is in
	// it was written in this one or before, or it was changed since.
	Otransid uint64
}

// subvolInfo is struct btrfs_ioctl_get_subvol_info_args.
type subvolInfo struct {
	id                             uint64
	name                           [256]byte
	parent, dir, generation, flags uint64
	uuid, parentUUID, received     [16]byte
	ctransid, otransid             uint64
	stransid, rtransid             uint64
	times                          [4][2]uint64
	reserved                       [8]uint64
}

// InfoOf returns what is known of the subvolume that f is in. Needs Linux 4.18.
func InfoOf(f *os.File) (Info, error) {
	var in subvolInfo
	err := ioctl(f, "BTRFS_IOC_GET_SUBVOL_INFO", request(read, 60, unsafe.Sizeof(in)), unsafe.Pointer(&in))
	return Info{ID: in.id, UUID: in.uuid, ParentUUID: in.parentUUID, Otransid: in.otransid}, err
}
