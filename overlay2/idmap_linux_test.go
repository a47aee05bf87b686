package overlay2

import (
	"bytes"
	"context"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/mount"
)

// overlapping returns a map in which IDs of the container are also IDs of the
// host. If such an ID is translated twice, the result is wrong.
func overlapping() *mount.IDMap {
	ranges := []mount.IDRange{{Container: 0, Host: 10, Size: 1000}}
	return &mount.IDMap{UIDs: ranges, GIDs: ranges}
}

// openMapped opens a store whose layers can have ID maps, and makes the layer
// "a".
func openMapped(t *testing.T) *overlay {
	t.Helper()
	opened, err := New(t.Context(), t.TempDir()+"/root", driver.Options{})
	if err != nil {
		t.Skipf("overlay2 does not work here: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, opened.Close()) })
	d := opened.(*overlay)
	if !d.idmap {
		t.Skip("no mounts with mapped IDs here")
	}
	require.NoError(t, d.Create(t.Context(), "a", nil, driver.CreateOptions{IDMap: overlapping()}))
	return d
}

// fill writes files of many owners to the layer's own directory, in several
// directories, as a container would.
func fill(t *testing.T, d *overlay) {
	t.Helper()
	own := d.store.Path("a", fsDir)
	for i, dir := range []string{"a", "b", "c"} {
		require.NoError(t, os.Mkdir(own+"/"+dir, 0o755))
		require.NoError(t, unix.Lchown(own+"/"+dir, 20+i, 30+i))
		for j, name := range []string{"x", "y", "z"} {
			path := own + "/" + dir + "/" + name
			require.NoError(t, os.WriteFile(path, []byte(name), 0o600))
			require.NoError(t, unix.Lchown(path, 10+i, 10+j))
			require.NoError(t, unix.Chmod(path, 0o4711))
			require.NoError(t, unix.Setxattr(path, xattrCapability, []byte(capabilityOf(10)), 0))
		}
		require.NoError(t, os.Symlink("x", own+"/"+dir+"/s"))
		require.NoError(t, unix.Lchown(own+"/"+dir+"/s", 99, 98))
		require.NoError(t, os.Link(own+"/"+dir+"/x", own+"/"+dir+"/zz"))
	}
	require.NoError(t, unix.Mknod(own+"/removed", unix.S_IFCHR, 0), "a whiteout, which is nobody's")
}

// capabilityOf returns a struct vfs_ns_cap_data.
func capabilityOf(root byte) string {
	b := make([]byte, capLength3)
	copy(b, "\x01\x00\x00\x03\x00\x20")
	b[capLength2] = root
	return string(b)
}

// dies is a context that ends when it is asked for the n-th time.
type dies struct {
	context.Context
	n int
}

func (d *dies) Err() error {
	if d.n--; d.n < 0 {
		return context.Canceled
	}
	return nil
}

func TestASealThatIsInterruptedAmongMappedFilesIsDoneAgain(t *testing.T) {
	d := openMapped(t)
	fill(t, d)
	var want bytes.Buffer
	_, err := driver.Diff(t.Context(), d, "a", &want, driver.DiffOptions{})
	require.NoError(t, err)
	v, err := d.View(t.Context(), "a")
	require.NoError(t, err)
	tree := fstest.FromView(t, v)
	require.NoError(t, v.Close())
	require.Equal(t, uint32(10), tree["a"].UID)

	// The first walk, which makes the plan, asks the context four times.
	for n := 5; n < 8; n++ {
		err := d.Seal(&dies{t.Context(), n}, "a")
		if n == 5 {
			require.FileExists(t, d.store.Path("a", shiftFile))
		}
		require.ErrorIs(t, err, context.Canceled)
		_, err = d.Mount(t.Context(), "a", driver.MountOptions{})
		require.ErrorIs(t, err, driver.ErrSealed)
		_, err = d.View(t.Context(), "a")
		require.ErrorIs(t, err, driver.ErrSealed)
	}
	require.NoError(t, d.Seal(t.Context(), "a"))
	require.NoFileExists(t, d.store.Path("a", shiftFile))
	var got bytes.Buffer
	_, err = driver.Diff(t.Context(), d, "a", &got, driver.DiffOptions{})
	require.NoError(t, err)
	require.Equal(t, want.Bytes(), got.Bytes())
	v, err = d.View(t.Context(), "a")
	require.NoError(t, err)
	fstest.RequireEqual(t, tree, fstest.FromView(t, v), "sealed")
	require.NoError(t, v.Close())
}

func TestASealThatIsCancelledBeforeItChangesAnythingLeavesTheLayerAsItWas(t *testing.T) {
	d := openMapped(t)
	fill(t, d)
	for n := range 4 {
		require.ErrorIs(t, d.Seal(&dies{t.Context(), n}, "a"), context.Canceled)
		require.NoFileExists(t, d.store.Path("a", shiftFile))
		_, err := d.Mount(t.Context(), "a", driver.MountOptions{})
		require.NoError(t, err)
	}
	require.NoError(t, d.Seal(t.Context(), "a"))
}

func TestAMappedFileThatSomebodyMadeImmutableIsSealed(t *testing.T) {
	d := openMapped(t)
	fill(t, d)
	path := d.store.Path("a", fsDir, "b", "y")
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, 0x10); err != nil { // FS_IMMUTABLE_FL
		t.Skipf("this process, or this file system, has no such flags: %v", err)
	}
	require.NoError(t, d.Seal(t.Context(), "a"))
	var st unix.Stat_t
	require.NoError(t, unix.Lstat(path, &st))
	require.Equal(t, [3]uint32{1, 1, 0o4711}, [3]uint32{st.Uid, st.Gid, st.Mode & 0o7777})
}

func TestIDsInAttributesAreTranslatedOrLeftWhenTheyMakeNoSense(t *testing.T) {
	s := &shift{overlapping(), false}
	for name, c := range map[string]struct{ attr, value, want string }{
		"capabilities of the container's root": {xattrCapability, capabilityOf(10), "\x01\x00\x00\x02\x00\x20" + string(make([]byte, 14))},
		"capabilities of another root":         {xattrCapability, capabilityOf(15), capabilityOf(5)},
		"capabilities of no namespace":         {xattrCapability, "\x01\x00\x00\x02\x00\x20" + string(make([]byte, 14)), "\x01\x00\x00\x02\x00\x20" + string(make([]byte, 14))},
		"capabilities cut short":               {xattrCapability, "\x01\x00\x00\x03", "\x01\x00\x00\x03"},
		"a list cut short":                     {xattrACL, "\x02\x00\x00\x00\x02", "\x02\x00\x00\x00\x02"},
		"an empty list":                        {xattrDefaultACL, "", ""},
		"something else":                       {"user.x", capabilityOf(10), capabilityOf(10)},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := s.xattr(c.attr, c.value)
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
	_, err := s.xattr(xattrCapability, capabilityOf(5))
	require.ErrorIs(t, err, mount.ErrUnmapped)
	stranger := "\x02\x00\x00\x00\x08\x00\x07\x00\x05\x00\x00\x00"
	_, err = s.xattr(xattrACL, stranger)
	require.ErrorIs(t, err, mount.ErrUnmapped)
	s.mixedACLs = true
	got, err := s.xattr(xattrACL, stranger)
	require.NoError(t, err)
	require.Equal(t, stranger, got)
}
