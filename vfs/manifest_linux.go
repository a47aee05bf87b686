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

// A manifest describes a copied tree, so that unchanged files can be found
// later without reading the original. When the copy was finished, every inode
// in it had a change time before stamp, and its directories had the recorded
// inode numbers.
//
// The kernel sets an inode's change time whenever its content, attributes,
// links or name change, and user space cannot set it. The change time does not
// show when a whole directory was moved: everything below it keeps its inodes,
// but has other paths. The manifest shows that, because at the new path it does
// not have the inode number of the moved directory.
//
// Some file systems do not notice every write through a shared mapping. There
// the change time does not cover the content of regular files; see
// noticesMapped. Some do not notice that two files were exchanged. There every
// name in a changed directory is compared; see noticesExchange.
type manifest struct {
	stamp  time.Time
	dirs   dirIndex
	bodies bool // change times cover file content
	swaps  bool // change times cover exchanged names
}

// The first field of a manifest, for both versions. A manifest of version 2
// ends with a checksum of everything before it, because a stamp damaged on disk
// would hide changes from diffs.
const (
	manifestMagic  = "layerkeep vfs manifest 2"
	manifestMagic1 = "layerkeep vfs manifest 1"
)

// A recording collects the manifest of a tree while the tree is copied. It is
// in the format of the file: text fields that end in NUL, the only byte that a
// path cannot have.
type recording struct {
	dirs  bytes.Buffer // inode number and path of each directory
	count int
}

// The paths of a deep tree can take space with the square of its depth. A
// directory that is not recorded is compared with the original, as if it had
// been moved.
const (
	maxRecordedPath = 4 << 10   // bytes of one path
	maxRecorded     = 256 << 20 // bytes of all paths
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

// dirIndex holds the directories of a manifest in 16 bytes each, because there
// can be a million. It stores hashes of the paths. The hash seed is new each
// time, so nobody can choose paths with equal hashes.
type dirIndex struct {
	seed maphash.Seed
	dirs []recordedDir // sorted by inode number after sort
}

type recordedDir struct{ ino, path uint64 }

func (x *dirIndex) add(path []byte, ino uint64) {
	x.dirs = append(x.dirs, recordedDir{ino, maphash.Bytes(x.seed, path)})
}

func (x *dirIndex) sort() {
	slices.SortFunc(x.dirs, func(a, b recordedDir) int { return cmp.Compare(a.ino, b.ino) })
}

// has reports whether the directory with this inode number was copied to this
// path.
func (m *manifest) has(path string, ino uint64) bool {
	i, found := slices.BinarySearchFunc(m.dirs.dirs, ino, func(d recordedDir, ino uint64) int { return cmp.Compare(d.ino, ino) })
	return found && m.dirs.dirs[i].path == maphash.String(m.dirs.seed, path)
}

// fields reads fields that end in NUL. It keeps the first error.
type fields struct {
	from *bufio.Reader
	sum  hash.Hash // of all fields that were read so far
	long []byte
	err  error
}

// maxField limits the size of a field, in bytes. The path of 100,000 nested
// directories takes a quarter of it. A longer field cannot be from a manifest
// of this driver.
const maxField = 100 << 20

// next returns the next field. The next call overwrites it.
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
// write through a shared mapping. Disk file systems do, because they get a page
// fault when a clean page is written. tmpfs does not: a page that was read
// first is already writable, so the write causes no page fault. noticesMapped
// decides by the type of the file system, because a test write would end in
// SIGBUS on a full disk.
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
// files that are exchanged (renameat2(2) with RENAME_EXCHANGE), as it does for
// a file that is renamed. XFS sets only those of the directories.
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

// touch returns the current time of the file system: the change time of a new
// file.
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

// localTime returns the current time of a read-only file system. The file
// systems that noticesMapped accepts use the clock of this machine. For others
// localTime returns errNoClock: squashfs and erofs are made from a list of
// files and have no change times, and a network file system may use the clock
// of its server.
func localTime(path string) (time.Time, error) {
	local, err := noticesMapped(path)
	if err == nil && !local {
		err = errNoClock
	}
	return time.Now(), err
}

// laterThanNow waits until the file system's clock is later than every change
// so far, and returns that time. The clock may tick only every 10 ms.
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
