package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/rmtree"
	"github.com/layerkeep/layerkeep/internal/subvol"
)

// A Scratch is a directory of one run.
type Scratch struct {
	dir  string
	lock *os.File
}

// Open makes a directory for a run in dir, and removes what killed runs have
// left there. While it is open, another Open of dir returns [ErrInUse].
func Open(dir string) (*Scratch, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	s, err := open(dir, lock)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return s, nil
}

// take locks the file. A process that a killed run was just starting has the
// lock for a moment longer.
func take(lock *os.File) error {
	for start := time.Now(); ; time.Sleep(lockPause) {
		err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Since(start) > lockPatience {
			return err
		}
	}
}

const (
	lockPatience = 2 * time.Second
	lockPause    = 20 * time.Millisecond
)

func open(dir string, lock *os.File) (*Scratch, error) {
	err := take(lock)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, fmt.Errorf("%s: %w", dir, ErrInUse)
	}
	if err != nil {
		return nil, &os.PathError{Op: "lock", Path: dir, Err: err}
	}
	if err := sweep(dir, lock); err != nil {
		return nil, err
	}
	own, err := os.MkdirTemp(dir, Prefix)
	if err != nil {
		return nil, err
	}
	return &Scratch{dir: own, lock: lock}, nil
}

// sweep removes what killed runs have left.
func sweep(dir string, lock *os.File) error {
	names, err := lock.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !strings.HasPrefix(name, Prefix) {
			continue
		}
		path := filepath.Join(dir, name)
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return &os.PathError{Op: "lstat", Path: path, Err: err}
		}
		// Only ours: in a directory such as /tmp others can make such names, too.
		if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Geteuid() {
			continue
		}
		if err := remove(path); err != nil {
			return fmt.Errorf("remove what an earlier run has left: %w", err)
		}
	}
	return nil
}

// Close unmounts and removes all that was made.
func (s *Scratch) Close() error { return errors.Join(remove(s.dir), s.lock.Close()) }

// remove unmounts what is mounted below a directory and removes it.
func remove(dir string) error {
	below, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		return err
	}
	for _, m := range slices.Backward(below) {
		err := unix.Unmount(m.Mountpoint, unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EBUSY) { // a program that was measured has not ended yet
			err = unix.Unmount(m.Mountpoint, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		}
		if err != nil {
			return &os.PathError{Op: "unmount", Path: m.Mountpoint, Err: err}
		}
	}
	return Remove(dir)
}

// Remove removes a directory with all that is in it, subvolumes of btrfs too.
func Remove(dir string) error {
	if err := removeSubvolumes(dir); err != nil {
		return err
	}
	return rmtree.Remove(dir)
}

// removeSubvolumes removes the subvolumes below a directory. Files in one that
// is read-only could not be removed otherwise.
func removeSubvolumes(dir string) error {
	f, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if on, err := subvol.OnBtrfs(f); err != nil || !on {
		return err
	}
	entries, err := f.ReadDir(-1)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		path := filepath.Join(dir, e.Name())
		is, err := isSubvolume(path)
		if err == nil && is {
			_, err = subvol.DestroyAll(f, e.Name())
		} else if err == nil {
			err = removeSubvolumes(path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func isSubvolume(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	return subvol.IsSubvolume(f)
}

// Directory returns a place in the scratch directory itself.
func (s *Scratch) Directory(name string) (*Place, error) {
	dir, err := s.Path(name)
	if err != nil {
		return nil, err
	}
	return newPlace(name, dir)
}

// Path makes an empty directory of that name.
func (s *Scratch) Path(name string) (string, error) {
	dir := filepath.Join(s.dir, name)
	return dir, os.Mkdir(dir, 0o700)
}

// mkfs has the arguments of the programs that make file systems. All else is as
// they have it by default, but for work that ext4 would do later, in the middle
// of what is measured.
var mkfs = map[string][]string{
	"ext4":  {"-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"},
	"xfs":   {"-q", "-m", "reflink=1"},
	"btrfs": {"-q"},
}

// Image makes a file system of a kind and a size in bytes, in a loop device,
// and mounts it. more are further arguments of the program that makes it.
func (s *Scratch) Image(ctx context.Context, name, kind string, size int64, more ...string) (*Place, error) {
	target, err := s.Path(name)
	if err != nil {
		return nil, err
	}
	if kind == Tmpfs {
		err = unix.Mount("layerkeep-bench", target, kind, 0, "mode=0700")
	} else {
		err = mountNew(ctx, filepath.Join(s.dir, name+imageSuffix), target, kind, size, more)
	}
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(target, "bench")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	p, err := newPlace(name, dir)
	if err != nil {
		return nil, err
	}
	below, err := mountOf(s.dir)
	if err != nil {
		return nil, err
	}
	p.Own = true
	if kind != Tmpfs {
		p.Device = fmt.Sprintf("a loop device over a file on %s", below.FSType)
	}
	return p, nil
}

const imageSuffix = ".img"

// mountNew makes a file system in a file and mounts it.
func mountNew(ctx context.Context, image, target, kind string, size int64, more []string) error {
	args, ok := mkfs[kind]
	if !ok {
		return fmt.Errorf("%w: no disk of %s can be made; choose %s", ErrUnsupported, kind, strings.Join(FileSystems(), ", "))
	}
	program, err := exec.LookPath("mkfs." + kind)
	if err != nil {
		return fmt.Errorf("%w: mkfs.%s is not installed", ErrUnsupported, kind)
	}
	if err := sparse(image, size); err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, program, slices.Concat(args, more, []string{image})...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("mkfs.%s: %w: %s", kind, err, bytes.TrimSpace(out))
	}
	return mountLoop(image, target, kind)
}

// Discard unmounts and removes a place, to make room.
func (s *Scratch) Discard(p *Place) error {
	err := remove(filepath.Join(s.dir, p.Name))
	if image := os.Remove(filepath.Join(s.dir, p.Name+imageSuffix)); !errors.Is(image, fs.ErrNotExist) {
		err = errors.Join(err, image)
	}
	return err
}

func sparse(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Close())
}

// Room returns how many bytes are free in the scratch directory.
func (s *Scratch) Room() (free int64, err error) {
	_, free, err = room(s.dir)
	return free, err
}
