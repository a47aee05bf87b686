package btrfs

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/subvol"
)

// wide makes directories of 100 files each.
func wide(files int) change {
	return func(t testing.TB, fs string) {
		for i := range files / 100 {
			many(fmt.Sprintf("tree/%d/%d", i%20, i), 100)(t, fs)
		}
	}
}

func (w *work) add(v work) {
	w.searches += v.searches
	w.items += v.items
	w.listed += v.listed
	w.opened += v.opened
	w.dirs += v.dirs
	w.looked += v.looked
}

// The same ten changes cost the same over any parent.
func TestTheWorkDoesNotGrowWithTheBase(t *testing.T) {
	vols := &volumes{root: scratch(t)}
	ten := edits(
		fstest.Write("tree/3/3/7", "x"), fstest.Chmod("tree/4/4/8", 0o600), fstest.Remove("tree/5/5/9"), fstest.Create("tree/6/6/new", "n"),
		fstest.Rename("tree/7/7", "tree/8/moved"), fstest.MakeLink("tree/9/9/link", "tree/1/1/1"), fstest.SetXattr("tree/2/2", "user.x", "1"),
		fstest.Remove("tree/0/0"), fstest.Mkdir("tree/3/dir"), fstest.Write("tree/3/3/8", big),
	)
	cost := func(files int) (sum work, got []string) {
		old := newVolume(t, vols.root, vols.name())
		all(some, wide(files))(t, old.fs())
		new := old.snapshot(t, vols.name())
		ten(t, new.fs())
		o, n := changed(t, old, new)
		got = brief(lines(t, o, n))
		sum.add(o.work)
		sum.add(n.work)
		return sum, got
	}
	small, want := cost(2_000)
	files := 50_000
	if testing.Short() {
		files = 10_000
	}
	large, got := cost(files)
	require.Equal(t, want, got)
	require.NotEmpty(t, got)
	t.Logf("over 2,000 files: %+v", small)
	t.Logf("over %d files: %+v", files, large)
	// Leaves are split in different places, and the directories above have more
	// names.
	require.LessOrEqual(t, large.items, 2*small.items+1000, "items that searches returned")
	require.LessOrEqual(t, large.searches, 2*small.searches, "searches")
	require.Equal(t, small.listed, large.listed, "directories listed")
	require.Equal(t, small.opened, large.opened, "files opened")
	require.Equal(t, small.dirs, large.dirs, "directories opened")
	require.Equal(t, small.looked, large.looked, "files looked at")
}

// If a huge directory lost a few names, only these names are looked at.
func TestDeletionsInAHugeDirectoryLookAtNothingElse(t *testing.T) {
	vols := &volumes{root: scratch(t)}
	old := newVolume(t, vols.root, vols.name())
	many("huge", 100_000)(t, old.fs())
	new := old.snapshot(t, vols.name())
	for _, i := range []int{0, 1, 50_000, 77_777, 99_999} {
		edits(fstest.Remove(fmt.Sprint("huge/", i)))(t, new.fs())
	}
	o, n := changed(t, old, new)
	got := brief(lines(t, o, n))
	require.Equal(t, []string{`D "huge/0"`, `D "huge/1"`, `D "huge/50000"`, `D "huge/77777"`, `D "huge/99999"`}, got)
	require.LessOrEqual(t, n.work.looked, 20, "attributes read of the new side")
	require.LessOrEqual(t, o.work.looked, 20, "attributes read of the old side")
	require.Zero(t, n.work.opened+o.work.opened)
}

// If most names of a large directory were removed, the remaining ones are still
// compared name by name.
func TestMostOfALargeDirectoryIsDeleted(t *testing.T) {
	vols := &volumes{root: scratch(t)}
	old := newVolume(t, vols.root, vols.name())
	all(many("large", 10_000), kept("large"))(t, old.fs())
	new := old.snapshot(t, vols.name())
	for i := range 10_000 {
		if i%10 != 0 {
			require.NoError(t, os.Remove(new.fs("large", fmt.Sprint(i))))
		}
	}
	kept("large")(t, new.fs())
	o, n := changed(t, old, new)
	require.Equal(t, 9000, len(lines(t, o, n)))
	require.Zero(t, n.work.opened+o.work.opened)
}

