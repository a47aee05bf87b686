package cutdisk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// What is needed of FUSE's protocol, include/uapi/linux/fuse.h.
const (
	opForget      = 2
	opGetattr     = 3
	opOpen        = 14
	opRead        = 15
	opWrite       = 16
	opRelease     = 18
	opFsync       = 20
	opFlush       = 25
	opInit        = 26
	opInterrupt   = 36
	opDestroy     = 38
	opBatchForget = 42
	opFallocate   = 43

	protocolMajor, protocolMinor = 7, 31

	flagAsyncRead = 1 << 0
	flagBigWrites = 1 << 5
	flagAsyncDIO  = 1 << 15
	flagMaxPages  = 1 << 22

	openDirectIO = 1 << 0

	maxWrite   = 1 << 20
	rootNode   = 1
	fileMode   = unix.S_IFREG | 0o600
	inHeader   = 40 // bytes of struct fuse_in_header
	writeIn    = 40 // bytes of struct fuse_write_in
	forLong    = 3600
	diskBlock  = 4096
	statBlocks = 512
)

type inHead struct {
	Len, Opcode           uint32
	Unique, Node          uint64
	UID, GID, PID, Unused uint32
}

type initOut struct {
	Major, Minor, MaxReadahead, Flags uint32
	MaxBackground, Congestion         uint16
	MaxWrite, TimeGran                uint32
	MaxPages, MapAlignment            uint16
	Flags2                            uint32
	Unused                            [7]uint32
}

type attrOut struct {
	Valid              uint64
	ValidNsec, Unused  uint32
	Ino, Size, Blocks  uint64
	Times              [3]uint64
	TimesNsec          [3]uint32
	Mode, Nlink        uint32
	UID, GID, Rdev     uint32
	Blksize, AttrFlags uint32
}

type openOut struct {
	Handle        uint64
	Flags, Unused uint32
}

type readIn struct {
	Handle, Offset uint64
	Size, Flags    uint32
}

type writeOut struct{ Size, Unused uint32 }

type fallocateIn struct {
	Handle, Offset, Length uint64
	Mode, Unused           uint32
}

// A device is what the one file of the file system does.
type device interface {
	size() int64
	read(b []byte, offset int64) (int, error)
	write(b []byte, offset int64) error
	zero(offset, length int64) error
	flush() error
}

// mountFile mounts a FUSE file system whose root is a file over the file at
// path. It returns the descriptor through which the kernel asks.
func mountFile(path string) (int, error) {
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: "/dev/fuse", Err: err}
	}
	options := fmt.Sprintf("fd=%d,rootmode=%o,user_id=%d,group_id=%d", fd, fileMode, os.Getuid(), os.Getgid())
	if err := unix.Mount("layerkeep-test", path, "fuse", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return -1, errors.Join(&os.PathError{Op: "mount a FUSE file system on", Path: path, Err: err}, unix.Close(fd))
	}
	return fd, nil
}

// serveFUSE answers the kernel, one request after the other, until the file
// system is unmounted. ready is called once the kernel has been told what it
// talks to.
func serveFUSE(fd int, d device, ready func() error) error {
	buf := make([]byte, maxWrite+diskBlock)
	for {
		n, err := unix.Read(fd, buf)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ENOENT), errors.Is(err, unix.EAGAIN):
			continue // the request was taken back
		case errors.Is(err, unix.ENODEV):
			return nil
		case err != nil:
			return os.NewSyscallError("read a request of FUSE", err)
		}
		var head inHead
		if err := decode(buf[:n], &head); err != nil {
			return err
		}
		body := buf[inHeader:n]
		switch head.Opcode {
		case opForget, opBatchForget, opInterrupt:
			continue // these get no answer
		case opDestroy:
			return answer(fd, head.Unique, nil, nil)
		}
		out, failed := handle(d, head.Opcode, body)
		if err := answer(fd, head.Unique, out, failed); err != nil {
			return err
		}
		if head.Opcode == opInit {
			if err := ready(); err != nil {
				return err
			}
		}
	}
}

// handle does what a request asks for and returns the answer's body.
func handle(d device, opcode uint32, body []byte) (any, error) {
	switch opcode {
	case opInit:
		return initOut{
			Major: protocolMajor, Minor: protocolMinor, MaxReadahead: maxWrite,
			Flags:    flagAsyncRead | flagBigWrites | flagAsyncDIO | flagMaxPages,
			MaxWrite: maxWrite, TimeGran: 1, MaxPages: maxWrite / diskBlock, MaxBackground: 64, Congestion: 48,
		}, nil
	case opGetattr:
		return attrOut{
			Valid: forLong, Ino: rootNode, Size: uint64(d.size()), Blocks: uint64(d.size() / statBlocks),
			Mode: fileMode, Nlink: 1, Blksize: diskBlock,
		}, nil
	case opOpen:
		return openOut{Flags: openDirectIO}, nil
	case opRead:
		var in readIn
		if err := decode(body, &in); err != nil {
			return nil, err
		}
		b := make([]byte, in.Size)
		n, err := d.read(b, int64(in.Offset))
		return b[:n], err
	case opWrite:
		var in readIn // it begins in the same way
		if err := decode(body, &in); err != nil || len(body) < writeIn+int(in.Size) {
			return nil, errors.Join(err, unix.EINVAL)
		}
		return writeOut{Size: in.Size}, d.write(body[writeIn:writeIn+int(in.Size)], int64(in.Offset))
	case opFsync:
		return nil, d.flush()
	case opFallocate:
		return nil, fallocate(d, body)
	case opFlush, opRelease:
		return nil, nil
	default:
		return nil, unix.ENOSYS
	}
}

// fallocate does a discard, or a write of zeros.
func fallocate(d device, body []byte) error {
	var in fallocateIn
	if err := decode(body, &in); err != nil {
		return err
	}
	if in.Mode&(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_ZERO_RANGE) == 0 {
		return unix.EOPNOTSUPP
	}
	return d.zero(int64(in.Offset), int64(in.Length))
}

func decode(b []byte, to any) error {
	if _, err := binary.Decode(b, binary.LittleEndian, to); err != nil {
		return fmt.Errorf("a request of FUSE: %w", err)
	}
	return nil
}

// answer sends an answer. An error that is no error number becomes EIO.
func answer(fd int, unique uint64, body any, failed error) error {
	var out bytes.Buffer
	number := unix.Errno(0)
	if failed != nil {
		if !errors.As(failed, &number) {
			number = unix.EIO
		}
		body = nil
	}
	head := struct {
		Len    uint32
		Error  int32
		Unique uint64
	}{16, -int32(number), unique}
	if body != nil {
		head.Len += uint32(binary.Size(body))
	}
	err := binary.Write(&out, binary.LittleEndian, head)
	if body != nil {
		err = errors.Join(err, binary.Write(&out, binary.LittleEndian, body))
	}
	if err != nil {
		return err
	}
	if _, err := unix.Write(fd, out.Bytes()); err != nil && !errors.Is(err, unix.ENOENT) { // whoever asked was killed
		return os.NewSyscallError("answer a request of FUSE", err)
	}
	return nil
}
