package sys

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// ReadDir calls visit with every name in an open directory and its type
// (unix.DT_*), in the file system's order, without "." and "..". It reads from
// the descriptor's offset on.
func ReadDir(fd int, visit func(name string, typ uint8) error) error {
	buf := make([]byte, DirBuffer)
	for {
		if more, err := ReadDirOnce(fd, buf, visit); err != nil || !more {
			return err
		}
	}
}

// DirBuffer is how many bytes of a directory [ReadDir] reads at a time: some
// hundred names.
const DirBuffer = 32 << 10

// ReadDirOnce is ReadDir of as many names as one call puts into the buffer,
// which has room for the longest name at least. It reports whether there may be
// more.
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

// eachDirent takes the records of getdents64(2) apart: inode and offset of 8
// bytes each, length of 2, type of 1, then the name, ended by NUL.
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
