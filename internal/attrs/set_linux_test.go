package attrs_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/attrs"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/sys"
	"github.com/layerkeep/layerkeep/internal/whiteout"
)

const (
	capability = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" // cap_net_raw=ep
	// acl gives user 7 the right to read; its mask allows no more than that.
	acl = "\x02\x00\x00\x00" + "\x01\x00\x07\x00\xff\xff\xff\xff" + "\x02\x00\x04\x00\x07\x00\x00\x00" +
		"\x04\x00\x05\x00\xff\xff\xff\xff" + "\x10\x00\x04\x00\xff\xff\xff\xff" + "\x20\x00\x05\x00\xff\xff\xff\xff"
)

// A place is a directory that was opened.
type place struct {
	t    *testing.T
	path string
	fd   int
}

func newPlace(t *testing.T) place {
	t.Helper()
	p := place{t: t, path: t.TempDir()}
	if !fstest.CanOwn(t, p.path) {
		t.Skip("needs to give files to other owners")
	}
	dir, err := os.Open(p.path)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, dir.Close()) })
	p.fd = int(dir.Fd())
	return p
}

// open opens a name; what it is must be something that can be opened.
func (p place) open(name string) int {
	p.t.Helper()
	fd, err := unix.Open(filepath.Join(p.path, name), unix.O_RDONLY|unix.O_NOFOLLOW, 0)
	require.NoError(p.t, err)
	p.t.Cleanup(func() { require.NoError(p.t, unix.Close(fd)) })
	return fd
}

// require compares what a name has with what it was given.
func (p place) require(name string, want attrs.Attrs) {
	p.t.Helper()
	path := filepath.Join(p.path, name)
	var st unix.Stat_t
	require.NoError(p.t, unix.Lstat(path, &st))
	require.Equal(p.t, [2]uint32{want.UID, want.GID}, [2]uint32{st.Uid, st.Gid})
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		require.Equal(p.t, want.Mode, st.Mode&0o7777, "%o, not %o", st.Mode&0o7777, want.Mode)
	}
	if !want.Mtime.IsZero() {
		require.True(p.t, want.Mtime.Equal(time.Unix(st.Mtim.Unix())))
		require.True(p.t, want.Mtime.Equal(time.Unix(st.Atim.Unix())))
	}
	for _, x := range want.Xattrs {
		buf := make([]byte, 256)
		n, err := unix.Lgetxattr(path, x.Name, buf)
		require.NoError(p.t, err, x.Name)
		require.Equal(p.t, x.Value, string(buf[:n]), x.Name)
	}
}

// all is what loses something in any order but one: chown(2) takes set-user-ID
// and the capabilities, the access control list sets the group's rights.
func all() attrs.Attrs {
	return attrs.Attrs{UID: 70000, GID: 5, Mode: 0o6741, Mtime: time.Unix(-5, 123456789), Xattrs: []attrs.Xattr{
		{Name: "security.capability", Value: capability}, {Name: "system.posix_acl_access", Value: acl}, {Name: "trusted.x", Value: "y"},
	}}
}

func TestNothingThatIsSetUndoesSomethingElse(t *testing.T) {
	for _, noFchmodat2 := range []bool{false, true} {
		p := newPlace(t)
		want := all()
		for _, name := range []string{"open", "named"} {
			require.NoError(t, os.WriteFile(filepath.Join(p.path, name), nil, 0o600))
		}
		require.NoError(t, os.Mkdir(filepath.Join(p.path, "dir"), 0o700))
		require.NoError(t, attrs.Set(attrs.Open(p.open("open")), &want, attrs.Unknown, attrs.Options{}))
		require.NoError(t, attrs.Set(attrs.Named(p.fd, "named", noFchmodat2), &want, attrs.Unknown, attrs.Options{}))
		dir := want
		dir.Xattrs = want.Xattrs[1:] // programs alone have capabilities
		require.NoError(t, attrs.Set(attrs.Open(p.open("dir")), &dir, attrs.Unknown, attrs.Options{}))
		for _, name := range []string{"open", "named"} {
			// The mode that was set is the mask of the list.
			got := want
			got.Xattrs = []attrs.Xattr{want.Xattrs[0], want.Xattrs[2]}
			p.require(name, got)
		}
		dir.Xattrs = want.Xattrs[2:]
		p.require("dir", dir)
	}
}

func TestWhatMustNotBeOpenedIsNotFollowedEither(t *testing.T) {
	p := newPlace(t)
	before := attrs.Attrs{Mode: 0o600}
	require.NoError(t, os.WriteFile(filepath.Join(p.path, "target"), nil, 0o600))
	require.NoError(t, os.Symlink("target", filepath.Join(p.path, "link")))
	require.NoError(t, unix.Mkfifo(filepath.Join(p.path, "fifo"), 0o600))
	want := attrs.Attrs{UID: 1, GID: 2, Mode: 0o640, Mtime: time.Unix(7, 0), Xattrs: []attrs.Xattr{{Name: "trusted.x", Value: "y"}}}
	require.NoError(t, attrs.Set(attrs.Link(p.fd, "link"), &want, attrs.Unknown, attrs.Options{}))
	require.NoError(t, attrs.Set(attrs.Named(p.fd, "fifo", false), &want, attrs.Unknown, attrs.Options{}))
	p.require("link", want)
	p.require("fifo", want)
	p.require("target", before)
	_, err := unix.Lgetxattr(filepath.Join(p.path, "target"), "trusted.x", nil)
	require.ErrorIs(t, err, unix.ENODATA)
}

