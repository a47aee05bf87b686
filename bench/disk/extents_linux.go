package disk

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The ioctl FIEMAP, from linux/fiemap.h.
const (
	fsIocFiemap        = 0xc020660b
	fiemapFlagSync     = 0x1
	fiemapExtentLast   = 0x1
	fiemapExtentShared = 0x2000
	extentsAtOnce      = 128
)

type fiemapHeader struct {
	start, length               uint64
	flags, mapped, count, spare uint32
}

type fiemapExtent struct {
	logical, physical, length uint64
	_                         [2]uint64
	flags                     uint32
	_                         [3]uint32
}

// Extents returns how many bytes of a file lie in blocks, and how many of these
// the file shares with others (reflinks, snapshots). It writes the file's data
// first.
func Extents(f *os.File) (total, shared int64, err error) {
	var request struct {
		head    fiemapHeader
		extents [extentsAtOnce]fiemapExtent
	}
	for from := uint64(0); ; {
		request.head = fiemapHeader{start: from, length: ^uint64(0) - from, flags: fiemapFlagSync, count: extentsAtOnce}
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), fsIocFiemap, uintptr(unsafe.Pointer(&request))); errno != 0 {
			return 0, 0, &os.PathError{Op: "fiemap", Path: f.Name(), Err: errno}
		}
		for _, e := range request.extents[:request.head.mapped] {
			total += int64(e.length) //nolint:gosec // of a file
			if e.flags&fiemapExtentShared != 0 {
				shared += int64(e.length) //nolint:gosec // of a file
			}
			from = e.logical + e.length
			if e.flags&fiemapExtentLast != 0 {
				return total, shared, nil
			}
		}
		if request.head.mapped == 0 {
			return total, shared, nil
		}
	}
}
