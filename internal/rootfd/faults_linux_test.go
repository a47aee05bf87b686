package rootfd_test

import (
	"errors"
	"io"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/rootfd"
)

// readOps has all functions of the package that read. Each returns what it has
// read of a directory with a regular file "f", a symbolic link "l", and
// directories "d/e".
var readOps = map[string]func(d *rootfd.Dir) (any, error){
	"Stat":         func(d *rootfd.Dir) (any, error) { return d.Stat() },
	"Lookup":       func(d *rootfd.Dir) (any, error) { return d.Lookup("f") },
	"LookupAt":     func(d *rootfd.Dir) (any, error) { return d.LookupAt("d/e") },
	"LookupAt .":   func(d *rootfd.Dir) (any, error) { return d.LookupAt(".") },
	"Names":        func(d *rootfd.Dir) (any, error) { return d.Names() },
	"Entries":      func(d *rootfd.Dir) (any, error) { return d.Entries() },
	"Readlink":     func(d *rootfd.Dir) (any, error) { return d.Readlink("l") },
	"Xattrs":       func(d *rootfd.Dir) (any, error) { return d.Xattrs() },
	"LookupXattrs": func(d *rootfd.Dir) (any, error) { return d.LookupXattrs("f") },
	"XattrNames":   func(d *rootfd.Dir) (any, error) { return d.XattrNames("f") },
	"Xattr":        func(d *rootfd.Dir) (any, error) { return value(d.Xattr("user.x")) },
	"LookupXattr":  func(d *rootfd.Dir) (any, error) { return value(d.LookupXattr("f", "user.x")) },
	"OpenDir":      func(d *rootfd.Dir) (any, error) { return pathOf(d.OpenDir("d")) },
	"OpenDirAt":    func(d *rootfd.Dir) (any, error) { return pathOf(d.OpenDirAt("d/e")) },
	"OpenDirAt .":  func(d *rootfd.Dir) (any, error) { return pathOf(d.OpenDirAt(".")) },
	"Open": func(d *rootfd.Dir) (any, error) {
		f, err := d.Open("f")
		if err != nil {
			return nil, err
		}
		st, err := f.Stat()
		body, readErr := io.ReadAll(f)
		return string(body), errors.Join(err, readErr, f.Close(), onlySize(st))
	},
}

func onlySize(st rootfd.Stat) error {
	if st.Size != 4 && st.Size != 0 {
		return errors.New("the size is another")
	}
	return nil
}

func value(v string, ok bool, err error) (any, error) {
	if err == nil && !ok {
		err = errors.New("there is no such attribute")
	}
	return v, err
}

func pathOf(d *rootfd.Dir, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	st, err := d.Stat()
	return st, errors.Join(err, d.Close())
}

// Each function returns the error of each of its system calls, and works the
// next time.
func TestEachFunctionReturnsTheErrorOfEachOfItsSystemCalls(t *testing.T) {
	calls := fstest.NewCalls(t)
	root := fstest.Quick(t)
	require.NoError(t, os.MkdirAll(root+"/d/e", 0o700))
	require.NoError(t, os.WriteFile(root+"/f", []byte("body"), 0o600))
	require.NoError(t, os.Symlink("f", root+"/l"))
	for _, path := range []string{root, root + "/f"} {
		require.NoError(t, unix.Setxattr(path, "user.x", []byte("1"), 0))
	}
	eachWay(t, func(t *testing.T, open func(string) *rootfd.Dir) {
		for name, op := range readOps {
			d := open(root)
			var want, got any
			var err error
			made, _ := calls.Fail(t, 0, 0, func() { want, err = op(d) })
			require.NoError(t, err, name)
			require.Positive(t, made, name)
			for n := 1; n <= made; n++ {
				before := fstest.OpenDescriptors(t)
				_, failed := calls.Fail(t, n, unix.EIO, func() { got, err = op(d) })
				require.ErrorIs(t, err, unix.EIO, "%s: %s", name, failed)
				require.Equal(t, before, fstest.OpenDescriptors(t), "%s: %s: descriptors", name, failed)
				got, err = op(d)
				require.NoError(t, err, "%s: after %s", name, failed)
				require.Equal(t, want, got, "%s: after %s", name, failed)
				_, failed = calls.Fail(t, n, unix.EINTR, func() { got, err = op(d) })
				require.NoError(t, err, "%s: %s, interrupted", name, failed)
				require.Equal(t, want, got, "%s: %s, interrupted", name, failed)
			}
		}
	})
}

func TestOpeningATreeReturnsTheErrorOfItsSystemCall(t *testing.T) {
	calls := fstest.NewCalls(t)
	root := t.TempDir()
	f, err := os.Open(root)
	require.NoError(t, err)
	defer f.Close()
	for name, open := range map[string]func() (*rootfd.Dir, error){
		"Open":     func() (*rootfd.Dir, error) { return rootfd.Open(root, rootfd.Options{}) },
		"FromFile": func() (*rootfd.Dir, error) { return rootfd.FromFile(f, rootfd.Options{}) },
	} {
		var d *rootfd.Dir
		_, failed := calls.Fail(t, 1, unix.EIO, func() { d, err = open() })
		require.Equal(t, "openat", failed)
		require.ErrorIs(t, err, unix.EIO, name)
		require.Nil(t, d)
		_, _ = calls.Fail(t, 1, unix.EINTR, func() { d, err = open() })
		require.NoError(t, err, name)
		require.NoError(t, d.Close())
	}
}
