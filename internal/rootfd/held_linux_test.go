package rootfd_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/rmtree"
	"github.com/layerkeep/layerkeep/internal/rootfd"
	"github.com/layerkeep/layerkeep/internal/sys"
)

// deepTree makes nested directories called d, with a file f in each hundredth.
func deepTree(t *testing.T, depth int) string {
	t.Helper()
	tree := filepath.Join(t.TempDir(), "tree")
	t.Cleanup(func() { require.NoError(t, rmtree.Remove(tree)) })
	require.NoError(t, os.Mkdir(tree, 0o755))
	at, err := unix.Open(tree, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	for i := range depth {
		if i%100 == 0 {
			require.NoError(t, sys.Mknodat(at, "f", unix.S_IFREG|0o600, 0))
		}
		require.NoError(t, sys.Mkdirat(at, "d", 0o755))
		next, err := sys.OpenDirat(at, "d")
		require.NoError(t, err)
		require.NoError(t, unix.Close(at))
		at = next
	}
	require.NoError(t, unix.Close(at))
	return tree
}

// fewDescriptors leaves the process so many more descriptors.
func fewDescriptors(t *testing.T, n int) {
	t.Helper()
	var limit unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	low := unix.Rlimit{Cur: uint64(fstest.OpenDescriptors(t) + n), Max: limit.Max}
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &low))
	t.Cleanup(func() { require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)) })
}

// walk reads a tree as a diff and other readers do: the names of each
// directory, then its children, and then the directory once more.
func walk(d *rootfd.Dir) (dirs, files int, err error) {
	names, err := d.Names()
	if err != nil {
		return 0, 0, err
	}
	dirs = 1
	for _, name := range names {
		st, err := d.Lookup(name)
		if err != nil {
			return dirs, files, err
		}
		if !st.IsDir() {
			files++
			continue
		}
		sub, err := d.OpenDir(name)
		if err != nil {
			return dirs, files, err
		}
		moreDirs, moreFiles, err := walk(sub)
		dirs, files = dirs+moreDirs, files+moreFiles
		if err := errors.Join(err, sub.Close()); err != nil {
			return dirs, files, err
		}
	}
	_, err = d.Stat()
	return dirs, files, err
}

func TestAWalkOfAnyDepthHoldsFewDescriptors(t *testing.T) {
	depth := 20_000
	if testing.Short() {
		depth = 2_000
	}
	tree := deepTree(t, depth)
	before := fstest.OpenDescriptors(t)
	fewDescriptors(t, 100)
	d, err := rootfd.Open(tree, rootfd.Options{})
	require.NoError(t, err)
	dirs, files, err := walk(d)
	require.NoError(t, err)
	require.Equal(t, depth+1, dirs)
	require.Equal(t, depth/100, files)
	require.NoError(t, d.Close())
	require.Equal(t, before, fstest.OpenDescriptors(t))
}

// A reader with several goroutines uses upper directories while lower ones are
// open.
func TestUpperDirectoriesAreUsedWhileLowerOnesAreOpen(t *testing.T) {
	tree := deepTree(t, 500)
	before := fstest.OpenDescriptors(t)
	fewDescriptors(t, 100)
	root, err := rootfd.Open(tree, rootfd.Options{})
	require.NoError(t, err)
	chain := []*rootfd.Dir{root}
	for range 500 {
		next, err := chain[len(chain)-1].OpenDir("d")
		require.NoError(t, err)
		chain = append(chain, next)
	}
	var users sync.WaitGroup
	failed := make(chan error, 4*len(chain))
	for worker := range 4 {
		users.Go(func() {
			for i := range chain {
				d := chain[(i*7+worker*131)%(len(chain)-1)]
				if _, err := d.Lookup("d"); err != nil {
					failed <- err
				}
				if worker == 0 {
					if _, err := d.XattrNames("d"); err != nil {
						failed <- err
					}
				}
			}
		})
	}
	users.Wait()
	close(failed)
	for err := range failed {
		require.NoError(t, err)
	}
	for i := len(chain) - 1; i >= 0; i-- {
		require.NoError(t, chain[i].Close())
		require.NoError(t, chain[i].Close(), "a second time")
		_, err := chain[i].Stat()
		require.ErrorIs(t, err, unix.EBADF)
	}
	require.Equal(t, before, fstest.OpenDescriptors(t))
}

