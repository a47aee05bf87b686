package rmtree_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/rmtree"
	"github.com/layerkeep/layerkeep/internal/sys"
)

func TestATreeGoesWithAllThatIsInIt(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(dir, "outside")
	require.NoError(t, os.Mkdir(outside, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(outside, "f"), nil, 0o600))
	tree := filepath.Join(dir, "tree")
	require.NoError(t, os.MkdirAll(filepath.Join(tree, "a/b/c"), 0o755))
	for i := range 5000 { // needs more than one call to list
		require.NoError(t, os.WriteFile(filepath.Join(tree, "a", fmt.Sprintf("file-with-a-long-name-%d", i)), nil, 0o600))
	}
	require.NoError(t, os.Symlink(outside, filepath.Join(tree, "a/link")))
	require.NoError(t, os.Symlink("nowhere", filepath.Join(tree, "dangling")))
	require.NoError(t, unix.Mkfifo(filepath.Join(tree, "fifo"), 0o600))

	require.NoError(t, rmtree.Remove(tree))
	require.NoDirExists(t, tree)
	require.FileExists(t, filepath.Join(outside, "f"))

	require.NoError(t, rmtree.Remove(tree), "what is missing")
	require.NoError(t, rmtree.Remove(filepath.Join(dir, "no/such/directory")))
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "link")))
	require.NoError(t, rmtree.Remove(filepath.Join(dir, "link")), "a link itself")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	require.NoError(t, rmtree.Remove(filepath.Join(dir, "file")))
	require.FileExists(t, filepath.Join(outside, "f"))
	err := rmtree.Remove(filepath.Join(outside, "f", "g"))
	require.ErrorIs(t, err, unix.ENOTDIR, "as os.RemoveAll")
}

// A container can make such a tree, one step at a time.
func TestAnyDepthNeedsFewDescriptors(t *testing.T) {
	depth := 20_000
	if testing.Short() {
		depth = 5_000
	}
	tree := filepath.Join(t.TempDir(), "tree")
	require.NoError(t, os.Mkdir(tree, 0o755))
	fd, err := unix.Open(tree, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	for i := range depth {
		require.NoError(t, sys.Mkdirat(fd, "d", 0o755))
		if i%1000 == 0 { // and something beside the path
			require.NoError(t, sys.Mkdirat(fd, "e", 0o755))
			require.NoError(t, sys.Symlinkat("x", fd, "s"))
		}
		next, err := sys.OpenDirat(fd, "d")
		require.NoError(t, err)
		require.NoError(t, unix.Close(fd))
		fd = next
	}
	require.NoError(t, unix.Close(fd))

	var limit unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	low := unix.Rlimit{Cur: uint64(fstest.OpenDescriptors(t) + 50), Max: limit.Max}
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &low))
	err = rmtree.Remove(tree)
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit))
	require.NoError(t, err)
	require.NoDirExists(t, tree)
}

func TestAWideTreeOfDeepOnesGoes(t *testing.T) {
	tree := filepath.Join(t.TempDir(), "tree")
	deep := ""
	for range 50 {
		deep += "/d"
	}
	for i := range 100 { // each is deeper than the number of open directories
		require.NoError(t, os.MkdirAll(fmt.Sprintf("%s/%d%s", tree, i, deep), 0o755))
	}
	require.NoError(t, rmtree.Remove(tree))
	require.NoDirExists(t, tree)
}

func TestFlagsThatForbidRemovingKeepNothing(t *testing.T) {
	tree := filepath.Join(t.TempDir(), "tree")
	require.NoError(t, os.MkdirAll(filepath.Join(tree, "d/e"), 0o755))
	for _, name := range []string{"f", "d/f", "d/e/f"} {
		require.NoError(t, os.WriteFile(filepath.Join(tree, name), nil, 0o600))
	}
	t.Cleanup(func() { _ = rmtree.Remove(tree) })
	for path, flag := range map[string]int{
		"d/e/f": unix.STATX_ATTR_IMMUTABLE, "f": unix.STATX_ATTR_APPEND, "d/e": unix.STATX_ATTR_IMMUTABLE, "d": unix.STATX_ATTR_APPEND, ".": unix.STATX_ATTR_IMMUTABLE,
	} {
		if err := setFlag(filepath.Join(tree, path), flag); err != nil {
			t.Skipf("no flags can be set here: %v", err)
		}
	}
	require.NoError(t, rmtree.Remove(tree))
	require.NoDirExists(t, tree)
}

func setFlag(path string, flag int) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return fstest.AddFlag(int(f.Fd()), flag)
}

// The flags of the directory that contains the tree belong to the caller.
func TestTheDirectoryOfATreeKeepsItsFlags(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dir")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "tree/d"), 0o755))
	t.Cleanup(func() { _ = rmtree.Remove(dir) })
	if err := setFlag(dir, unix.STATX_ATTR_IMMUTABLE); err != nil {
		t.Skipf("no flags can be set here: %v", err)
	}
	require.ErrorIs(t, rmtree.Remove(filepath.Join(dir, "tree")), unix.EPERM)
	require.ErrorIs(t, os.Mkdir(filepath.Join(dir, "new"), 0o755), unix.EPERM, "it is immutable still")
}

