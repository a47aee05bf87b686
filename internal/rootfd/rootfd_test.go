//go:build linux

package rootfd_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/rootfd"
)

// eachWay runs a test with the fast paths and with each fallback forced.
func eachWay(t *testing.T, run func(t *testing.T, open func(path string) *rootfd.Dir)) {
	for name, opts := range map[string]rootfd.Options{
		"fast":          {},
		"no openat2":    {NoOpenat2: true},
		"no getxattrat": {NoXattrat: true},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(path string) *rootfd.Dir {
				d, err := rootfd.Open(path, opts)
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, d.Close()) })
				return d
			})
		})
	}
}

func TestDirShowsWhatIsOnDisk(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(root, "d"), 0o751))
	require.NoError(t, os.WriteFile(filepath.Join(root, "f"), []byte("body"), 0o640))
	require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(root, "l")))
	require.NoError(t, os.Symlink(strings.Repeat("x", 4000), filepath.Join(root, "long")))
	require.NoError(t, unix.Mkfifo(filepath.Join(root, "p"), 0o600))
	eachWay(t, func(t *testing.T, open func(string) *rootfd.Dir) {
		d := open(root)
		want := []string{"d", "f", "l", "long", "p"}
		for range 2 { // the second listing starts at the beginning
			names, err := d.Names()
			require.NoError(t, err)
			require.Equal(t, want, names)
		}
		entries, err := d.Entries()
		require.NoError(t, err)
		require.Len(t, entries, len(want))
		for i, e := range entries {
			st, err := d.Lookup(e.Name)
			require.NoError(t, err)
			require.Equal(t, want[i], e.Name)
			require.Equal(t, st.Ino, e.Ino)
			require.Contains(t, []uint32{0, st.Type()}, e.Type)
		}
		st, err := d.Lookup("f")
		require.NoError(t, err)
		fi, err := os.Lstat(filepath.Join(root, "f"))
		require.NoError(t, err)
		require.True(t, st.IsRegular())
		require.EqualValues(t, 4, st.Size)
		require.True(t, fi.ModTime().Equal(st.Mtime))
		require.Equal(t, fi.Sys().(*syscall.Stat_t).Ino, st.Ino)
		target, err := d.Readlink("l")
		require.NoError(t, err)
		require.Equal(t, "/etc/passwd", target)
		target, err = d.Readlink("long")
		require.NoError(t, err)
		require.Len(t, target, 4000)
		f, err := d.Open("f")
		require.NoError(t, err)
		body, err := io.ReadAll(f)
		require.NoError(t, err)
		require.Equal(t, "body", string(body))
		require.NoError(t, f.Close())
		require.ErrorIs(t, f.Close(), os.ErrClosed)
	})
}

func TestAListingOfManyNamesIsWholeAndSorted(t *testing.T) {
	root := t.TempDir()
	var want []string
	for i := range 3000 { // needs several getdents64(2) calls
		name := strconv.Itoa(i) + strings.Repeat("n", 60)
		want = append(want, name)
		require.NoError(t, unix.Mkdir(filepath.Join(root, name), 0o700))
	}
	slices.Sort(want)
	d, err := rootfd.Open(root, rootfd.Options{})
	require.NoError(t, err)
	defer d.Close()
	names, err := d.Names()
	require.NoError(t, err)
	require.Equal(t, want, names)
}

func TestNothingLeadsOutOfADir(t *testing.T) {
	outside := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(outside, "secret"), []byte("x"), 0o600))
	root := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(root, "d/e"), 0o700))
	require.NoError(t, os.Symlink(outside, filepath.Join(root, "out")))
	require.NoError(t, os.Symlink("d", filepath.Join(root, "in")))
	require.NoError(t, os.Symlink(filepath.Join(outside, "secret"), filepath.Join(root, "f")))
	require.NoError(t, os.Symlink("/proc/self/root", filepath.Join(root, "magic")))
	eachWay(t, func(t *testing.T, open func(string) *rootfd.Dir) {
		d := open(root)
		for _, name := range []string{"", ".", "..", "d/e", "/", "../x", "d\x00", "/etc"} {
			_, err := d.Lookup(name)
			require.Error(t, err, "%q", name)
			_, err = d.OpenDir(name)
			require.Error(t, err, "%q", name)
			_, err = d.Open(name)
			require.Error(t, err, "%q", name)
			_, err = d.Readlink(name)
			require.Error(t, err, "%q", name)
			_, err = d.LookupXattrs(name)
			require.Error(t, err, "%q", name)
			_, _, err = d.LookupXattr(name, "user.x")
			require.Error(t, err, "%q", name)
		}
		for _, name := range []string{"out", "in", "magic"} {
			_, err := d.OpenDir(name)
			require.ErrorIs(t, err, unix.ENOTDIR)
		}
		_, err := d.Open("f")
		require.Error(t, err)
		for _, path := range []string{"out", "in/e", "magic/etc", "out/secret", "f"} {
			_, err := d.OpenDirAt(path)
			require.ErrorIs(t, err, unix.ENOTDIR, path)
		}
		for _, path := range []string{"..", "../x", "/", "/etc", "d/../../x"} {
			_, err := d.OpenDirAt(path)
			require.Error(t, err, path)
			_, err = d.LookupAt(path)
			require.Error(t, err, path)
		}
		_, err = d.LookupAt("out/secret")
		require.ErrorIs(t, err, unix.ENOTDIR)
	})
}

