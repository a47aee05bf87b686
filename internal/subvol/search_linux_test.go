package subvol

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

// searchable opens a directory on a new btrfs in which trees can be searched.
func searchable(t *testing.T) (*os.File, string) {
	t.Helper()
	root := fstest.Scratch(t, fstest.Btrfs)
	f, err := os.Open(root)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	err = Each(f, OfInode(FirstInode, InodeItem, InodeItem), func(Item) error { return nil })
	if errors.Is(err, unix.EPERM) {
		t.Skipf("searching a tree is not permitted here: %v", err)
	}
	require.NoError(t, err)
	return f, root
}

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	require.NoError(t, unix.Lstat(path, &st))
	return st.Ino
}

func TestASearchGoesOnWhereOneAnswerEnds(t *testing.T) {
	f, root := searchable(t)
	const count = 5000 // names, which fill several buffers
	for i := range count {
		name := fmt.Sprintf("%04d %s", i, strings.Repeat("x", 100))
		require.NoError(t, os.WriteFile(filepath.Join(root, name), nil, 0o600))
	}
	require.NoError(t, unix.Syncfs(int(f.Fd())))
	for _, few := range []bool{false, true} {
		q := OfInode(inode(t, root), DirIndex, DirIndex)
		q.Few = few
		next := 0
		require.NoError(t, Each(f, q, func(i Item) error {
			e, err := i.Entry()
			require.NoError(t, err)
			require.Equal(t, fmt.Sprintf("%04d", next), string(e.Name[:4]))
			next++
			return nil
		}))
		require.Equal(t, count, next)
	}
}

func TestAnItemThatFillsTheBufferMakesItGrow(t *testing.T) {
	f, root := searchable(t)
	path := filepath.Join(root, "f")
	require.NoError(t, os.WriteFile(path, []byte("body"), 0o600))
	require.NoError(t, unix.Setxattr(path, "user.long", make([]byte, 12_000), 0))
	require.NoError(t, unix.Syncfs(int(f.Fd())))
	q := OfInode(inode(t, path), 0, ExtentData)
	q.Few = true
	var types []uint8
	longest := 0
	require.NoError(t, Each(f, q, func(i Item) error {
		types = append(types, i.Key.Type)
		longest = max(longest, len(i.Data))
		return nil
	}))
	require.Equal(t, []uint8{InodeItem, InodeRef, 24, ExtentData}, types)
	require.Greater(t, longest, 12_000)
}

func TestOnlyLeavesOfLaterTransactionsAreSearched(t *testing.T) {
	f, root := searchable(t)
	for i := range 3000 {
		require.NoError(t, os.WriteFile(filepath.Join(root, fmt.Sprint(i)), []byte("x"), 0o600))
	}
	require.NoError(t, unix.Syncfs(int(f.Fd())))
	ino := inode(t, filepath.Join(root, "1500"))
	var before uint64
	require.NoError(t, Each(f, OfInode(ino, InodeItem, InodeItem), func(i Item) error {
		n, err := i.Inode()
		before = n.Transid
		return err
	}))
	require.NoError(t, os.Chmod(filepath.Join(root, "1500"), 0o644))
	require.NoError(t, unix.Syncfs(int(f.Fd())))
	var changed []uint64
	items := 0
	require.NoError(t, Each(f, Query{Max: MaxKey(), MinTransid: before + 1}, func(i Item) error {
		items++
		if i.Key.Type != InodeItem {
			return nil
		}
		n, err := i.Inode()
		if n.Transid > before {
			changed = append(changed, i.Key.ObjectID)
		}
		return err
	}))
	require.Equal(t, []uint64{ino}, changed)
	require.Less(t, items, 500, "one leaf")
}

func TestASearchElsewhereIsAnError(t *testing.T) {
	f, err := os.Open("/proc/self")
	require.NoError(t, err)
	defer f.Close()
	err = Each(f, OfInode(1, 0, 255), func(Item) error { return nil })
	require.ErrorIs(t, err, unix.ENOTTY)
	require.ErrorContains(t, err, "TREE_SEARCH_V2")
}
