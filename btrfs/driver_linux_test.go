package btrfs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/subvol"
)

// A fixture is an open driver in a directory of a scratch btrfs.
type fixture struct {
	*btrfs
	t   *testing.T
	dir string
}

func newFixture(t *testing.T, opts driver.Options) *fixture {
	t.Helper()
	return openFixture(t, scratch(t)+"/btrfs", opts)
}

func openFixture(t *testing.T, dir string, opts driver.Options) *fixture {
	t.Helper()
	d, err := New(t.Context(), dir, opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return &fixture{btrfs: d.(*btrfs), t: t, dir: dir}
}

func (f *fixture) create(id driver.ID, opts driver.CreateOptions, parents ...driver.ID) {
	f.t.Helper()
	require.NoError(f.t, f.Create(f.t.Context(), id, parents, opts))
}

func (f *fixture) apply(id driver.ID, entries ...fstest.Entry) error {
	_, err := f.ApplyDiff(f.t.Context(), id, bytes.NewReader(fstest.Layer(f.t, entries...)), driver.ApplyOptions{})
	return err
}

func (f *fixture) seal(id driver.ID) {
	f.t.Helper()
	require.NoError(f.t, f.Seal(f.t.Context(), id))
}

// layer makes a sealed layer.
func (f *fixture) layer(id driver.ID, parents []driver.ID, entries ...fstest.Entry) []driver.ID {
	f.t.Helper()
	f.create(id, driver.CreateOptions{}, parents...)
	require.NoError(f.t, f.apply(id, entries...))
	f.seal(id)
	return append([]driver.ID{id}, parents...)
}

func (f *fixture) tree(id driver.ID) fstest.Tree {
	f.t.Helper()
	v, err := f.View(f.t.Context(), id)
	require.NoError(f.t, err)
	defer v.Close()
	return fstest.FromView(f.t, v)
}

func (f *fixture) diff(id driver.ID) []byte {
	f.t.Helper()
	var b bytes.Buffer
	_, err := driver.Diff(f.t.Context(), f, id, &b, driver.DiffOptions{})
	require.NoError(f.t, err)
	return b.Bytes()
}

// in returns a path in the tree of a layer.
func (f *fixture) in(id driver.ID, names ...string) string {
	return f.store.Path(id, append([]string{volDir, treeDir}, names...)...)
}

// subvolume makes a subvolume at a path, as a container can.
func subvolume(t *testing.T, path string) {
	t.Helper()
	dir, err := os.Open(filepath.Dir(path))
	require.NoError(t, err)
	defer dir.Close()
	require.NoError(t, subvol.Create(dir, filepath.Base(path)))
}

func readOnly(t *testing.T, path string, is bool) {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, subvol.SetReadOnly(f, is))
}

// subvolumes counts the subvolumes of a whole file system.
func subvolumes(t *testing.T, dir string) int {
	t.Helper()
	f, err := os.Open(dir)
	require.NoError(t, err)
	defer f.Close()
	nested, err := subvol.NestedIn(f)
	require.NoError(t, err)
	return len(nested)
}

// containerSubvolumes makes nested subvolumes in a layer. They have every kind
// of attribute that could be lost, and one of them is read-only.
func (f *fixture) containerSubvolumes(id driver.ID) {
	f.t.Helper()
	require.NoError(f.t, os.Mkdir(f.in(id, "d"), 0o755))
	subvolume(f.t, f.in(id, "top"))
	subvolume(f.t, f.in(id, "d", "a"))
	require.NoError(f.t, os.WriteFile(f.in(id, "d", "a", "f"), bytes.Repeat([]byte("f"), 100_000), 0o4755))
	require.NoError(f.t, os.Link(f.in(id, "d", "a", "f"), f.in(id, "d", "a", "link")))
	require.NoError(f.t, unix.Setxattr(f.in(id, "d", "a"), "user.k", []byte("v"), 0))
	require.NoError(f.t, os.Chmod(f.in(id, "d", "a"), 0o711))
	subvolume(f.t, f.in(id, "d", "a", "b"))
	require.NoError(f.t, os.Symlink("f", f.in(id, "d", "a", "b", "s")))
	readOnly(f.t, f.in(id, "d", "a", "b"), true)
	readOnly(f.t, f.in(id, "d", "a"), true)
	for _, dir := range []string{"d", "."} {
		require.NoError(f.t, os.Chtimes(f.in(id, dir), time.Unix(7, 8), time.Unix(9, 10)))
	}
}