func TestOpenDirAtOpensWhatIsBelow(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(root, "a/b/c"), 0o700))
	eachWay(t, func(t *testing.T, open func(string) *rootfd.Dir) {
		d := open(root)
		for _, path := range []string{".", "a", "a/b/c", "a/./b/"} {
			sub, err := d.OpenDirAt(path)
			require.NoError(t, err)
			got, err := sub.Stat()
			require.NoError(t, err)
			want, err := d.LookupAt(path)
			require.NoError(t, err)
			require.Equal(t, want, got)
			require.NoError(t, sub.Close())
		}
		_, err := d.OpenDirAt("a/missing/c")
		require.ErrorIs(t, err, fs.ErrNotExist)
	})
}

func TestFifosAndDevicesAreNotOpened(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, unix.Mkfifo(filepath.Join(root, "p"), 0o600))
	d, err := rootfd.Open(root, rootfd.Options{})
	require.NoError(t, err)
	defer d.Close()
	_, err = d.Open("p") // would block without a writer
	require.ErrorContains(t, err, "not a regular file")
	dev, err := rootfd.Open("/dev", rootfd.Options{})
	require.NoError(t, err)
	defer dev.Close()
	_, err = dev.Open("null")
	require.ErrorContains(t, err, "not a regular file")
}

func TestXattrsOfEveryTypeOfFile(t *testing.T) {
	root := t.TempDir()
	set := func(name, attr, value string) {
		if err := unix.Lsetxattr(filepath.Join(root, name), attr, []byte(value), 0); err != nil {
			t.Skipf("needs a file system with %s here: %v", attr, err)
		}
	}
	require.NoError(t, os.WriteFile(filepath.Join(root, "f"), nil, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(root, "none"), nil, 0o600))
	require.NoError(t, os.Symlink("f", filepath.Join(root, "l")))
	set("f", "user.empty", "")
	set("f", "user.long", strings.Repeat("v", 3000))
	set(".", "user.root", "r")
	privileged := os.Geteuid() == 0
	if privileged {
		set("l", "trusted.l", "t")
	}
	eachWay(t, func(t *testing.T, open func(string) *rootfd.Dir) {
		d := open(root)
		own, err := d.Xattrs()
		require.NoError(t, err)
		require.Equal(t, "r", own["user.root"])
		value, ok, err := d.Xattr("user.root")
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, "r", value)
		attrs, err := d.LookupXattrs("f")
		require.NoError(t, err)
		require.Contains(t, attrs, "user.empty")
		require.Len(t, attrs["user.long"], 3000)
		_, ok, err = d.LookupXattr("f", "user.other")
		require.NoError(t, err)
		require.False(t, ok)
		value, ok, err = d.LookupXattr("f", "user.empty")
		require.NoError(t, err)
		require.True(t, ok)
		require.Empty(t, value)
		attrs, err = d.LookupXattrs("none")
		require.NoError(t, err)
		require.NotContains(t, attrs, "user.empty")
		attrs, err = d.LookupXattrs("l") // of the symbolic link, not of f
		require.NoError(t, err)
		require.NotContains(t, attrs, "user.empty")
		if privileged {
			require.Equal(t, "t", attrs["trusted.l"])
		}
		_, err = d.LookupXattrs("missing")
		require.ErrorIs(t, err, fs.ErrNotExist)
	})
}

func TestErrorsNameTheFile(t *testing.T) {
	root := t.TempDir()
	f, err := os.Open(root)
	require.NoError(t, err)
	defer f.Close()
	d, err := rootfd.FromFile(f, rootfd.Options{})
	require.NoError(t, err)
	defer d.Close()
	for _, call := range []func() error{
		func() error { _, err := d.Lookup("gone"); return err },
		func() error { _, err := d.Open("gone"); return err },
		func() error { _, err := d.OpenDir("gone"); return err },
		func() error { _, err := d.Readlink("gone"); return err },
		func() error { _, _, err := d.LookupXattr("gone", "user.x"); return err },
	} {
		err := call()
		var pathErr *fs.PathError
		require.True(t, errors.As(err, &pathErr))
		require.Equal(t, filepath.Join(root, "gone"), pathErr.Path)
		require.ErrorIs(t, err, fs.ErrNotExist)
	}
	_, err = rootfd.Open(filepath.Join(root, "gone"), rootfd.Options{})
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestADirCanBeOpenedFromAPathOnlyDescriptor(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(root, "d"), 0o700))
	fd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	f := os.NewFile(uintptr(fd), root)
	defer f.Close()
	d, err := rootfd.FromFile(f, rootfd.Options{})
	require.NoError(t, err)
	defer d.Close()
	names, err := d.Names()
	require.NoError(t, err)
	require.Equal(t, []string{"d"}, names)
}
