package sys_test

import (
	"errors"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/sys"
)

// callOps has all functions of the package. They run in a directory with a
// regular file "f" that has a user attribute, an empty directory "d", and a
// fifo "p".
var callOps = map[string]func(dir, file int) error{
	"Openat":            func(dir, _ int) error { return closed(sys.Openat(dir, "f", unix.O_RDONLY, 0)) },
	"OpenDirat":         func(dir, _ int) error { return closed(sys.OpenDirat(dir, "d")) },
	"Mkdirat":           func(dir, _ int) error { return sys.Mkdirat(dir, "new", 0o700) },
	"Mknodat":           func(dir, _ int) error { return sys.Mknodat(dir, "new", unix.S_IFIFO|0o600, 0) },
	"Symlinkat":         func(dir, _ int) error { return sys.Symlinkat("to", dir, "new") },
	"Linkat":            func(dir, _ int) error { return sys.Linkat(dir, "f", dir, "new") },
	"Renameat2":         func(dir, _ int) error { return sys.Renameat2(dir, "f", dir, "new", unix.RENAME_NOREPLACE) },
	"Unlinkat":          func(dir, _ int) error { return sys.Unlinkat(dir, "f") },
	"Rmdirat":           func(dir, _ int) error { return sys.Rmdirat(dir, "d") },
	"Fstatat":           func(dir, _ int) error { return second(sys.Fstatat(dir, "f")) },
	"Fstat":             func(_, file int) error { return second(sys.Fstat(file)) },
	"Fchownat":          func(dir, _ int) error { return sys.Fchownat(dir, "f", uint32(os.Getuid()), uint32(os.Getgid())) },
	"Fchown":            func(_, file int) error { return sys.Fchown(file, uint32(os.Getuid()), uint32(os.Getgid())) },
	"Fchmod":            func(_, file int) error { return sys.Fchmod(file, 0o640) },
	"Fchmodat":          func(dir, _ int) error { return sys.Fchmodat(dir, "p", 0o640, false) },
	"Fchmodat by /proc": func(dir, _ int) error { return sys.Fchmodat(dir, "p", 0o640, true) },
	"Futimens":          func(_, file int) error { return sys.Futimens(file, &[2]unix.Timespec{}) },
	"Utimensat":         func(dir, _ int) error { return sys.Utimensat(dir, "f", &[2]unix.Timespec{}) },
	"Fsetxattr":         func(_, file int) error { return sys.Fsetxattr(file, "user.x", []byte("2")) },
	"Fremovexattr":      func(_, file int) error { return sys.Fremovexattr(file, "user.x") },
	"Fgetxattr":         func(_, file int) error { return third(sys.Fgetxattr(file, "user.x")) },
	"Lgetxattrat":       func(dir, _ int) error { return third(sys.Lgetxattrat(dir, "f", "user.x")) },
	"Lsetxattrat":       func(dir, _ int) error { return sys.Lsetxattrat(dir, "f", "user.x", []byte("2")) },
	"Lremovexattrat":    func(dir, _ int) error { return sys.Lremovexattrat(dir, "f", "user.x") },
	"Flistxattr":        func(_, file int) error { return second(sys.Flistxattr(file)) },
	"Thaw":              func(_, file int) error { return sys.Thaw(file) },
	"Thawat":            func(dir, _ int) error { return sys.Thawat(dir, "f") },
	"ReadDir": func(dir, _ int) error {
		return sys.ReadDir(dir, func(string, uint8) error { return nil })
	},
}

func closed(fd int, err error) error {
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

func second[T any](_ T, err error) error { return err }

func third[T any](_ T, ok bool, err error) error {
	if err == nil && !ok {
		return errors.New("there is no such attribute")
	}
	return err
}

// callBed makes the directory for callOps.
func callBed(t *testing.T, dir string) (d, file int) {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir+"/d", 0o700))
	require.NoError(t, os.WriteFile(dir+"/f", []byte("f"), 0o600))
	require.NoError(t, unix.Setxattr(dir+"/f", "user.x", []byte("1"), 0))
	require.NoError(t, unix.Mkfifo(dir+"/p", 0o600))
	d, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	file, err = unix.Open(dir+"/f", unix.O_RDWR|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	return d, file
}

// Each function returns the error of each of its system calls, leaves the
// directory unchanged, and works the next time. A call that a signal interrupts
// is made again.
func TestEachFunctionReturnsTheErrorOfEachOfItsSystemCalls(t *testing.T) {
	calls := fstest.NewCalls(t)
	root := fstest.Quick(t)
	for name, op := range callOps {
		t.Run(name, func(t *testing.T) {
			bed := 0
			try := func(n int, errno unix.Errno) (err error, made int, failed string) {
				bed++
				dir := root + "/" + t.Name() + string(rune('a'+bed))
				d, file := callBed(t, dir)
				defer unix.Close(d)
				defer unix.Close(file)
				before, open := fstest.FromPath(t, dir), fstest.OpenDescriptors(t)
				made, failed = calls.Fail(t, n, errno, func() { err = op(d, file) })
				require.Equal(t, open, fstest.OpenDescriptors(t), "descriptors")
				if err != nil {
					fstest.RequireEqual(t, before, fstest.FromPath(t, dir), "after "+failed)
					_, err := unix.Seek(d, 0, 0)
					require.NoError(t, err)
					require.NoError(t, op(d, file), "the next try")
				}
				return err, made, failed
			}
			err, made, _ := try(0, 0)
			require.NoError(t, err)
			require.Positive(t, made)
			for n := 1; n <= made; n++ {
				for _, errno := range []unix.Errno{unix.EIO, unix.ENOSPC, unix.EDQUOT, unix.EROFS} {
					err, _, failed := try(n, errno)
					require.ErrorIs(t, err, errno, failed)
				}
				err, _, failed := try(n, unix.EINTR)
				require.NoError(t, err, "%s, interrupted", failed)
			}
		})
	}
}

func TestAFileSystemWithoutFlagsHasNothingToThaw(t *testing.T) {
	calls := fstest.NewCalls(t)
	d, file := callBed(t, fstest.Quick(t))
	defer unix.Close(d)
	defer unix.Close(file)
	for _, errno := range []unix.Errno{unix.ENOTTY, unix.EOPNOTSUPP, unix.EINVAL, unix.ENOSYS, unix.EPERM} {
		var err error
		_, failed := calls.Fail(t, 1, errno, func() { err = sys.Thaw(file) })
		require.Equal(t, "ioctl", failed)
		require.NoError(t, err, errno)
	}
}