func TestALayerWithSubvolumesInItIsRemoved(t *testing.T) {
	f := newFixture(t, driver.Options{})
	f.create("a", driver.CreateOptions{})
	f.containerSubvolumes("a")
	f.create("b", driver.CreateOptions{})
	f.containerSubvolumes("b")
	require.NoError(t, f.Remove(t.Context(), "a"))
	require.NoError(t, f.store.Close()) // waits for deletions
	require.Equal(t, 1, subvolumes(t, f.dir), "that of the other layer")
	entries, err := os.ReadDir(f.dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	require.DirExists(t, f.in("b", "d", "a", "b"))
}

func TestSealMakesDirectoriesOfSubvolumes(t *testing.T) {
	for name, opts := range map[string]driver.Options{
		"with reflinks":    {},
		"without reflinks": {Fallbacks: driver.Fallbacks{NoReflink: true, NoCopyRange: true, NoOpenat2: true, NoFchmodat2: true}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, opts)
			chain := f.layer("base", nil, fstest.File("old", "old"))
			f.create("a", driver.CreateOptions{}, chain...)
			f.containerSubvolumes("a")
			tree, diff := f.tree("a"), f.diff("a")
			require.Contains(t, tree, "d/a/b/s")
			f.seal("a")
			fstest.RequireEqual(t, tree, f.tree("a"), "sealed")
			require.Equal(t, diff, f.diff("a"))
			f.create("child", driver.CreateOptions{}, "a", "base")
			fstest.RequireEqual(t, tree, f.tree("child"), "the child")
			require.Equal(t, 3, subvolumes(t, f.dir))
			vol, err := os.Open(f.store.Path("a", volDir))
			require.NoError(t, err)
			defer vol.Close()
			nested, err := subvol.NestedIn(vol)
			require.NoError(t, err)
			require.Empty(t, nested)
		})
	}
}

func TestALayerIsAppliedOverSubvolumes(t *testing.T) {
	f := newFixture(t, driver.Options{})
	f.create("a", driver.CreateOptions{})
	f.containerSubvolumes("a")
	f.create("plain", driver.CreateOptions{})
	require.NoError(t, f.apply("plain", fstest.Dir("d"), fstest.Dir("d/a"), fstest.Dir("d/a/b"), fstest.File("d/a/f", "f"),
		fstest.Link("d/a/link", "d/a/f"), fstest.Dir("top")))
	before := f.tree("a")
	layer := []fstest.Entry{
		fstest.Dir("d").WithMtime(1, 2), fstest.Dir("d/a").WithMtime(3, 4), fstest.File("d/a/new", "new"), fstest.Whiteout("d/a/f"), fstest.Whiteout("top"),
		fstest.File("d/a/b", "no directory any more"),
	}
	require.ErrorIs(t, f.apply("a", append(layer, fstest.Link("h", "none"))...), driver.ErrInvalidLayer)
	fstest.RequireEqual(t, before, f.tree("a"), "after the refused layer")
	require.NoError(t, f.apply("a", layer...))
	require.NoError(t, f.apply("plain", layer...))
	got, want := f.tree("a"), f.tree("plain")
	require.Equal(t, "new", got["d/a/new"].Body)
	require.Equal(t, before["d/a/link"].Body, got["d/a/link"].Body)
	for path := range want {
		require.Contains(t, got, path)
	}
	require.Len(t, got, len(want))
	left, err := f.leftovers(f.store.Path("a", volDir))
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestASealedLayerTakesNoWrite(t *testing.T) {
	f := newFixture(t, driver.Options{})
	f.layer("a", nil, fstest.File("f", "f"))
	require.ErrorIs(t, os.WriteFile(f.in("a", "f"), nil, 0o600), unix.EROFS)
}

func TestElsewhereItIsRefusedWithTheReason(t *testing.T) {
	for _, fs := range []fstest.FS{fstest.Tmpfs, fstest.Ext4} {
		t.Run(string(fs), func(t *testing.T) {
			dir := fstest.Scratch(t, fs) + "/btrfs"
			_, err := New(t.Context(), dir, driver.Options{})
			require.ErrorIs(t, err, driver.ErrUnsupported)
			require.ErrorContains(t, err, dir+" is not on a btrfs")
			requireEmpty(t, dir)
		})
	}
}

func requireEmpty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}

