package subvol

import (
	"errors"
	"os"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Directions of ioctl(2) requests. Architectures differ in the bits: they are
// taken from requests of each kind, the sizes of which do not reach so high.
const (
	directions = 7 << 29

	none  = unix.BLKROSET & directions
	write = unix.BLKBSZSET & directions
	read  = unix.BLKBSZGET & directions
)

// request is the kernel's _IOC for the magic number of btrfs.
func request(direction, number, size uintptr) uintptr {
	return direction | size<<16 | 0x94<<8 | number
}

// ioctl hands arg to a request on f.
func ioctl(f *os.File, name string, req uintptr, arg unsafe.Pointer) error {
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), req, uintptr(arg))
		runtime.KeepAlive(f)
		if errno == 0 {
			return nil
		}
		if errors.Is(errno, unix.EINTR) {
			continue
		}
		return &os.PathError{Op: name, Path: f.Name(), Err: errno}
	}
}

// volArgs is struct btrfs_ioctl_vol_args.
type volArgs struct {
	fd   int64
	name [4088]byte
}

// volArgsV2 is struct btrfs_ioctl_vol_args_v2.
type volArgsV2 struct {
	fd      int64
	transid uint64
	flags   uint64
	unused  [4]uint64
	name    [4040]byte
}

// maxComponent is NAME_MAX.
const maxComponent = 255

// checkName refuses what is not one component of a path; the kernel does so
// too.
func checkName(op, name string) error {
	if len(name) > maxComponent {
		return &os.PathError{Op: op, Path: name, Err: unix.ENAMETOOLONG}
	}
	if name == "." || name == ".." || !isName([]byte(name), len(name)) {
		return &os.PathError{Op: op, Path: name, Err: unix.EINVAL}
	}
	return nil
}

// Sync commits what was changed in the file system of f, and makes the kernel
// begin to free destroyed subvolumes.
func Sync(f *os.File) error {
	return ioctl(f, "BTRFS_IOC_SYNC", request(none, 8, 0), nil)
}

// commitPatience is how long the kernel's thread may take for a commit before
// this process makes it. On a slow disk that only costs the difference between
// the two.
const commitPatience = 100 * time.Millisecond

// Commit puts on disk what was changed in the directories of the file system of
// f, and waits for it. Unlike [Sync] it does not write out what was written to
// files, unless the kernel's thread that commits is late: that thread can miss
// that it was woken while it ends its last commit, and would sleep on until its
// next regular one, half a minute later (transaction_kthread in the kernel's
// fs/btrfs/disk-io.c, up to 6.18 at least).
func Commit(f *os.File) error {
	done := make(chan error, 1)
	go func() { done <- commitByThread(f) }()
	late := time.NewTimer(commitPatience)
	defer late.Stop()
	select {
	case err := <-done:
		return err
	case <-late.C:
	}
	// It commits what the thread was to commit, which ends the wait for that, too.
	return errors.Join(Sync(f), <-done)
}

// commitByThread has the kernel's thread commit, and waits for it.
func commitByThread(f *os.File) error {
	var transaction uint64
	size := unsafe.Sizeof(transaction)
	if err := ioctl(f, "BTRFS_IOC_START_SYNC", request(read, 24, size), unsafe.Pointer(&transaction)); err != nil {
		return err
	}
	return ioctl(f, "BTRFS_IOC_WAIT_SYNC", request(write, 22, size), unsafe.Pointer(&transaction))
}

// AwaitFreed waits until what a destroyed subvolume took is free. Returns an
// error matching [errors.ErrUnsupported] before Linux 6.13.
func AwaitFreed(f *os.File, id uint64) error {
	args := struct {
		id          uint64
		mode, count uint32
	}{id: id}
	err := ioctl(f, "BTRFS_IOC_SUBVOL_SYNC_WAIT", request(write, 65, unsafe.Sizeof(args)), unsafe.Pointer(&args))
	switch {
	case errors.Is(err, unix.ENOENT): // it is gone
		return nil
	case errors.Is(err, unix.ENOTTY):
		return errors.Join(errors.ErrUnsupported, err)
	}
	return err
}
