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

// SumsSuffix follows the path of the database in that of the file with the
// checksums of its pages.
//
// Looking at every page when a database is opened costs what grows with the
// store. So a store that is closed in order leaves a mark: which state of which
// file was found sound, and a checksum for each page of it. As long as the mark
// is that of the file, opening looks at no page but the first two, the root and
// the list of free pages, and every other page is compared with its checksum
// before the library touches it for the first time, see pageGuard. So a bit
// that has flipped meanwhile is found when it matters, and never followed.
//
// The file is only ever a reason to look less. It is written without a sync and
// may be lost, torn or stale. A mark that is not that of the file, and a page
// that is not that of its checksum, lead to the look at every page that says
// what is damage and what is not. The mark names:
//
//   - the number of the last transaction: after any other, a crash included, it
//     is void;
//   - inode, length and change time of the file, which no program can set: a
//     copy that was put back, or a file that was edited, is none that was found
//     sound;
//   - the stamp of whoever closed it, see [DB.Settle].
const SumsSuffix = ".sums"

const (
	sumsHeader  = 4096 // bytes before the checksums; the first four are that of the rest
	sumSize     = 4
	sumsVersion = 1
)

// A mark says which state of a file was found sound.
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

// markOf is the mark of a file as it is now.
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

// A sumsFile holds the mark and the checksums of pages.
type sumsFile struct {
	file *os.File
	mark mark
}

// openSums opens the file for reading. A missing one, and one that is not
// whole, has no mark.
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

// writeSums writes the checksums of pages, which come by rising page, and then
// the mark. What the file says of other pages stays, unless it is to be made
// anew.
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

// pageSum is the checksum of a page. Its number is in it, so that a page in the
// place of another is found.
func pageSum(page uint64, raw []byte) uint32 {
	return crc32.Update(crc32.Checksum(binary.LittleEndian.AppendUint64(nil, page), castagnoli), castagnoli, raw)
}

// sumsPath is where the checksums of a database are.
func sumsPath(db string) string { return filepath.Clean(db) + SumsSuffix }