// If few files of a directory changed, their names are searched for one by one.
// If many changed, the directory is listed.
func TestOnlyADirectoryWithManyChangesIsListed(t *testing.T) {
	vols := &volumes{root: scratch(t)}
	old := newVolume(t, vols.root, vols.name())
	many("d", 3000)(t, old.fs())
	for _, c := range []struct{ change, listed int }{{5, 0}, {12, 0}, {600, 1}} {
		new := old.snapshot(t, vols.name())
		for i := range c.change {
			require.NoError(t, os.Chmod(new.fs("d", fmt.Sprint(i)), 0o600))
		}
		o, n := changed(t, old, new)
		require.Len(t, lines(t, o, n), c.change)
		require.Equal(t, c.listed, n.work.listed)
		require.LessOrEqual(t, n.work.searches, 20)
	}
}

// A container that reads all files of its image sets their access times. A diff
// does not read these files again, and lists no directory.
func TestWhatWasOnlyReadIsNotReadAgain(t *testing.T) {
	vols := &volumes{root: scratch(t)}
	old := newVolume(t, vols.root, vols.name())
	all(some, many("a/many", 100))(t, old.fs())
	paths := []string{".", "a", "a/many", "a/b", "d", "a/g", "d/big", "a/b/f", "top"}
	// By default the kernel updates an access time only if it is older than the
	// change time (relatime).
	for _, p := range paths {
		times := []unix.Timespec{{Sec: 1}, {Nsec: unix.UTIME_OMIT}}
		require.NoError(t, unix.UtimesNanoAt(unix.AT_FDCWD, old.fs(p), times, 0))
	}
	new := old.snapshot(t, vols.name())
	for _, p := range paths {
		if _, err := os.ReadDir(new.fs(p)); err != nil {
			_, err = os.ReadFile(new.fs(p))
			require.NoError(t, err)
		}
	}
	o, n := changed(t, old, new)
	require.True(t, n.since.has(inodeOf(t, new.fs("a/g"))), "the case is none when nothing was written")
	require.True(t, n.since.has(inodeOf(t, new.fs("a/many"))))
	require.Empty(t, lines(t, o, n))
	require.Zero(t, n.work.opened+o.work.opened, "files opened")
	require.Zero(t, n.work.listed+o.work.listed, "directories listed")
}

func TestAMillionChangedInodesAreCompact(t *testing.T) {
	const count = 1_000_000
	before := heap()
	s := &changeScan{changeSet: &changeSet{base: 1}, tree: &tree{ino: 257}}
	var inode [160]byte
	inode[0], inode[8], inode[40] = 2, 2, 1
	ref := []byte{0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 'f'}
	for ino := uint64(258); ino < 258+count; ino++ {
		require.NoError(t, s.item(subvol.Item{Key: subvol.Key{ObjectID: ino, Type: subvol.InodeItem}, Data: inode[:]}))
		dir := max(257, ino/100*100)
		require.NoError(t, s.item(subvol.Item{Key: subvol.Key{ObjectID: ino, Type: subvol.InodeRef, Offset: dir}, Data: ref}))
	}
	require.NoError(t, s.finish(t.Context()))
	set := s.changeSet
	s = nil
	after := heap()
	require.Len(t, set.inodes, count)
	require.Len(t, set.links, count)
	t.Logf("%d bytes for each", (after-before)/count)
	require.LessOrEqual(t, after-before, uint64(32*count))
	require.True(t, set.isNew(500_000))
	require.Len(t, set.in(500_000), 99+1)
	require.True(t, slices.IsSortedFunc(set.links, byDir))
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
