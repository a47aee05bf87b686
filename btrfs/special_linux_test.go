package btrfs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

func inodeOf(t testing.TB, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	require.NoError(t, unix.Lstat(path, &st))
	return st.Ino
}

// After a mount, the kernel gives out inode numbers after the highest one in
// use. So a new file gets the number of the newest file if that file was
// deleted before.
func TestAnInodeNumberIsUsedAgain(t *testing.T) {
	for name, c := range map[string]struct{ before, again change }{
		"by a file":                {edits(fstest.Create("a/last", "old")), edits(fstest.Create("a/last", "new"))},
		"and that of the name too": {edits(fstest.Create("a/last", "old")), edits(fstest.Create("a/other", "old"))},
		"by the same file":         {edits(fstest.Create("a/last", "old")), edits(fstest.Create("a/last", "old"))},
		"by a file elsewhere":      {edits(fstest.Create("a/last", "old")), edits(fstest.Create("d/last", "old"))},
		"by a directory":           {edits(fstest.Create("a/last", "old")), edits(fstest.Mkdir("a/last"))},
		"by a link to elsewhere":   {edits(fstest.MakeSymlink("a/last", "x")), edits(fstest.MakeSymlink("a/last", "y"))},
		"a directory by another":   {edits(fstest.Mkdir("a/last")), edits(fstest.Mkdir("a/last"), fstest.Create("a/last/x", "x"))},
		"a directory by one moved": {edits(fstest.Mkdir("a/last")), edits(fstest.Mkdir("x"), fstest.Create("x/f", "x"), fstest.Rename("x", "a/last"))},
	} {
		t.Run(name, func(t *testing.T) {
			root := scratch(t)
			old := newVolume(t, root, "old")
			all(some, c.before)(t, old.fs())
			ino := inodeOf(t, old.fs("a/last"))
			new := old.snapshot(t, "new")
			edits(fstest.Remove("a/last"))(t, new.fs())
			remount(t, root)
			c.again(t, new.fs())
			used := false
			for _, p := range []string{"a/last", "a/other", "d/last"} {
				if _, err := os.Lstat(new.fs(p)); err == nil {
					used = used || inodeOf(t, new.fs(p)) == ino
				}
			}
			require.True(t, used, "the case is none when the number is not used again")
			check(t, old, new, true)
		})
	}
}

func TestASubvolumeInAWritableLayerIsATreeOfItsOwn(t *testing.T) {
	vols := &volumes{root: scratch(t)}
	old := newVolume(t, vols.root, vols.name())
	some(t, old.fs())
	new := old.snapshot(t, vols.name())
	edits(fstest.Remove("d"), fstest.Chmod("e/f", 0o600))(t, new.fs())
	call(t, new.fs(), 0x50009418, 56, "d", -1) // in place of a directory
	call(t, new.fs("a"), 0x50009418, 56, "in", -1)
	call(t, new.fs("a/in"), 0x50009418, 56, "deep", -1)
	edits(
		fstest.Create("d/f", "four"), fstest.Mkdir("d/dir"), fstest.MakeLink("d/dir/same", "d/f"),
		fstest.Create("a/in/deep/x", big), fstest.Create("a/in/y", ""),
	)(t, new.fs())
	for _, p := range []string{"d", "a", "a/in", "a/in/deep"} {
		require.NoError(t, fstest.Touch(p, fstest.EditTime).Apply(new.fs()))
	}
	got := check(t, old, new, true)
	require.Contains(t, brief(got), `A "a/in/deep/x"`)
	require.Contains(t, brief(got), `A "d/dir/same"`)

	// A snapshot shows empty directories in place of the nested subvolumes. Nothing
	// can be made in them.
	third := new.snapshot(t, vols.name())
	edits(fstest.Write("a/f", "x"))(t, third.fs())
	o, n := third.open(t, false), third.open(t, false)
	require.NoError(t, n.compareWith(t.Context(), o, third.base))
	require.Empty(t, lines(t, o, n))
	_, err := os.Lstat(third.fs("a/in/y"))
	require.ErrorIs(t, err, os.ErrNotExist)
	require.EqualValues(t, 2, inodeOf(t, third.fs("a/in")))
}

