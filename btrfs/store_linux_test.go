package btrfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/diff/difftest"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/subvol"
)

// A volume is a subvolume with a tree in it, as a layer has.
type volume struct {
	path string
	base uint64 // the transaction that made it
}

// fs returns a path in the tree.
func (v volume) fs(names ...string) string {
	return filepath.Join(append([]string{v.path, treeName}, names...)...)
}

const treeName = "fs"

// scratch mounts a new btrfs, whose trees can be searched.
func scratch(t testing.TB) string {
	t.Helper()
	root := fstest.Scratch(t, fstest.Btrfs)
	f, err := os.Open(root)
	require.NoError(t, err)
	defer f.Close()
	err = subvol.Each(f, subvol.OfInode(subvol.FirstInode, subvol.InodeItem, subvol.InodeItem), func(subvol.Item) error { return nil })
	if errors.Is(err, unix.EPERM) {
		t.Skipf("searching a tree is not permitted here: %v", err)
	}
	require.NoError(t, err)
	return root
}

// newVolume makes a subvolume with an empty tree.
func newVolume(t testing.TB, root, name string) volume {
	t.Helper()
	call(t, root, 0x50009418, 56, name, -1) // BTRFS_IOC_SUBVOL_CREATE_V2
	v := volume{path: filepath.Join(root, name)}
	require.NoError(t, os.Mkdir(v.fs(), 0o755))
	require.NoError(t, fstest.Touch(".", fstest.EditTime).Apply(v.fs()))
	return v
}

// snapshot makes a writable layer over v.
func (v volume) snapshot(t testing.TB, name string) volume {
	t.Helper()
	f, err := os.Open(v.path)
	require.NoError(t, err)
	defer f.Close()
	root := filepath.Dir(v.path)
	call(t, root, 0x50009417, 56, name, int64(f.Fd())) // BTRFS_IOC_SNAP_CREATE_V2
	path := filepath.Join(root, name)
	return volume{path: path, base: otransid(t, path)}
}

// otransid returns the transaction that made a subvolume.
func otransid(t testing.TB, path string) uint64 {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	info := make([]byte, 504)
	ioctl(t, f, 0x81f8943c, unsafe.Pointer(&info[0])) // BTRFS_IOC_GET_SUBVOL_INFO
	return binary.NativeEndian.Uint64(info[352:])
}

// destroy removes a subvolume.
func (v volume) destroy(t testing.TB) {
	t.Helper()
	call(t, filepath.Dir(v.path), 0x5000940f, 8, filepath.Base(v.path), 0) // BTRFS_IOC_SNAP_DESTROY
}

// call makes an ioctl call that takes a name in a directory.
func call(t testing.TB, dir string, request uintptr, nameAt int, name string, fd int64) {
	t.Helper()
	f, err := os.Open(dir)
	require.NoError(t, err)
	defer f.Close()
	args := make([]byte, 4096)
	binary.NativeEndian.PutUint64(args, uint64(fd))
	copy(args[nameAt:], name)
	ioctl(t, f, request, unsafe.Pointer(&args[0]))
}

func ioctl(t testing.TB, f *os.File, request uintptr, arg unsafe.Pointer) {
	t.Helper()
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(arg))
	require.Zero(t, errno, "ioctl %#x on %s: %v", request, f.Name(), errno)
}

// remount unmounts a scratch file system and mounts it again.
func remount(t testing.TB, scratch string) {
	t.Helper()
	target := filepath.Dir(scratch)
	image := filepath.Join(filepath.Dir(target), "image")
	require.NoError(t, unix.Unmount(target, 0))
	out, err := exec.Command("mount", "-t", "btrfs", "-o", "loop", image, target).CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// open opens the tree of a volume.
func (v volume) open(t testing.TB, sealed bool) *tree {
	t.Helper()
	tr, err := openTree(v.path, treeName, treeOptions{sealed: sealed})
	require.NoError(t, err)
	t.Cleanup(func() { _ = tr.Close() })
	return tr
}

// changed opens both sides of a layer, and searches for the changes.
func changed(t testing.TB, old, new volume) (o, n *tree) {
	t.Helper()
	o, n = old.open(t, true), new.open(t, false)
	require.NoError(t, n.compareWith(t.Context(), o, new.base))
	require.NotNil(t, n.since)
	return o, n
}

// lines compares two views and returns the changes.
func lines(t testing.TB, old, new diff.View) []string {
	t.Helper()
	changes, err := difftest.Collect(diff.Compare(t.Context(), old, new, diff.Options{}))
	require.NoError(t, err)
	return difftest.Lines(changes)
}

// walked compares two trees by walking both completely.
func walked(t testing.TB, old, new volume) []string {
	t.Helper()
	o, err := os.Open(old.fs())
	require.NoError(t, err)
	defer o.Close()
	n, err := os.Open(new.fs())
	require.NoError(t, err)
	defer n.Close()
	return lines(t, diff.DirView(o), diff.DirView(n))
}

// check compares the search with the full walk and, if oracle is set, with the
// oracle. It returns the changes that the search found.
func check(t testing.TB, old, new volume, oracle bool) []string {
	t.Helper()
	o, n := changed(t, old, new)
	got := lines(t, o, n)
	require.NoError(t, errors.Join(n.Close(), o.Close()))
	require.Equal(t, walked(t, old, new), got, "the full walk")
	if oracle {
		want := difftest.Changes(fstest.FromPath(t, old.fs()), fstest.FromPath(t, new.fs()))
		require.Equal(t, difftest.Lines(want), got, "the oracle")
	}
	return got
}

// volumes makes numbered volumes.
type volumes struct {
	root string
	n    int
}

func (v *volumes) name() string {
	v.n++
	return fmt.Sprint("vol", v.n)
}
