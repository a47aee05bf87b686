package vfs

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"hash/maphash"
	"io"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/durable"
)

// A manifest says how a copy can be recognised later without looking at the
// original: everything in it had an inode change time before stamp, and its
// directories had these inode numbers.
//
// The change time of an inode is set by the kernel whenever its content,
// attributes, links or name change, and user space cannot set it. The one thing
// it does not tell is that a whole directory was moved: what is below keeps its
// inodes, but at other paths. A moved directory has another inode number than
// the manifest has for that path.
//
// Where the file system does not notice every write through a shared mapping,
// the change time tells all but the content of regular files; see
// noticesMapped. Where it does not notice that two files changed places, in a
// directory that was changed nothing is taken for known; see noticesExchange.
type manifest struct {
	stamp  time.Time
	dirs   dirIndex
	bodies bool // change times tell of content too
	swaps  bool // and of exchanged names
}

// The first field of a manifest. One of the second version ends with a checksum
// of all that is before it: a stamp that the disk has changed would hide
// changes from diffs.
const (
	manifestMagic  = "layerkeep vfs manifest 2"
	manifestMagic1 = "layerkeep vfs manifest 1"
)

// A recording gathers what a manifest says of a tree while it is copied, as the
// file will have it: text fields that end in NUL, since paths can hold anything
// else.
type recording struct {
	dirs  bytes.Buffer // inode number and path of each
	count int
}

// The paths of a deep tree come to the square of its depth. What is not
// recorded is compared with the original, as if it had been moved.
const (
	maxRecordedPath = 4 << 10   // bytes of one path
	maxRecorded     = 256 << 20 // bytes of all
)

func (r *recording) add(path []byte, ino uint64) {
	if len(path) > maxRecordedPath || r.dirs.Len() > maxRecorded {
		return
	}
	fmt.Fprintf(&r.dirs, "%d\x00%s\x00", ino, path)
	r.count++
}

// save writes the manifest.
func (r *recording) save(path string, stamp time.Time) error {
	return durable.Write(durable.OS(), path, 0o600, func(w io.Writer) error {
		sum := sha256.New()
		both := io.MultiWriter(w, sum)
		_, err := fmt.Fprintf(both, "%s\x00%d\x00%d\x00%d\x00", manifestMagic, stamp.Unix(), stamp.Nanosecond(), r.count)
		if err == nil {
			_, err = both.Write(r.dirs.Bytes())
		}
		if err == nil {
			_, err = fmt.Fprintf(w, "%x\x00", sum.Sum(nil))
		}
		return err
	})
}

func loadManifest(path string) (*manifest, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	r := fields{from: bufio.NewReaderSize(file, 64<<10), sum: sha256.New()}
	magic := string(r.next())
	if magic != manifestMagic && magic != manifestMagic1 {
		return nil, fmt.Errorf("%s: not a manifest of this version", path)
	}
	m := &manifest{stamp: time.Unix(r.number(), r.number())}
	m.dirs.seed = maphash.MakeSeed()
	for range r.number() {
		if r.err != nil {
			break
		}
		ino := r.number()
		m.dirs.add(r.next(), uint64(ino))
	}
	if sum := fmt.Sprintf("%x", r.sum.Sum(nil)); magic != manifestMagic1 && string(r.next()) != sum && r.err == nil {
		return nil, fmt.Errorf("%s: it is damaged: its checksum is wrong", path)
	}
	if r.err != nil {
		return nil, fmt.Errorf("%s: %w", path, r.err)
	}
	if _, err := r.from.ReadByte(); !errors.Is(err, io.EOF) {
		return nil, errors.Join(err, fmt.Errorf("%s: it is damaged: there is more after its end", path))
	}
	m.dirs.sort()
	return m, nil
}

// dirIndex holds a manifest's directories in 16 bytes each: there can be a
// million. Nobody can know which paths have the same hash, as the seed is new
// each time.
type dirIndex struct {
	seed maphash.Seed
	dirs []recordedDir // by inode number, once sorted
}

type recordedDir struct{ ino, path uint64 }

func (x *dirIndex) add(path []byte, ino uint64) {
	x.dirs = append(x.dirs, recordedDir{ino, maphash.Bytes(x.seed, path)})
}