func TestWithoutTheCapabilityItIsRefusedWithTheReason(t *testing.T) {
	dir := scratch(t) + "/btrfs"
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine, because it has lost its capability
		if err := dropAdmin(); err != nil {
			done <- err
			return
		}
		_, err := New(t.Context(), dir, driver.Options{})
		done <- err
	}()
	err := <-done
	require.ErrorIs(t, err, driver.ErrUnsupported)
	require.ErrorContains(t, err, "CAP_SYS_ADMIN")
	requireEmpty(t, dir)
}

// dropAdmin removes CAP_SYS_ADMIN from this thread.
func dropAdmin() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	data[0].Effective &^= 1 << unix.CAP_SYS_ADMIN
	return unix.Capset(&header, &data[0])
}

func TestWhatAKilledApplyLeavesInALayerIsNotPartOfIt(t *testing.T) {
	f := newFixture(t, driver.Options{})
	chain := f.layer("base", nil, fstest.File("old", "old"))
	f.create("a", driver.CreateOptions{}, chain...)
	require.NoError(t, f.apply("a", fstest.File("new", "new")))
	tree, diff := f.tree("a"), f.diff("a")
	usage, err := f.Usage(t.Context(), "a")
	require.NoError(t, err)
	left := f.store.Path("a", volDir, stagingPrefix+"1")
	leave := func() {
		require.NoError(t, os.MkdirAll(left+"/d", 0o700))
		require.NoError(t, os.WriteFile(left+"/d/f", []byte("f"), 0o600))
		subvolume(t, left+"/directory")
		require.NoError(t, os.WriteFile(left+"/directory/f", []byte("f"), 0o600))
		readOnly(t, left+"/directory", true)
		subvolume(t, left+"/d/deeper")
		require.NoError(t, os.WriteFile(left+"/d/deeper/f", []byte("f"), 0o600))
		readOnly(t, left+"/d/deeper", true)
	}
	leave()
	fstest.RequireEqual(t, tree, f.tree("a"), "with leftovers")
	require.Equal(t, diff, f.diff("a"))
	require.NoError(t, f.Cleanup(t.Context()))
	require.NoDirExists(t, left)
	leave()
	f.seal("a")
	require.NoDirExists(t, left)
	require.Equal(t, diff, f.diff("a"))
	sealed, err := f.Usage(t.Context(), "a")
	require.NoError(t, err)
	require.Equal(t, usage, sealed)
}

func TestCleanupLeavesAloneWhatIsBeingUnpacked(t *testing.T) {
	f := newFixture(t, driver.Options{})
	f.create("a", driver.CreateOptions{})
	m, err := f.store.Load("a")
	require.NoError(t, err)
	staging, done, err := f.staging("a", m)
	require.NoError(t, err)
	require.NoError(t, f.Cleanup(t.Context()))
	require.DirExists(t, staging.Name())
	done()
	require.NoDirExists(t, staging.Name())
}

