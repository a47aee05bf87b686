package testrun

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// lockName is the file in a run's directory, and in that in memory, that its
	// leader has locked.
	lockName = "lock"
	// linkName is, in a run's directory in memory, a link to the run's directory.
	linkName = "run"
	// maxBase is how long a directory for runs may be, in bytes. The path of a
	// socket below has at most 107.
	maxBase = 34
	// shm is a tmpfs that every user of a Linux machine can write to.
	shm = "/dev/shm"
	// unborn is how old a directory without a lock is before it counts as dead: its
	// maker may be about to make the lock.
	unborn = 10 * time.Minute
)

// A Run is a run of the tests that is going on.
type Run struct {
	Dir    string // its directory
	lock   *os.File
	memory string // its directory in memory; empty where there is none

	memoryLock *os.File
}

// tempDir is the directory for temporary files as the process found it: tests
// change it for what they test.
var tempDir = os.TempDir()

// bases are the directories in which this user's runs may be, the preferred one
// first. There are several because somebody else may have one: root of a user
// namespace has the user id of the machine's root.
func bases() []string {
	places := []string{resolved(tempDir), resolved("/tmp")}
	name := "lkt" + strconv.Itoa(os.Getuid())
	if len(filepath.Join(places[0], name)) > maxBase {
		slices.Reverse(places)
	}
	var all []string
	for _, place := range slices.Compact(places) {
		for _, suffix := range []string{"", "b", "c"} {
			all = append(all, filepath.Join(place, name+suffix))
		}
	}
	return all
}

func memoryBase() string { return filepath.Join(resolved(shm), "lkt"+strconv.Itoa(os.Getuid())) }

// resolved is the path of a directory without links, which is how the kernel
// names mounts and images below it.
func resolved(dir string) string {
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		return real
	}
	return dir // it is not there, which making something in it says
}

// ours reports whether a directory is one that only this user can have made and
// can change. Everybody may make directories where those of the runs are.
func ours(dir string) bool {
	var st unix.Stat_t
	if unix.Lstat(dir, &st) != nil {
		return false
	}
	return st.Mode&unix.S_IFMT == unix.S_IFDIR && int(st.Uid) == os.Getuid() && st.Mode&0o022 == 0
}

// makeBase makes a directory for runs. Others may go through it, because the
// tests also run as nobody.
func makeBase(dir string) error {
	if err := os.Mkdir(dir, 0o711); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if !ours(dir) {
		return fmt.Errorf("%s: not a directory of this user alone (remove it, or set TMPDIR)", dir)
	}
	return os.Chmod(dir, 0o711) // whatever the umask
}

// Start begins a run, whose leader this process is. End ends it.
func Start() (*Run, error) {
	var errs error
	for _, base := range bases() {
		r, err := startIn(base)
		if err == nil {
			return r, nil
		}
		errs = errors.Join(errs, err)
	}
	return nil, errs
}

func startIn(base string) (*Run, error) {
	if err := makeBase(base); err != nil {
		return nil, fmt.Errorf("directory for test runs: %w", err)
	}
	for {
		id := strings.ToLower(rand.Text()[:8])
		dir := filepath.Join(base, id)
		lock, err := makeLocked(dir)
		if errors.Is(err, fs.ErrExist) || errors.Is(err, errTaken) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("start a test run in %s: %w", base, err)
		}
		r := &Run{Dir: dir, lock: lock}
		r.startMemory(id)
		return r, nil
	}
}

// errTaken says that somebody else has the lock, or has removed the file.
var errTaken = errors.New("the lock is taken")

// makeLocked makes a directory with a lock that this process has.
func makeLocked(dir string) (*os.File, error) {
	if err := os.Mkdir(dir, 0o711); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if err := take(lock); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

// take locks a file that is still where it was opened.
func take(lock *os.File) error {
	err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return errTaken
	}
	if err != nil {
		return &os.PathError{Op: "lock", Path: lock.Name(), Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(lock.Fd()), &st); err != nil {
		return &os.PathError{Op: "stat", Path: lock.Name(), Err: err}
	}
	if st.Nlink == 0 {
		return errTaken
	}
	return nil
}

// startMemory makes the run's directory in memory, where that can be had. It
// has a lock of its own: who shares the memory need not see the run's
// directory.
func (r *Run) startMemory(id string) {
	if makeBase(memoryBase()) != nil {
		return
	}
	dir := filepath.Join(memoryBase(), id)
	lock, err := makeLocked(dir)
	if err != nil {
		return // it is only a faster place
	}
	if os.Symlink(r.Dir, filepath.Join(dir, linkName)) != nil {
		_ = clear(dir) // a later run can do it too
		_ = lock.Close()
		return
	}
	r.memory, r.memoryLock = dir, lock
}

// End removes all that the run has made, and gives the locks back.
func (r *Run) End() error {
	var err error
	if r.memory != "" {
		err = errors.Join(clear(r.memory), r.memoryLock.Close())
	}
	return errors.Join(err, clear(r.Dir), r.lock.Close())
}

// clear removes a directory of a run: last the link and the lock, which say
// whose it is, so that what cannot be removed now is found again.
func clear(dir string) error {
	if err := Clean(dir); err != nil {
		return err
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range names {
		if e.Name() != linkName && e.Name() != lockName {
			err = errors.Join(err, RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	if err != nil {
		return err
	}
	for _, name := range []string{linkName, lockName} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := os.Remove(dir); err != nil {
		return err
	}
	return dropBase(filepath.Dir(dir))
}

// dropBase removes the directory for runs when it is empty. A run that begins
// just now makes it again.
func dropBase(base string) error {
	err := os.Remove(base)
	if errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