// A directory whose descriptor a caller has keeps it. The others are still
// found again.
func TestADirectoryIsFoundThoughOthersKeepTheirDescriptors(t *testing.T) {
	tree := deepTree(t, 300)
	root, err := rootfd.Open(tree, rootfd.Options{})
	require.NoError(t, err)
	chain := []*rootfd.Dir{root}
	for i := range 300 {
		next, err := chain[len(chain)-1].OpenDir("d")
		require.NoError(t, err)
		if i < 100 {
			require.GreaterOrEqual(t, next.Fd(), 0)
		}
		chain = append(chain, next)
	}
	for i := len(chain) - 1; i >= 0; i-- {
		_, err := chain[i].Stat()
		require.NoError(t, err, "%d", i)
		if i > 0 {
			_, err = chain[i/2].Stat()
			require.NoError(t, err, "%d from %d", i/2, i)
		}
		require.NoError(t, chain[i].Close())
	}
}

// A container can move directories at any moment. The directory above another
// one may then be a different one than before.
func TestADirectoryThatWasMovedIsNotTakenForAnother(t *testing.T) {
	tree := deepTree(t, 200)
	root, err := rootfd.Open(tree, rootfd.Options{})
	require.NoError(t, err)
	defer root.Close()
	chain := []*rootfd.Dir{root}
	for range 200 {
		next, err := chain[len(chain)-1].OpenDir("d")
		require.NoError(t, err)
		defer next.Close()
		chain = append(chain, next)
	}
	// The directory 12 is below another directory now, and a new directory has its
	// name and its place.
	require.NoError(t, os.Mkdir(filepath.Join(tree, "elsewhere"), 0o755))
	old := filepath.Join(tree, strings.Repeat("d/", 11))
	require.NoError(t, os.Rename(filepath.Join(old, "d"), filepath.Join(tree, "elsewhere/d")))
	require.NoError(t, os.MkdirAll(filepath.Join(old, "d/d"), 0o755))
	for i := 200; i > 12; i-- {
		_, err := chain[i].Stat()
		require.NoError(t, err, "%d", i)
		require.NoError(t, chain[i].Close())
	}
	_, err = chain[12].Stat()
	require.NoError(t, err, "it is found from below")
	require.NoError(t, chain[12].Close(), "above it is another one now")
	want, err := os.Stat(old)
	require.NoError(t, err)
	got, err := chain[11].Stat()
	require.NoError(t, err, "by its name")
	require.Equal(t, want.Sys().(*syscall.Stat_t).Ino, got.Ino)
}

func TestThePathInAnErrorIsShort(t *testing.T) {
	tree := deepTree(t, 3000)
	d, err := rootfd.Open(tree, rootfd.Options{})
	require.NoError(t, err)
	defer d.Close()
	sub, err := d.OpenDir("d")
	require.NoError(t, err)
	defer sub.Close()
	_, err = sub.Lookup("missing")
	require.EqualError(t, err, fmt.Sprintf("lstat %s/d/missing: no such file or directory", tree))
	for range 2999 {
		next, err := sub.OpenDir("d")
		require.NoError(t, err)
		defer next.Close()
		sub = next
	}
	_, err = sub.Lookup("missing")
	require.ErrorIs(t, err, os.ErrNotExist)
	require.Less(t, len(err.Error()), 5000)
	require.Contains(t, err.Error(), tree+"/…/d/d/")
	require.True(t, strings.HasSuffix(sub.Path(), "/d/d"))
}
