package cutdisk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// A Kind is what the kernel asked the disk for.
type Kind uint32

// The requests that a log holds.
const (
	// Write is a write of bytes.
	Write Kind = iota + 1
	// Zero makes a range of the disk read as zeros: a discard, or a write of zeros.
	Zero
	// Flush says that all before it is on the disk for good. A write that the
	// kernel wants to be durable by itself (FUA) is a write and a flush, as the
	// disk says that it knows no other.
	Flush
)

// A Record is one request.
type Record struct {
	Kind   Kind
	Offset int64
	Length int64
	// Data is what was written, nil unless it is a Write.
	Data []byte
}

const recordHeader = 24 // bytes: kind, zero, offset, length

// append writes a record at the end of a log. Who asks for the log's length
// meanwhile may see a part of it.
func (r Record) append(log *os.File) error {
	b := make([]byte, recordHeader, recordHeader+len(r.Data))
	binary.LittleEndian.PutUint32(b, uint32(r.Kind))
	binary.LittleEndian.PutUint64(b[8:], uint64(r.Offset))
	binary.LittleEndian.PutUint64(b[16:], uint64(r.Length))
	_, err := log.Write(append(b, r.Data...))
	return err
}

// A Log is what was asked of a disk, in the order in which it was done.
type Log struct {
	Records []Record
	// ends are the positions behind each record, in bytes of the file.
	ends []int64
}

var errLog = errors.New("not a log of a disk")

// parseLog reads a log.
func parseLog(b []byte) (*Log, error) {
	l, at := &Log{}, int64(0)
	for int64(len(b)) > at {
		rest := b[at:]
		if len(rest) < recordHeader {
			return nil, fmt.Errorf("%w: %w at byte %d", errLog, io.ErrUnexpectedEOF, at)
		}
		r := Record{
			Kind:   Kind(binary.LittleEndian.Uint32(rest)),
			Offset: int64(binary.LittleEndian.Uint64(rest[8:])),
			Length: int64(binary.LittleEndian.Uint64(rest[16:])),
		}
		at += recordHeader
		switch r.Kind {
		case Write:
			if r.Length < 0 || int64(len(rest)) < recordHeader+r.Length {
				return nil, fmt.Errorf("%w: %w at byte %d", errLog, io.ErrUnexpectedEOF, at)
			}
			r.Data = rest[recordHeader : recordHeader+r.Length]
			at += r.Length
		case Zero, Flush:
		default:
			return nil, fmt.Errorf("%w: kind %d at byte %d", errLog, r.Kind, at)
		}
		l.Records, l.ends = append(l.Records, r), append(l.ends, at)
	}
	return l, nil
}
