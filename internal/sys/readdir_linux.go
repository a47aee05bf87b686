package sys

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// ReadDir calls visit for every name in an open directory with its type
// (unix.DT_*), in the order of the file system, without "." and "..". It starts
// at the offset of the descriptor.
func ReadDir(fd int, visit func(name string, typ uint8) error) error {
	buf := make([]byte, DirBuffer)
	for {
		if more, err := ReadDirOnce(fd, buf, visit); err != nil || !more {
			return err
		}
	}
}

// DirBuffer is the number of bytes of a directory that [ReadDir] reads at a
// time. They hold some hundred names.
const DirBuffer = 32 << 10

// ReadDirOnce is ReadDir for the names that one system call puts into the
// buffer. The buffer must have room for the longest name. more reports whether
// there may be more names.
func ReadDirOnce(fd int, buf []byte, visit func(name string, typ uint8) error) (more bool, err error) {
	var n int
	err = retry(func() (err error) {
		n, err = unix.Getdents(fd, buf)
		return err
	})
	if err != nil {
		return false, pathErr("getdents", fdName(fd), err)
	}
	return n > 0, eachDirent(buf[:max(n, 0)], visit)
}

// eachDirent parses the records of getdents64(2): inode and offset of 8 bytes
// each, length of 2 bytes, type of 1 byte, and then the name with a final NUL.
func eachDirent(b []byte, visit func(name string, typ uint8) error) error {
	const nameAt = 19
	for len(b) > nameAt {
		size := int(binary.NativeEndian.Uint16(b[16:]))
		if size <= nameAt || size > len(b) {
			return nil
		}
		name, _, _ := bytes.Cut(b[nameAt:size], []byte{0})
		if s := string(name); s != "." && s != ".." {
			if err := visit(s, b[18]); err != nil {
				return err
			}
		}
		b = b[size:]
	}
	return nil
}