// TestWhatAFileHasIsNotSetAgain: each call saved counts in a layer of a million
// files.
func TestWhatAFileHasIsNotSetAgain(t *testing.T) {
	p := newPlace(t)
	require.NoError(t, os.WriteFile(filepath.Join(p.path, "f"), nil, 0o600))
	require.NoError(t, unix.Chown(filepath.Join(p.path, "f"), 3, 4))
	// As what it is said to have is wrong, what is not set shows.
	a := attrs.Attrs{UID: 1, GID: 2, Mode: 0o640, Mtime: time.Unix(7, 0)}
	f := attrs.Open(p.open("f"))
	require.NoError(t, attrs.Set(f, &a, attrs.Has{UID: 1, GID: 2, Mode: 0o640}, attrs.Options{}))
	p.require("f", attrs.Attrs{UID: 3, GID: 4, Mode: 0o600, Mtime: a.Mtime})
	require.NoError(t, attrs.Set(f, &a, attrs.Has{UID: 1, GID: 3, Mode: 0o600}, attrs.Options{KeepTimes: true}))
	p.require("f", attrs.Attrs{UID: 1, GID: 2, Mode: 0o640, Mtime: a.Mtime})
	later := a
	later.Mtime = time.Unix(8, 0)
	require.NoError(t, attrs.Set(f, &later, attrs.Unknown, attrs.Options{KeepTimes: true}))
	p.require("f", a)
}

func TestErrorsAreDecidedUpon(t *testing.T) {
	p := newPlace(t)
	require.NoError(t, os.WriteFile(filepath.Join(p.path, "f"), nil, 0o600))
	f := attrs.Open(p.open("f"))
	boom := errors.New("boom")
	a := attrs.Attrs{UID: attrs.UnknownID - 1, Mode: 0o640, Mtime: time.Unix(7, 0), Xattrs: []attrs.Xattr{{Name: "nothing.x", Value: "y"}, {Name: "trusted.x", Value: "z"}}}
	err := attrs.Set(f, &a, attrs.Unknown, attrs.Options{})
	require.ErrorIs(t, err, unix.EOPNOTSUPP, "no such namespace")
	var failed []string
	require.NoError(t, attrs.Set(f, &a, attrs.Unknown, attrs.Options{XattrFailed: func(x attrs.Xattr, err error) error {
		failed = append(failed, x.Name)
		require.ErrorIs(t, err, unix.EOPNOTSUPP)
		return nil
	}}))
	require.Equal(t, []string{"nothing.x"}, failed)
	p.require("f", attrs.Attrs{UID: a.UID, Mode: 0o640, Mtime: a.Mtime, Xattrs: a.Xattrs[1:]})
	err = attrs.Set(attrs.Named(p.fd, "none", false), &a, attrs.Unknown, attrs.Options{OwnerFailed: func(uid, gid uint32, err error) error {
		require.Equal(t, [2]uint32{a.UID, 0}, [2]uint32{uid, gid})
		require.ErrorIs(t, err, unix.ENOENT)
		return boom
	}})
	require.ErrorIs(t, err, boom)
}

func TestFrozenFilesAreThawedWhereThatIsAskedFor(t *testing.T) {
	p := newPlace(t)
	require.NoError(t, os.WriteFile(filepath.Join(p.path, "f"), nil, 0o600))
	fd := p.open("f")
	const immutable = 0x10 // FS_IMMUTABLE_FL
	if err := unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, immutable); err != nil {
		t.Skipf("no file flags here: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, sys.Thaw(fd)) })
	a := attrs.Attrs{UID: 1, GID: 2, Mode: 0o640}
	require.ErrorIs(t, attrs.Set(attrs.Named(p.fd, "f", false), &a, attrs.Unknown, attrs.Options{KeepTimes: true}), unix.EPERM)
	require.NoError(t, attrs.Set(attrs.Named(p.fd, "f", false), &a, attrs.Unknown, attrs.Options{KeepTimes: true, Thaw: true}))
	p.require("f", a)
}

func TestReplacingRemovesWhatIsNotWantedAndKeepsMarks(t *testing.T) {
	p := newPlace(t)
	require.NoError(t, os.Mkdir(filepath.Join(p.path, "dir"), 0o700))
	fd := p.open("dir")
	for _, name := range []string{"trusted.old", "trusted.x", "trusted.overlay.opaque"} {
		require.NoError(t, unix.Fsetxattr(fd, name, []byte("y"), 0))
	}
	a := attrs.New(0o40751, 1, 2, time.Unix(7, 0), map[string]string{"trusted.x": "z", "trusted.overlay.opaque": "a layer's own"}, whiteout.Overlay)
	require.NoError(t, attrs.Replace(fd, &a, whiteout.Overlay))
	p.require("dir", attrs.Attrs{UID: 1, GID: 2, Mode: 0o751, Mtime: time.Unix(7, 0), Xattrs: []attrs.Xattr{
		{Name: "trusted.overlay.opaque", Value: "y"}, {Name: "trusted.overlay.overlay.opaque", Value: "a layer's own"}, {Name: "trusted.x", Value: "z"},
	}})
	_, err := unix.Fgetxattr(fd, "trusted.old", nil)
	require.ErrorIs(t, err, unix.ENODATA)
}