// The names that a file has in one directory are in one item of the tree as
// long as they fit. The other names are in items of another type.
func TestAFileHasMoreNamesInOneDirectoryThanFitIntoOneItem(t *testing.T) {
	vols := &volumes{root: scratch(t)}
	old := newVolume(t, vols.root, vols.name())
	all(some, edits(fstest.Mkdir("many"), fstest.Mkdir("far"), fstest.Create("many/0", "x")))(t, old.fs())
	const links = 1200
	name := func(i int) string { return fmt.Sprintf("many/a rather long name of a file, number %d", i) }
	for i := range links {
		require.NoError(t, os.Link(old.fs("many/0"), old.fs(name(i))))
	}
	require.NoError(t, os.Link(old.fs("many/0"), old.fs("far/away")))
	require.NoError(t, fstest.Touch("far", fstest.EditTime).Apply(old.fs()))

	t.Run("a write", func(t *testing.T) {
		new := old.snapshot(t, vols.name())
		edits(fstest.Write(name(1000), "y"))(t, new.fs())
		require.Len(t, check(t, old, new, false), links+2)
	})
	t.Run("a name less", func(t *testing.T) {
		new := old.snapshot(t, vols.name())
		edits(fstest.Remove(name(1100)))(t, new.fs())
		require.Equal(t, []string{fmt.Sprintf("D %q", name(1100))}, check(t, old, new, false))
	})
	t.Run("a name renamed and one more", func(t *testing.T) {
		new := old.snapshot(t, vols.name())
		edits(fstest.Rename(name(7), "far/seven"), fstest.MakeLink("d/more", "far/away"))(t, new.fs())
		require.NotEmpty(t, check(t, old, new, false))
		checkLinks(t, new.open(t, false))
	})
	t.Run("all names but those of another directory go", func(t *testing.T) {
		new := old.snapshot(t, vols.name())
		edits(fstest.Remove("many"))(t, new.fs())
		require.Equal(t, []string{`D "many"`}, check(t, old, new, false))
	})
}

// The clock for change times ticks slowly. A change of names may change nothing
// else in the directory's inode than its sequence number.
func TestNamesThatChangeWithinOneTickOfTheClockAreFound(t *testing.T) {
	vols := &volumes{root: scratch(t)}
	for range 50 {
		old := newVolume(t, vols.root, vols.name())
		require.NoError(t, os.Mkdir(old.fs("d"), 0o755))
		require.NoError(t, os.WriteFile(old.fs("d/a"), nil, 0o644))
		require.NoError(t, os.WriteFile(old.fs("d/b"), nil, 0o644))
		new := old.snapshot(t, vols.name())
		require.NoError(t, os.Rename(new.fs("d/a"), new.fs("d/c")))
		require.NoError(t, os.Remove(new.fs("d/b")))
		require.NoError(t, os.WriteFile(new.fs("d/e"), nil, 0o644))
		got := brief(check(t, old, new, true))
		require.Subset(t, got, []string{`D "d/a"`, `D "d/b"`, `A "d/c"`, `A "d/e"`})
	}
}

// The item with the names of a file can be in another leaf than its inode. That
// leaf may not have changed.
func TestTheNamesOfAChangedInodeAreInALeafThatDidNotChange(t *testing.T) {
	vols := &volumes{root: scratch(t)}
	old := newVolume(t, vols.root, vols.name())
	const files, apart = 3000, 70 // about one in every leaf
	many("many", files)(t, old.fs())
	for i := range files { // splits leaves in any place
		path := old.fs("many", fmt.Sprint(i*1009%files))
		require.NoError(t, unix.Setxattr(path, "user.x", make([]byte, 100+i%7*100), 0))
	}
	separate := 0
	for first := range 20 {
		new := old.snapshot(t, vols.name())
		want := map[string]bool{}
		for i := first; i < files; i += apart {
			want[fmt.Sprint("many/", i)] = true
			require.NoError(t, os.Chmod(new.fs("many", fmt.Sprint(i)), 0o600))
		}
		o, n := changed(t, old, new)
		separate += n.work.completed
		got := brief(lines(t, o, n))
		require.Len(t, got, len(want))
		for _, line := range got {
			require.True(t, want[strings.Trim(line, `M "`)], line)
		}
	}
	require.NotZero(t, separate, "the case is none when all were in one leaf")
}

// After a crash the kernel replays the log that fsync(2) wrote.
func TestWhatWasSyncedBeforeACrashIsFoundAfterIt(t *testing.T) {
	root := scratch(t)
	old := newVolume(t, root, "old")
	some(t, old.fs())
	new := old.snapshot(t, "new")
	synced := func(path string) change {
		return opened(path, os.O_RDONLY, func(t testing.TB, f *os.File) { require.NoError(t, f.Sync()) })
	}
	all(
		edits(fstest.Create("a/b/new", "n")), synced("a/b/new"),
		edits(fstest.Write("e/f", "w")), synced("e/f"),
		edits(fstest.Rename("top", "a/top")), synced("a/top"),
		edits(fstest.MakeLink("d/link", "a/f")), synced("d/link"),
		edits(fstest.Remove("d/big")), synced("d"),
		edits(fstest.SetXattr("a/b/f", "user.x", "2")), synced("a/b/f"),
	)(t, new.fs())
	crash(t, root)
	got := brief(check(t, old, new, true))
	for _, want := range []string{`A "a/b/new"`, `M "e/f"`, `A "a/top"`, `D "top"`, `M "a/b/f"`, `D "d/big"`} {
		require.Contains(t, got, want)
	}
}

