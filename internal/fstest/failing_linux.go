package fstest

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// IsFailing reports an error of writing back to a [FailingDisk]. Like a thin
// disk, it says that it has no room, though the file system has; on Linux 5.10
// a loop device makes an input/output error of it.
func IsFailing(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EIO)
}

// A FailingDisk is an ext4 whose disk can be made to refuse blocks that were
// never used: writes to it succeed, and are lost when the kernel writes them
// back.
type FailingDisk struct {
	// Dir is a directory on it.
	Dir    string
	filler string
}

// NewFailingDisk mounts such a disk; see [Scratch]. It works until Fail. Blocks
// that are in use go on working, so that what was there before stays readable.
func NewFailingDisk(tb testing.TB) *FailingDisk {
	tb.Helper()
	const mib = 64
	dir := ScratchSize(tb, Ext4, mib)
	memory := filepath.Dir(filepath.Dir(dir))
	// All blocks get memory, and the free ones lose it again.
	image, err := os.OpenFile(filepath.Join(memory, "image"), os.O_RDWR, 0)
	if err != nil {
		tb.Fatal(err)
	}
	err = unix.Fallocate(int(image.Fd()), 0, 0, mib<<20)
	if err = errors.Join(err, image.Close()); err != nil {
		tb.Fatalf("give the image its blocks: %v", err)
	}
	d := &FailingDisk{Dir: dir, filler: filepath.Join(memory, "filler")}
	d.Trim(tb)
	return d
}

// Trim makes the blocks that are free now refusable.
func (d *FailingDisk) Trim(tb testing.TB) {
	tb.Helper()
	f, err := os.Open(d.Dir)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		tb.Fatal(err)
	}
	// struct fstrim_range (linux/fs.h): start, length and least length, in bytes.
	const fitrim = 0xc0185879
	all := [3]uint64{0, ^uint64(0), 0}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), fitrim, uintptr(unsafe.Pointer(&all))); errno != 0 {
		tb.Skipf("loop devices here free no blocks of their images: %v", errno)
	}
}

// Fail makes the disk refuse.
func (d *FailingDisk) Fail(tb testing.TB) {
	tb.Helper()
	f, err := os.Create(d.filler)
	if err != nil {
		tb.Fatal(err)
	}
	for block := make([]byte, 1<<20); err == nil; {
		_, err = f.Write(block)
	}
	for err = nil; err == nil; {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, unix.ENOSPC) {
		tb.Fatal(err)
	}
	if err := f.Close(); err != nil {
		tb.Fatal(err)
	}
}

// Heal makes the disk work again.
func (d *FailingDisk) Heal(tb testing.TB) {
	tb.Helper()
	if err := os.Remove(d.filler); err != nil {
		tb.Fatal(err)
	}
}