func TestCleanupFreesWhatKilledCallsLeftInTheStore(t *testing.T) {
	f := newFixture(t, driver.Options{})
	f.layer("sealed", nil, fstest.File("f", "f"))
	f.create("a", driver.CreateOptions{}, "sealed")
	f.containerSubvolumes("a")
	require.NoError(t, os.Mkdir(f.dir+"/.trash-a-1", 0o700))
	require.NoError(t, os.Rename(f.store.Path("a"), f.dir+"/.trash-a-1/layer"))
	f.create("b", driver.CreateOptions{}, "sealed")
	f.seal("b")
	require.NoError(t, os.Rename(f.store.Path("b"), f.dir+"/.new-b-1"))
	require.NoError(t, os.Mkdir(f.dir+"/.new-probe-1", 0o700))
	subvolume(t, f.dir+"/.new-probe-1/vol")
	subvolume(t, f.dir+"/.new-probe-1/snap")
	require.NoError(t, f.Cleanup(t.Context()))
	entries, err := os.ReadDir(f.dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	require.Equal(t, 1, subvolumes(t, f.dir), "the sealed layer's")
}

func TestALayerThatAKilledSealMadeReadOnlyIsWrittenToAgain(t *testing.T) {
	f := newFixture(t, driver.Options{})
	f.create("a", driver.CreateOptions{})
	vol := f.store.Path("a", volDir)
	readOnly(t, vol, true)
	_, err := f.Mount(t.Context(), "a", driver.MountOptions{})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(f.in("a", "f"), nil, 0o644))
	readOnly(t, vol, true)
	require.NoError(t, f.apply("a", fstest.File("g", "g")))
	readOnly(t, vol, true)
	f.seal("a")
	require.Contains(t, f.tree("a"), "g")
	f.create("b", driver.CreateOptions{}, "a")
	require.NoError(t, f.apply("b", fstest.File("h", "h")))
}

// TestASealedLayerSurvivesAPowerCut mounts the state of the disk at the time
// when Seal returns.
func TestASealedLayerSurvivesAPowerCut(t *testing.T) {
	dir := scratch(t)
	d, err := New(t.Context(), dir+"/btrfs", driver.Options{})
	require.NoError(t, err)
	f := &fixture{btrfs: d.(*btrfs), t: t, dir: dir + "/btrfs"}
	chain := f.layer("base", nil, fstest.File("base", strings.Repeat("b", 1<<20)))
	f.create("a", driver.CreateOptions{}, chain...)
	f.containerSubvolumes("a")
	require.NoError(t, f.apply("a", fstest.File("big", strings.Repeat("x", 3<<20)), fstest.Whiteout("base")))
	f.seal("a")
	powerCut := imageOf(t, dir)
	want := f.tree("a")
	f.create("later", driver.CreateOptions{}, "a", "base")
	require.NoError(t, f.apply("later", fstest.File("later", "l")))
	require.NoError(t, d.Close())

	powerCut(func() {
		d, err := New(t.Context(), dir+"/btrfs", driver.Options{})
		require.NoError(t, err)
		f := &fixture{btrfs: d.(*btrfs), t: t, dir: dir + "/btrfs"}
		fstest.RequireEqual(t, want, f.tree("a"), "after the power cut")
		require.ErrorIs(t, f.apply("a", fstest.File("f", "f")), driver.ErrSealed)
		require.ErrorIs(t, os.WriteFile(f.in("a", "f"), nil, 0o600), unix.EROFS)
		require.NoError(t, f.Cleanup(t.Context()))
		ids, err := f.Layers(t.Context())
		require.NoError(t, err)
		require.Equal(t, []driver.ID{"a", "base"}, ids)
		require.NoError(t, d.Close())
	})
}

// imageOf copies the current image of a scratch file system. The function that
// it returns mounts the copy in place of the original, calls fn, and mounts the
// original again.
func imageOf(t *testing.T, scratch string) func(fn func()) {
	t.Helper()
	image := filepath.Join(filepath.Dir(filepath.Dir(scratch)), "image")
	now := filepath.Join(t.TempDir(), "image")
	run(t, "cp", "--sparse=always", image, now)
	return func(fn func()) {
		target := filepath.Dir(scratch)
		require.NoError(t, unix.Unmount(target, 0))
		run(t, "mount", "-t", "btrfs", "-o", "loop", now, target)
		fn()
		require.NoError(t, unix.Unmount(target, 0))
		run(t, "mount", "-t", "btrfs", "-o", "loop", image, target)
	}
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(t, err, "%s: %s", name, out)
}