func (x *dirIndex) sort() {
	slices.SortFunc(x.dirs, func(a, b recordedDir) int { return cmp.Compare(a.ino, b.ino) })
}

// has reports whether the directory with this inode number was at this path.
func (m *manifest) has(path string, ino uint64) bool {
	i, found := slices.BinarySearchFunc(m.dirs.dirs, ino, func(d recordedDir, ino uint64) int { return cmp.Compare(d.ino, ino) })
	return found && m.dirs.dirs[i].path == maphash.String(m.dirs.seed, path)
}

// fields reads fields that end in NUL and keeps the first error.
type fields struct {
	from *bufio.Reader
	sum  hash.Hash // of all fields that were read
	long []byte
	err  error
}

// maxField bounds a field, in bytes: the path of 100,000 directories in each
// other takes a quarter of it. What is longer is no manifest of ours.
const maxField = 100 << 20

// next returns a field, which the next call overwrites.
func (f *fields) next() []byte {
	field, err := f.from.ReadSlice(0)
	if errors.Is(err, bufio.ErrBufferFull) {
		f.long = f.long[:0]
		for errors.Is(err, bufio.ErrBufferFull) && len(f.long) <= maxField {
			f.long = append(f.long, field...)
			field, err = f.from.ReadSlice(0)
		}
		f.long = append(f.long, field...)
		field = f.long
	}
	switch {
	case err == nil:
		f.sum.Write(field)
		return field[:len(field)-1]
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	f.err = cmp.Or(f.err, err)
	return nil
}

func (f *fields) number() int64 {
	n, err := strconv.ParseInt(string(f.next()), 10, 64)
	f.err = cmp.Or(f.err, err)
	return n
}

// noticesMapped reports whether the file system sets the change time at every
// write through a shared mapping. Those that write to a disk do, as they get a
// page fault when a clean page is written to; tmpfs does not: a page that was
// read first is writable already, and nothing tells of the write. It goes by
// the type, since a trial would end in SIGBUS on a full disk.
func noticesMapped(path string) (bool, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return false, &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	switch int64(st.Type) { //nolint:unconvert // 32 bits on some architectures
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC:
		return true, nil
	default:
		return false, nil
	}
}

// noticesExchange reports whether the file system sets the change times of two
// files that change places (renameat2(2) with RENAME_EXCHANGE), as it does of a
// file that is renamed. XFS only sets those of the directories.
func noticesExchange(path string) (bool, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return false, &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	switch int64(st.Type) { //nolint:unconvert // 32 bits on some architectures
	case unix.EXT4_SUPER_MAGIC, unix.TMPFS_MAGIC, unix.BTRFS_SUPER_MAGIC:
		return true, nil
	default:
		return false, nil
	}
}

// touch returns the file system's own time: the change time of a file made now.
func touch(dir string) (time.Time, error) {
	f, err := os.CreateTemp(dir, ".stamp-")
	if err != nil {
		return time.Time{}, err
	}
	var st unix.Stat_t
	err = unix.Fstat(int(f.Fd()), &st)
	if err = errors.Join(err, f.Close(), os.Remove(f.Name())); err != nil {
		return time.Time{}, err
	}
	return time.Unix(st.Ctim.Unix()), nil
}

// localTime is the time of a file system that nothing may be written to. Those
// that notice every change, see noticesMapped, take it from this machine's
// clock. It returns errNoClock for others: those made from a list of files,
// such as squashfs and erofs, keep no change times, and that of a server may be
// another one.
func localTime(path string) (time.Time, error) {
	local, err := noticesMapped(path)
	if err == nil && !local {
		err = errNoClock
	}
	return time.Now(), err
}

// laterThanNow waits until the file system's clock, which may tick as slowly as
// every 10 ms, is past everything that was done before, and returns that time.
func laterThanNow(ctx context.Context, dir string) (time.Time, error) {
	before, err := touch(dir)
	if err != nil {
		return before, err
	}
	for {
		now, err := touch(dir)
		if err != nil || now.After(before) {
			return now, err
		}
		select {
		case <-ctx.Done():
			return now, ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}
