package sys

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func tempDir(t *testing.T) (string, int) {
	t.Helper()
	dir := t.TempDir()
	f, err := os.Open(dir)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return dir, int(f.Fd())
}

func TestNothingFollowsASymbolicLink(t *testing.T) {
	dir, fd := tempDir(t)
	target := filepath.Join(dir, "target")
	require.NoError(t, os.WriteFile(target, []byte("x"), 0o600))
	require.NoError(t, Symlinkat("target", fd, "link"))
	_, err := Openat(fd, "link", unix.O_WRONLY|unix.O_CREAT, 0o600)
	require.ErrorIs(t, err, unix.ELOOP)
	for _, no := range []bool{false, true} {
		require.Error(t, Fchmodat(fd, "link", 0o777, no), "without fchmodat2: %v", no)
	}
	then := time.Unix(-7, 5)
	ts := unix.Timespec{Sec: then.Unix(), Nsec: int64(then.Nanosecond())}
	require.NoError(t, Utimensat(fd, "link", &[2]unix.Timespec{ts, ts}))
	require.NoError(t, Linkat(fd, "link", fd, "link2"))
	st, err := Fstatat(fd, "link2")
	require.NoError(t, err)
	require.EqualValues(t, unix.S_IFLNK, st.Mode&unix.S_IFMT, "the link itself got a second name")
	require.Equal(t, ts, st.Mtim)
	info, err := os.Stat(target)
	require.NoError(t, err)
	require.EqualValues(t, 0o600, info.Mode().Perm())
	require.NotEqual(t, then, info.ModTime())
}

func TestFchmodatSetsAllBitsWithAndWithoutTheSystemCall(t *testing.T) {
	_, fd := tempDir(t)
	require.NoError(t, Mknodat(fd, "fifo", unix.S_IFIFO|0o600, 0)) // opening it would block
	for mode, no := range map[uint32]bool{0o4751: false, 0o2642: true} {
		require.NoError(t, Fchmodat(fd, "fifo", mode, no))
		st, err := Fstatat(fd, "fifo")
		require.NoError(t, err)
		require.Equal(t, mode, st.Mode&0o7777)
	}
}

func TestFutimensSetsNanosecondsBeforeTheEpoch(t *testing.T) {
	_, fd := tempDir(t)
	file, err := Openat(fd, "f", unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, 0o644)
	require.NoError(t, err)
	defer unix.Close(file)
	ts := unix.Timespec{Sec: -2, Nsec: 999_999_999}
	require.NoError(t, Futimens(file, &[2]unix.Timespec{ts, ts}))
	st, err := Fstat(file)
	require.NoError(t, err)
	require.Equal(t, ts, st.Mtim)
	flags, err := unix.FcntlInt(uintptr(file), unix.F_GETFD, 0)
	require.NoError(t, err)
	require.NotZero(t, flags&unix.FD_CLOEXEC, "close-on-exec is set")
}

func TestErrorsNameTheOperationAndThePath(t *testing.T) {
	_, fd := tempDir(t)
	var perr *os.PathError
	require.True(t, errors.As(Mkdirat(fd, "no/such", 0o755), &perr))
	require.Equal(t, "mkdirat", perr.Op)
	require.Equal(t, "no/such", perr.Path)
	_, err := Fstatat(fd, "missing")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorIs(t, Unlinkat(fd, "missing"), fs.ErrNotExist)
	require.ErrorIs(t, Rmdirat(fd, "missing"), fs.ErrNotExist)
	require.ErrorIs(t, Renameat2(fd, "missing", fd, "x", 0), fs.ErrNotExist)
	require.ErrorIs(t, Linkat(fd, "missing", fd, "x"), fs.ErrNotExist)
	require.ErrorIs(t, Fchownat(fd, "missing", 0, 0), fs.ErrNotExist)
}

func TestXattrsOfAnyLengthAreRead(t *testing.T) {
	_, fd := tempDir(t)
	file, err := Openat(fd, "f", unix.O_CREAT|unix.O_RDWR, 0o600)
	require.NoError(t, err)
	defer unix.Close(file)
	if err := Fsetxattr(file, "user.probe", nil); errors.Is(err, unix.ENOTSUP) {
		t.Skip("the file system of the temporary directory has no user attributes")
	}
	for name, value := range map[string][]byte{"user.empty": {}, "user.short": []byte("v"), "user.long": make([]byte, 3000)} {
		require.NoError(t, Fsetxattr(file, name, value))
		got, ok, err := Fgetxattr(file, name)
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, value, append([]byte{}, got...), name)
		got, ok, err = Lgetxattrat(fd, "f", name)
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, value, append([]byte{}, got...), name)
	}
	names, err := Flistxattr(file)
	require.NoError(t, err)
	require.Subset(t, names, []string{"user.empty", "user.short", "user.long"})
	require.NoError(t, Fremovexattr(file, "user.short"))
	_, ok, err := Fgetxattr(file, "user.short")
	require.NoError(t, err)
	require.False(t, ok)
}

func TestReadDirListsAllNamesAndTypes(t *testing.T) {
	dir, fd := tempDir(t)
	want := map[string]uint8{"d": unix.DT_DIR, "l": unix.DT_LNK}
	require.NoError(t, Mkdirat(fd, "d", 0o755))
	require.NoError(t, Symlinkat("x", fd, "l"))
	for i := range 2000 { // more than one buffer
		name := "a rather long name of a file, number " + string(rune('a'+i%26)) + time.Duration(i).String()
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
		want[name] = unix.DT_REG
	}
	got := map[string]uint8{}
	require.NoError(t, ReadDir(fd, func(name string, typ uint8) error {
		got[name] = typ
		return nil
	}))
	require.Equal(t, want, got)
	stop := errors.New("stop")
	again, err := OpenDirat(fd, ".")
	require.NoError(t, err)
	defer unix.Close(again)
	require.ErrorIs(t, ReadDir(again, func(string, uint8) error { return stop }), stop)
}