func TestTheLimitOfALayer(t *testing.T) {
	for name, opts := range map[string]driver.Options{
		"with simple quotas": {},
		"with quota groups":  {Fallbacks: driver.Fallbacks{NoSimpleQuota: true}},
	} {
		t.Run(name, func(t *testing.T) { testLimit(t, newFixture(t, opts)) })
	}
}

const limitMiB = 8

func testLimit(t *testing.T, f *fixture) {
	chain := f.layer("base", nil, fstest.File("base", strings.Repeat("b", 4<<20)))
	f.create("a", driver.CreateOptions{Size: limitMiB << 20}, chain...)
	root, err := os.Open(f.dir)
	require.NoError(t, err)
	defer root.Close()
	state, err := subvol.QuotasOf(root)
	require.NoError(t, err)
	require.True(t, state.On)
	if f.opts.Fallbacks.NoSimpleQuota {
		require.False(t, state.Simple)
	}
	info, err := infoOf(f.store.Path("a", volDir))
	require.NoError(t, err)

	overwrite := func() error { return os.WriteFile(f.in("a", "big"), make([]byte, 2*limitMiB<<20), 0o600) }
	require.ErrorIs(t, overwrite(), unix.EDQUOT)
	require.NoError(t, os.Remove(f.in("a", "big")))
	require.NoError(t, f.limit(f.store.Path("a", volDir), subvol.NoLimit)) // as a killed call leaves it
	_, err = f.Mount(t.Context(), "a", driver.MountOptions{})
	require.NoError(t, err)
	require.ErrorIs(t, overwrite(), unix.EDQUOT)

	require.NoError(t, os.Remove(f.in("a", "big")))
	require.NoError(t, subvol.Sync(root))
	f.containerSubvolumes("a")
	f.seal("a")
	usage, err := f.Usage(t.Context(), "a")
	require.NoError(t, err)
	q, ok, err := subvol.QgroupOf(root, info.ID)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, uint64(limitMiB<<20), q.Limit)
	require.InDelta(t, q.Exclusive, usage.Bytes, 256<<10, "what was counted when it was sealed")

	require.NoError(t, f.Remove(t.Context(), "a"))
	require.NoError(t, f.store.Close())
	requireNoQgroup(t, f, root, info.ID)
}

// requireNoQgroup waits until the kernel has freed a subvolume and its quota
// group is gone.
func requireNoQgroup(t *testing.T, f *fixture, root *os.File, id uint64) {
	t.Helper()
	require.NoError(t, f.Cleanup(t.Context()))
	err := subvol.AwaitFreed(root, id)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skipf("the kernel does not say when a subvolume is gone: %v", err)
	}
	require.NoError(t, err)
	require.NoError(t, f.Cleanup(t.Context()))
	_, ok, err := subvol.QgroupOf(root, id)
	require.NoError(t, err)
	require.False(t, ok, "the quota group is still there")
	require.Empty(t, f.qgroups)
}

func TestALayerFilledToItsLimitIsSealedAndDeleted(t *testing.T) {
	f := newFixture(t, driver.Options{})
	f.create("a", driver.CreateOptions{Size: limitMiB << 20})
	require.NoError(t, f.apply("a", fstest.File("f", "f")))
	for i := range 10_000 { // until there is no room even for a name
		if err := os.WriteFile(f.in("a", fmt.Sprintf("%0200d", i)), make([]byte, 4096), 0o600); err != nil {
			require.ErrorIs(t, err, unix.EDQUOT)
			break
		}
	}
	tree := f.tree("a")
	require.ErrorIs(t, f.apply("a", fstest.File("more", strings.Repeat("m", limitMiB<<20)), fstest.Whiteout("f")), unix.EDQUOT)
	fstest.RequireEqual(t, tree, f.tree("a"), "after the refused layer")
	left, err := f.leftovers(f.store.Path("a", volDir))
	require.NoError(t, err)
	require.Empty(t, left)
	f.seal("a")
	fstest.RequireEqual(t, tree, f.tree("a"), "sealed")
	require.NoError(t, f.Remove(t.Context(), "a"))
}