// A program that has a layer mounted can replace a directory by a link at any
// moment.
func TestSwappedLinksLeadNowhere(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(dir, "outside")
	require.NoError(t, os.MkdirAll(filepath.Join(outside, "d"), 0o755))
	frozen := os.Geteuid() == 0
	for i := range 20 {
		path := filepath.Join(outside, "d", fmt.Sprint(i))
		require.NoError(t, os.WriteFile(path, nil, 0o600))
		frozen = frozen && setFlag(path, unix.STATX_ATTR_IMMUTABLE) == nil
	}
	t.Cleanup(func() { _ = rmtree.Remove(outside) })
	rounds := 200
	if testing.Short() {
		rounds = 20
	}
	var swaps atomic.Int64
	for range rounds {
		tree := filepath.Join(dir, "tree")
		require.NoError(t, os.MkdirAll(filepath.Join(tree, "a/d"), 0o755))
		for i := range 50 {
			path := filepath.Join(tree, "a/d", fmt.Sprint(i))
			require.NoError(t, os.WriteFile(path, nil, 0o600))
			if frozen && i%10 == 0 {
				require.NoError(t, setFlag(path, unix.STATX_ATTR_IMMUTABLE))
			}
		}
		require.NoError(t, os.Symlink(outside, filepath.Join(tree, "link")))
		held, err := unix.Open(tree, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		require.NoError(t, err)
		stop := make(chan struct{})
		var others sync.WaitGroup
		others.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if unix.Renameat2(held, "a", held, "link", unix.RENAME_EXCHANGE) == nil {
					swaps.Add(1)
				}
			}
		})
		err = rmtree.Remove(tree)
		close(stop)
		others.Wait()
		require.NoError(t, unix.Close(held))
		if err != nil {
			require.NoError(t, rmtree.Remove(tree), "when nobody disturbs: first %v", err)
		}
		require.NoDirExists(t, tree)
	}
	require.Positive(t, swaps.Load())
	for i := range 20 {
		path := filepath.Join(outside, "d", fmt.Sprint(i))
		require.FileExists(t, path)
		if frozen {
			require.ErrorIs(t, os.Remove(path), unix.EPERM, "it is immutable still")
		}
	}
}

// If a directory is moved while its content is removed, it then has another
// directory above it.
func TestAMovedDirectoryTakesNothingElseWithIt(t *testing.T) {
	dir := t.TempDir()
	deep := "tree/a/b"
	for range 100 { // so that the upper ones are opened as ".."
		deep += "/d"
	}
	for range 50 {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, deep), 0o755))
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "other"), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "other/f"), nil, 0o600))
		var mover sync.WaitGroup
		mover.Go(func() {
			time.Sleep(200 * time.Microsecond)
			_ = os.Rename(filepath.Join(dir, "tree/a/b"), filepath.Join(dir, "other/b")) // it may be gone
		})
		err := rmtree.Remove(filepath.Join(dir, "tree"))
		mover.Wait()
		if err != nil {
			require.NoError(t, rmtree.Remove(filepath.Join(dir, "tree")), "after %v", err)
		}
		require.NoDirExists(t, filepath.Join(dir, "tree"))
		require.FileExists(t, filepath.Join(dir, "other/f"), "it was never in the tree")
		require.NoError(t, rmtree.Remove(filepath.Join(dir, "other")))
	}
}

func TestSeveralRemoveTheSameTree(t *testing.T) {
	tree := filepath.Join(t.TempDir(), "tree")
	for range 20 {
		for i := range 50 {
			require.NoError(t, os.MkdirAll(fmt.Sprintf("%s/%d/a/b", tree, i), 0o755))
			require.NoError(t, os.WriteFile(fmt.Sprintf("%s/%d/a/f", tree, i), nil, 0o600))
		}
		errs := make([]error, 3)
		var removers sync.WaitGroup
		for i := range errs {
			removers.Go(func() { errs[i] = rmtree.Remove(tree) })
		}
		removers.Wait()
		require.NoError(t, errors.Join(errs...))
		require.NoDirExists(t, tree)
	}
}

func TestWhatIsMountedInATreeIsNotEntered(t *testing.T) {
	if !fstest.CanMount(t) {
		t.Skip("nothing can be mounted")
	}
	dir := t.TempDir()
	tree, outside := filepath.Join(dir, "tree"), filepath.Join(dir, "outside")
	require.NoError(t, os.MkdirAll(filepath.Join(tree, "a/mounted"), 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(tree, "b/c"), 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(outside, "d"), 0o755))
	require.NoError(t, unix.Mount(outside, filepath.Join(tree, "a/mounted"), "", unix.MS_BIND, ""))
	t.Cleanup(func() { _ = unix.Unmount(filepath.Join(tree, "a/mounted"), unix.MNT_DETACH) })
	err := rmtree.Remove(tree)
	require.ErrorIs(t, err, unix.EBUSY)
	var p *fs.PathError
	require.True(t, errors.As(err, &p))
	require.Equal(t, filepath.Join(tree, "a/mounted"), p.Path)
	require.DirExists(t, filepath.Join(outside, "d"))
	require.NoDirExists(t, filepath.Join(tree, "b"), "the rest is removed")
	require.NoError(t, unix.Unmount(filepath.Join(tree, "a/mounted"), 0))
	require.NoError(t, rmtree.Remove(tree))
}