// crash puts the file system into the state after a power cut.
func crash(t *testing.T, scratch string) {
	t.Helper()
	target := filepath.Dir(scratch)
	image := filepath.Join(filepath.Dir(target), "image")
	out, err := exec.Command("cp", "--sparse=always", image, image+".cut").CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NoError(t, unix.Unmount(target, 0))
	require.Eventually(t, func() bool { // the kernel still writes while it unmounts
		out, err := exec.Command("losetup", "-j", image).CombinedOutput()
		return err == nil && len(out) == 0
	}, fstest.Patience, 10*time.Millisecond)
	require.NoError(t, os.Rename(image+".cut", image))
	out, err = exec.Command("mount", "-t", "btrfs", "-o", "loop", image, target).CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// A balance writes all leaves again, so the search has to read all of them, but
// it changes no inode.
func TestABalanceIsNoChange(t *testing.T) {
	program, err := exec.LookPath("btrfs")
	if err != nil {
		t.Skip("the program btrfs is not installed")
	}
	vols := &volumes{root: scratch(t)}
	old := newVolume(t, vols.root, vols.name())
	all(some, many("a/many", 2000))(t, old.fs())
	new := old.snapshot(t, vols.name())
	edits(fstest.Write("a/b/f", "x"), fstest.Rename("d", "a/d"))(t, new.fs())
	before := check(t, old, new, false)
	out, err := exec.Command(program, "balance", "start", "--full-balance", vols.root).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, before, check(t, old, new, false))
	_, n := changed(t, old, new)
	require.Less(t, len(n.since.inodes), 20)
}

// A layer is compared by search only with the layer that it is a snapshot of.
func TestATreeThatIsNoSnapshotIsComparedWhole(t *testing.T) {
	vols := &volumes{root: scratch(t)}
	old := newVolume(t, vols.root, vols.name())
	some(t, old.fs())
	new := newVolume(t, vols.root, vols.name())
	all(some, edits(fstest.Write("top", "x")))(t, new.fs())
	o, n := old.open(t, true), new.open(t, false)
	require.NoError(t, n.compareWith(t.Context(), o, 0))
	require.Nil(t, n.since)
	require.Equal(t, []string{`M "top"`}, brief(lines(t, o, n)))
}

func TestATreeWhoseRootWasReplacedIsComparedWhole(t *testing.T) {
	vols := &volumes{root: scratch(t)}
	old := newVolume(t, vols.root, vols.name())
	some(t, old.fs())
	new := old.snapshot(t, vols.name())
	require.NoError(t, os.Rename(new.fs(), filepath.Join(new.path, "aside")))
	require.NoError(t, os.Mkdir(new.fs(), 0o755))
	o, n := old.open(t, true), new.open(t, false)
	require.NoError(t, n.compareWith(t.Context(), o, new.base))
	require.Equal(t, walked(t, old, new), lines(t, o, n))
}

// Files beside the tree, where a layer tar is unpacked, are not part of the
// tree.
func TestWhatIsBesideTheTreeIsNotInIt(t *testing.T) {
	vols := &volumes{root: scratch(t)}
	old := newVolume(t, vols.root, vols.name())
	some(t, old.fs())
	new := old.snapshot(t, vols.name())
	staging := filepath.Join(new.path, "staging")
	require.NoError(t, os.MkdirAll(filepath.Join(staging, "x/y"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(staging, "x/y/f"), []byte("f"), 0o644))
	require.NoError(t, os.Link(filepath.Join(staging, "x/y/f"), new.fs("moved")))
	require.NoError(t, os.Link(new.fs("top"), filepath.Join(staging, "x/top")))
	require.NoError(t, os.Rename(filepath.Join(staging, "x/y"), new.fs("y")))
	check(t, old, new, false)
	v := new.open(t, false)
	var node diff.Node
	walk(t, v, func(p string, n diff.Node) {
		if p == "top" {
			node = n
		}
	})
	paths, ok, err := v.Links(node)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, []string{"top"}, paths)
}