func TestALayerFilledToItsLimitIsDeletedWithTheSubvolumesInIt(t *testing.T) {
	f := newFixture(t, driver.Options{})
	f.create("a", driver.CreateOptions{Size: limitMiB << 20})
	f.containerSubvolumes("a")
	big, err := os.Create(f.in("a", "big"))
	require.NoError(t, err)
	defer big.Close()
	for range 10 { // until even a commit frees no more space
		for err == nil {
			_, err = big.Write(make([]byte, 4096))
		}
		require.ErrorIs(t, err, unix.EDQUOT)
		err = f.commit()
		require.NoError(t, err)
	}
	require.NoError(t, f.Remove(t.Context(), "a"))
	require.NoError(t, f.store.Close()) // waits for deletions
	require.NoError(t, f.Cleanup(t.Context()))
	require.Zero(t, subvolumes(t, f.dir))
}

func TestAnotherSubvolumeInThePlaceOfALayersIsComparedWhole(t *testing.T) {
	f := newFixture(t, driver.Options{})
	chain := f.layer("base", nil, fstest.File("f", "f"), fstest.File("g", "g"))
	f.layer("other", nil, fstest.File("f", "F"), fstest.File("g", "g"))
	f.create("a", driver.CreateOptions{}, chain...)
	dir, err := os.Open(f.store.Path("a"))
	require.NoError(t, err)
	defer dir.Close()
	require.NoError(t, subvol.Destroy(dir, volDir))
	require.NoError(t, snapshot(f.store.Path("other", volDir), dir))
	var paths []string
	for c, err := range driver.Changes(t.Context(), f, "a", nil) {
		require.NoError(t, err)
		paths = append(paths, c.Path)
	}
	require.Equal(t, []string{"f"}, paths)
}

func TestCallsForDifferentLayersAndCleanupGoSideBySide(t *testing.T) {
	f := newFixture(t, driver.Options{})
	chain := f.layer("base", nil, fstest.File("base", "base"))
	done := make(chan struct{})
	var cleaning, work sync.WaitGroup
	cleaning.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				if err := f.Cleanup(t.Context()); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	for i := range 4 {
		work.Go(func() {
			for n := range 5 {
				if err := f.life(driver.ID(fmt.Sprintf("l-%d-%d", i, n)), chain); err != nil {
					t.Error(err)
				}
			}
		})
	}
	work.Wait()
	close(done)
	cleaning.Wait()
	require.NoError(t, f.store.Close())
	require.NoError(t, f.Cleanup(t.Context()))
	require.Equal(t, 1, subvolumes(t, f.dir))
}

// life makes, fills, seals and removes a layer and another layer over it.
func (f *fixture) life(id driver.ID, chain []driver.ID) error {
	ctx := f.t.Context()
	layer := fstest.Layer(f.t, fstest.File("f", string(id)), fstest.Whiteout("base"))
	over := id + "-over"
	if err := f.Create(ctx, id, chain, driver.CreateOptions{}); err != nil {
		return err
	}
	if _, err := f.ApplyDiff(ctx, id, bytes.NewReader(layer), driver.ApplyOptions{}); err != nil {
		return err
	}
	if err := f.Seal(ctx, id); err != nil {
		return err
	}
	if err := f.Create(ctx, over, append([]driver.ID{id}, chain...), driver.CreateOptions{}); err != nil {
		return err
	}
	if _, err := f.Usage(ctx, over); err != nil {
		return err
	}
	return errors.Join(f.Remove(ctx, over), f.Remove(ctx, id))
}
