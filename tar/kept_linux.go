package tar

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"time"

	"github.com/layerkeep/layerkeep/internal/attrs"
)

// A keptAttrs stores the attributes of directories until they can be set. They
// can be set once no more files are made in the directories. The encoded
// attributes are one after another in memory. When they exceed keptBuffer bytes
// they go to a file without a name, because extended attributes can be long.
type keptAttrs struct {
	open func() (*os.File, error)
	room *room
	file *os.File
	size int64  // of the file, in bytes
	buf  []byte // what follows the content of the file
}

const keptBuffer = 1 << 20

// add stores attributes, and returns their offset for get.
func (k *keptAttrs) add(a *attributes) (int64, error) {
	if len(k.buf) >= keptBuffer {
		if err := k.flush(); err != nil {
			return 0, err
		}
	}
	at := k.size + int64(len(k.buf))
	k.buf = a.append(k.buf)
	return at, nil
}

func (k *keptAttrs) flush() (err error) {
	if k.file == nil {
		if k.file, err = k.open(); err != nil {
			return err
		}
	}
	if err := k.room.take(int64(len(k.buf))); err != nil {
		return err
	}
	if _, err := k.file.WriteAt(k.buf, k.size); err != nil {
		return err
	}
	k.size += int64(len(k.buf))
	if k.buf = k.buf[:0]; cap(k.buf) > 2*keptBuffer {
		k.buf = nil
	}
	return nil
}

func (k *keptAttrs) get(at int64) (*attributes, error) {
	if at >= k.size {
		a, err := readAttrs(k.buf[at-k.size:])
		return &a, err
	}
	for length := 512; ; length *= 8 {
		b := make([]byte, length)
		n, err := k.file.ReadAt(b, at)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if a, err := readAttrs(b[:n]); err == nil || n < length {
			return &a, err
		}
	}
}

func (k *keptAttrs) close() {
	if k.file != nil {
		k.file.Close()
	}
}

// append appends the encoded attributes to b.
func (a *attributes) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(a.Mode))
	b = binary.AppendUvarint(b, uint64(a.UID))
	b = binary.AppendUvarint(b, uint64(a.GID))
	b = binary.AppendVarint(b, a.Mtime.Unix())
	b = binary.AppendUvarint(b, uint64(a.Mtime.Nanosecond()))
	b = binary.AppendUvarint(b, uint64(len(a.Xattrs)))
	for _, x := range a.Xattrs {
		for _, s := range []string{x.Name, x.Value} {
			b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
		}
	}
	return b
}

// readAttrs decodes what attributes.append encoded. Other bytes may follow. It
// returns io.ErrUnexpectedEOF if b is too short.
func readAttrs(b []byte) (a attributes, err error) {
	number := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			err, b = io.ErrUnexpectedEOF, nil
			return 0
		}
		b = b[n:]
		return v
	}
	text := func() string {
		n := number()
		if n > uint64(len(b)) {
			err, b = io.ErrUnexpectedEOF, nil
			return ""
		}
		s := string(b[:n])
		b = b[n:]
		return s
	}
	a.Mode, a.UID, a.GID = uint32(number()), uint32(number()), uint32(number())
	sec, n := binary.Varint(b)
	if n <= 0 {
		return a, io.ErrUnexpectedEOF
	}
	b = b[n:]
	a.Mtime = time.Unix(sec, int64(number()))
	for count := number(); count > 0 && err == nil; count-- {
		a.Xattrs = append(a.Xattrs, attrs.Xattr{Name: text(), Value: text()})
	}
	return a, err
}
