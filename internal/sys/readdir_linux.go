package sys

import (
	"bytes"
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

// ReadDir calls visit with every name in an open directory and its type
// (unix.DT_*), in the file system's order, without "." and "..". It reads from
// the descriptor's offset on.
func ReadDir(fd int, visit func(name string, typ uint8) error) error {
	buf := make([]byte, 32<<10)
	for {
		n, err := unix.Getdents(fd, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return pathErr("getdents", fdName(fd), err)
		}
		if n <= 0 {
			return nil
		}
		if err := eachDirent(buf[:n], visit); err != nil {
			return err
		}
	}
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
