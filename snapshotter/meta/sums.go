package meta

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/ownfiles"
)

// SumsSuffix, after the path of the database, gives the path of the file with
// the checksums of its pages.
//
// Looking at every page when a database is opened takes time that grows with
// the store. So a store that is closed in order leaves a mark: it names the
// state of the file that was found sound, and has a checksum for each page.
// While the mark belongs to the file, opening looks only at the first two
// pages, the root, the list of free pages, and the first pages of the buckets.
// Every other page is compared with its checksum before the library touches it
// for the first time, see pageGuard. So a bit that has flipped since then is
// found before the library uses it.
//
// The file can only save work. It is written without a sync, and may be lost,
// torn or stale. When the mark does not belong to the file, or a page does not
// match its checksum, every page is looked at, and that decides whether there
// is damage. The mark has:
//
//   - the number of the last transaction: any further transaction makes the
//     mark invalid, also one before a crash;
//   - inode number, length and change time of the file: no program can set the
//     change time, so a copy that was put back, or a file that was edited, does
//     not have the mark;
//   - the stamp of the caller that closed it, see [DB.Settle].
const SumsSuffix = ".sums"

const (
	sumsHeader  = 4096 // bytes before the checksums; the first four are the checksum of the others
	sumSize     = 4
	sumsVersion = 1
)

// A mark describes the state of a file that was found sound.
type mark struct {
	Version  int    `json:"version"`
	Txid     uint64 `json:"txid"`
	Root     uint64 `json:"root"`
	Freelist uint64 `json:"freelist"`
	Pages    uint64 `json:"pages"`
	PageSize uint32 `json:"pageSize"`
	Inode    uint64 `json:"inode"`
	Length   int64  `json:"length"`
	Changed  int64  `json:"changed"` // in nanoseconds
	Stamp    string `json:"stamp"`
}

// markOf returns the mark for the present state of a file.
func markOf(f *os.File, m metaPage, stamp string) (mark, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return mark{}, &os.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	return mark{
		Version: sumsVersion, Txid: m.txid, Root: m.root, Freelist: m.freelist, Pages: m.pages, PageSize: m.pageSize,
		Inode: st.Ino, Length: st.Size, Changed: changeTime(&st), Stamp: stamp,
	}, nil
}

// A sumsFile has the mark and the checksums of pages.
type sumsFile struct {
	file *os.File
	mark mark
}

// openSums opens the file for reading. It returns an error for a file that is
// missing or not complete.
func openSums(path string) (*sumsFile, error) {
	f, err := ownfiles.Open(path)
	if err != nil {
		return nil, err
	}
	s := &sumsFile{file: f}
	if err := s.readMark(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return s, nil
}

func (s *sumsFile) readMark() error {
	var head [sumsHeader]byte
	if _, err := s.file.ReadAt(head[:], 0); err != nil {
		return err
	}
	if binary.LittleEndian.Uint32(head[:]) != crc32.Checksum(head[4:], castagnoli) {
		return fmt.Errorf("%s: its mark is not whole", s.file.Name())
	}
	n := binary.LittleEndian.Uint32(head[4:])
	if n > sumsHeader-8 {
		return fmt.Errorf("%s: its mark is too long", s.file.Name())
	}
	return json.Unmarshal(head[8:8+n], &s.mark)
}

// sum returns the checksum of a page.
func (s *sumsFile) sum(page uint64) (uint32, error) {
	var b [sumSize]byte
	_, err := s.file.ReadAt(b[:], sumOffset(page))
	return binary.LittleEndian.Uint32(b[:]), err
}

func (s *sumsFile) Close() error {
	if s == nil {
		return nil
	}
	return s.file.Close()
}

func sumOffset(page uint64) int64 { return sumsHeader + sumSize*int64(page) } //nolint:gosec // within a file

// writeSums writes the checksums of pages, which come in the order of pages,
// and then the mark. With anew it empties the file first. Otherwise the
// checksums of other pages stay.
func writeSums(path string, m mark, sums iter.Seq2[uint64, uint32], anew bool) error {
	raw, err := json.Marshal(m)
	if err != nil || len(raw) > sumsHeader-8 {
		return errors.Join(err, os.Remove(path))
	}
	how := os.O_RDWR | os.O_CREATE
	if anew {
		how |= os.O_TRUNC
	}
	f, err := ownfiles.OpenFile(path, how, 0o600)
	if err != nil {
		return err
	}
	err = writeRuns(f, sums)
	if err == nil {
		var head [sumsHeader]byte
		binary.LittleEndian.PutUint32(head[4:], uint32(len(raw))) //nolint:gosec // a page at most
		copy(head[8:], raw)
		binary.LittleEndian.PutUint32(head[:], crc32.Checksum(head[4:], castagnoli))
		_, err = f.WriteAt(head[:], 0)
	}
	return errors.Join(err, f.Close())
}

// pageSum returns the checksum of a page. It includes the page number, so a
// page in the position of another one does not match.
func pageSum(page uint64, raw []byte) uint32 {
	return crc32.Update(crc32.Checksum(binary.LittleEndian.AppendUint64(nil, page), castagnoli), castagnoli, raw)
}

// sumsPath returns the path of the file with the checksums of a database.
func sumsPath(db string) string { return filepath.Clean(db) + SumsSuffix }