// Files can be removed although many other files cannot, whether these come
// first or last in the listing.
func TestWhatCannotBeRemovedKeepsNothingElse(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may remove all; tested without root")
	}
	tree := filepath.Join(t.TempDir(), "tree")
	for i := range 1500 {
		sub := filepath.Join(tree, fmt.Sprintf("a-long-name-so-that-a-list-takes-several-calls-%d", i))
		require.NoError(t, os.MkdirAll(sub, 0o755))
		require.NoError(t, os.WriteFile(sub+".file", nil, 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(sub, "f"), nil, 0o600))
		require.NoError(t, os.Chmod(sub, 0o500))
	}
	require.ErrorIs(t, rmtree.Remove(tree), unix.EACCES)
	entries, err := os.ReadDir(tree)
	require.NoError(t, err)
	require.Len(t, entries, 1500)
	for _, e := range entries {
		require.NoError(t, os.Chmod(filepath.Join(tree, e.Name()), 0o700))
	}
	require.NoError(t, rmtree.Remove(tree))
}

// What cannot be removed is tried once, however deep it is. Everything else is
// removed.
func TestWhatCannotBeRemovedDeepInATreeIsGivenUp(t *testing.T) {
	dir := t.TempDir()
	tree, deep := filepath.Join(dir, "tree"), ""
	for range 200 {
		deep += "/d"
	}
	require.NoError(t, os.MkdirAll(tree+deep, 0o755))
	for i := range 200 {
		at := tree + deep[:2*i]
		require.NoError(t, os.WriteFile(at+"/a-file", nil, 0o600))
		require.NoError(t, os.MkdirAll(at+"/z/z", 0o755))
	}
	mend := func() {}
	switch {
	case os.Geteuid() != 0:
		require.NoError(t, os.WriteFile(tree+deep+"/f", nil, 0o600))
		require.NoError(t, os.Chmod(tree+deep, 0o500))
		mend = func() { require.NoError(t, os.Chmod(tree+deep, 0o700)) }
	case fstest.CanMount(t):
		require.NoError(t, unix.Mount(dir, tree+deep, "", unix.MS_BIND, ""))
		unmount := func() { _ = unix.Unmount(tree+deep, unix.MNT_DETACH) }
		t.Cleanup(unmount)
		mend = unmount
	default:
		t.Skip("nothing can be mounted")
	}
	before := fstest.OpenDescriptors(t)
	err := rmtree.Remove(tree)
	require.True(t, errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EACCES), "%v", err)
	require.Equal(t, before, fstest.OpenDescriptors(t))
	for i := range 200 {
		entries, err := os.ReadDir(tree + deep[:2*i])
		require.NoError(t, err)
		require.Len(t, entries, 1, "at depth %d only the way down is left", i)
	}
	mend()
	require.NoError(t, rmtree.Remove(tree))
	require.NoDirExists(t, tree)
}

// The flags of a mount inside the tree belong to another file system.
func TestWhatIsMountedInATreeKeepsItsFlags(t *testing.T) {
	if os.Geteuid() != 0 || !fstest.CanMount(t) {
		t.Skip("nothing can be mounted, or no flags set")
	}
	dir := t.TempDir()
	outside, tree := filepath.Join(dir, "outside"), filepath.Join(dir, "tree")
	require.NoError(t, os.WriteFile(outside, nil, 0o600))
	require.NoError(t, os.MkdirAll(tree, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(tree, "f"), nil, 0o600))
	t.Cleanup(func() {
		require.NoError(t, rmtree.Remove(tree))
		require.NoError(t, rmtree.Remove(outside))
	})
	if err := setFlag(outside, unix.STATX_ATTR_IMMUTABLE); err != nil {
		t.Skipf("no flags can be set here: %v", err)
	}
	require.NoError(t, setFlag(filepath.Join(tree, "f"), unix.STATX_ATTR_IMMUTABLE))
	require.NoError(t, unix.Mount(outside, filepath.Join(tree, "f"), "", unix.MS_BIND, ""))
	defer func() { require.NoError(t, unix.Unmount(filepath.Join(tree, "f"), 0)) }()
	require.NoError(t, setFlag(tree, unix.STATX_ATTR_APPEND))
	require.Error(t, rmtree.Remove(tree))
	require.ErrorIs(t, os.Remove(outside), unix.EPERM, "it is immutable still")
}
