package aufs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/aufs/aufstest"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/rootfd"
	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// branchFiles lists a branch without its bookkeeping.
func branchFiles(t *testing.T, root string) string {
	t.Helper()
	var all []string
	for _, p := range fstest.FromPath(t, root).Paths() {
		if kind, _, _ := whiteout.Parse(filepath.Base(p)); p != "." && kind != whiteout.Bookkeeping {
			all = append(all, p)
		}
	}
	return strings.Join(all, " ")
}

func TestOpaqueDirectoriesGetTheWhiteoutsThatTheModuleNeeds(t *testing.T) {
	for name, c := range map[string]struct {
		branches []string // lowest first
		want     string   // files in the uppermost branch
	}{
		"the only mark":                    {[]string{"d/a=1", "d/.wh..wh..opq d/b=2"}, "d d/.wh..wh..opq d/b"},
		"a mark below":                     {[]string{"d/a=1", "d/.wh..wh..opq d/b=2", "d/.wh..wh..opq d/c=3"}, "d d/.wh..wh..opq d/.wh.b d/c"},
		"below one that merges":            {[]string{"d/.wh..wh..opq d/a=1", "d/b=2", "d/.wh..wh..opq"}, "d d/.wh..wh..opq d/.wh.a d/.wh.b"},
		"whiteouts that are there":         {[]string{"d/.wh..wh..opq d/a=1 d/b=1", "d/.wh..wh..opq d/.wh.a"}, "d d/.wh..wh..opq d/.wh.a d/.wh.b"},
		"what the parents hide":            {[]string{"d/.wh..wh..opq d/a=1 d/b=1", "d/.wh.a", "d/.wh..wh..opq"}, "d d/.wh..wh..opq d/.wh.b"},
		"a file of the same name":          {[]string{"d/.wh..wh..opq d/a=1 d/b/x=1", "d/.wh..wh..opq d/a=2 d/b=2"}, "d d/.wh..wh..opq d/a d/b"},
		"a directory of the same name":     {[]string{"d/.wh..wh..opq d/e/a=1 d/e/f/x=1", "d/.wh..wh..opq d/e/f/y=2"}, "d d/.wh..wh..opq d/e d/e/.wh.a d/e/f d/e/f/.wh.x d/e/f/y"},
		"a directory over a file over one": {[]string{"d/.wh..wh..opq d/e/a=1", "d/e=2", "d/.wh..wh..opq d/e/"}, "d d/.wh..wh..opq d/e d/e/.wh.a"},
		"below a file":                     {[]string{"d/.wh..wh..opq d/a=1", "d=2", "d/.wh..wh..opq"}, "d d/.wh..wh..opq d/.wh.a"},
		"below a whiteout":                 {[]string{"d/.wh..wh..opq d/a=1", ".wh.d", "d/.wh..wh..opq"}, "d d/.wh..wh..opq"},
		"deep down":                        {[]string{"a/b/d/.wh..wh..opq a/b/d/x=1 a/y=1", "a/b/d/.wh..wh..opq"}, "a a/b a/b/d a/b/d/.wh..wh..opq a/b/d/.wh.x"},
		"a mark only below":                {[]string{"d/.wh..wh..opq d/a=1", "d/b=2"}, "d d/b"},
		"beside its own whiteout":          {[]string{"d/.wh..wh..opq d/a=1", "d/.wh..wh..opq .wh.d"}, ".wh.d d d/.wh..wh..opq"},
		"one branch":                       {[]string{"d/.wh..wh..opq d/a=1"}, "d d/.wh..wh..opq d/a"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBranches(t, c.branches...)
			meant := b.view()
			meant.unsealed = true
			want := fstest.FromView(t, meant)
			for range 2 {
				require.NoError(t, normalize(t.Context(), b.paths, rootfd.Options{}, ""))
				require.Equal(t, c.want, branchFiles(t, b.paths[0]))
				require.Equal(t, listing(want), listing(b.check("as the module shows it")))
			}
			fstest.RequireEqual(t, want, b.oracle(b.paths...), "times and all")
		})
	}
}

// TestAProcessThatIsKilledAmongWhiteoutsLosesNoTime prepares the state after
// such a kill: some of the whiteouts, their new times, and the file with the
// old times.
func TestAProcessThatIsKilledAmongWhiteoutsLosesNoTime(t *testing.T) {
	b := newBranches(t, "d/.wh..wh..opq d/a=1 d/b=1", "d/.wh..wh..opq")
	d, times := b.paths[0]+"/d", filepath.Join(b.dir, "times")
	old := time.Unix(-5, 6)
	require.NoError(t, os.Chtimes(d, time.Time{}, old))
	k := keptTimes{path: times}
	require.NoError(t, k.add("d", old))
	require.NoError(t, k.add("was renamed \n \"since\"", old))
	makeFile(t, d, ".wh.a")
	_, err := k.file.WriteString("12 1")
	require.NoError(t, errors.Join(err, k.file.Close()))
	require.NoError(t, normalize(t.Context(), b.paths, rootfd.Options{}, times))
	require.Equal(t, old, fstest.FromPath(t, b.paths[0])["d"].Mtime)
	require.Equal(t, "d d/.wh..wh..opq d/.wh.a d/.wh.b", branchFiles(t, b.paths[0]))
	require.NoFileExists(t, times)

	// After an error, the file stays for the next process.
	require.NoError(t, os.Remove(d+"/.wh.b"))
	require.NoError(t, os.Chtimes(d, time.Time{}, old))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, normalize(ctx, b.paths, rootfd.Options{}, times), context.Canceled)
	require.NoError(t, normalize(t.Context(), b.paths, rootfd.Options{}, times))
	require.Equal(t, old, fstest.FromPath(t, b.paths[0])["d"].Mtime)
}

// layerEditor opens a mount of a layer of the driver in dir.
func layerEditor(t *testing.T, mounts mountWay, dir string, ids ...driver.ID) (editor, func()) {
	t.Helper()
	var paths []string
	for _, id := range ids {
		paths = append(paths, filepath.Join(dir, diffDir, string(id)))
	}
	return mounts.open(t, paths)
}

func applyEdits(t *testing.T, e editor, edits ...fstest.Edit) {
	t.Helper()
	for _, edit := range edits {
		require.NoError(t, e.Apply(edit))
	}
}

// TestADirectoryMadeAnewInTwoLayersIsEmpty removes a directory and makes it
// again in two layers, one after the other.
func TestADirectoryMadeAnewInTwoLayersIsEmpty(t *testing.T) {
	mountWays(t, func(t *testing.T, mounts mountWay) {
		dir := t.TempDir()
		d := openDriver(t, dir)
		layer(t, d, "base", nil, fstest.Dir("d"), fstest.File("d/one", "1"))
		anew := []fstest.Edit{fstest.Remove("d"), fstest.Mkdir("d")}
		for i, id := range []driver.ID{"mid", "top"} {
			parents := []driver.ID{"mid", "base"}[1-i:]
			require.NoError(t, d.Create(t.Context(), id, parents, driver.CreateOptions{}))
			e, done := layerEditor(t, mounts, dir, append([]driver.ID{id}, parents...)...)
			applyEdits(t, e, anew...)
			if i == 0 {
				applyEdits(t, e, fstest.Create("d/two", "2"))
			} else {
				require.ErrorIs(t, e.Apply(fstest.Read("d/two")), os.ErrNotExist)
			}
			done()
			changes := [][]string{{"M d", "D d/one", "A d/two"}, {"D d/two"}}[i]
			require.Equal(t, changes, changesOf(t, d, id))
			require.NoError(t, d.Seal(t.Context(), id))
			require.Equal(t, changes, changesOf(t, d, id), "sealed")
		}
		v, err := d.View(t.Context(), "top")
		require.NoError(t, err)
		defer v.Close()
		want := fstest.FromView(t, v)
		require.Equal(t, "d/", listing(want))
		branches := []string{dir + "/diff/top", dir + "/diff/mid", dir + "/diff/base"}
		require.NoError(t, aufstest.Show(dir+"/shown", branches...))
		fstest.RequireEqual(t, want, fstest.FromPath(t, dir+"/shown"), "shown")
		if mounts.module {
			fstest.RequireEqual(t, want, shownByModule(t, branches...), "mounted")
		}
	})
}

// TestALayerThatIsMountedAgainShowsWhatItSays mounts a layer a second time
// before it is sealed.
func TestALayerThatIsMountedAgainShowsWhatItSays(t *testing.T) {
	dir := t.TempDir()
	d := openDriver(t, dir)
	layer(t, d, "base", nil, fstest.Dir("d"), fstest.File("d/one", "1"))
	layer(t, d, "mid", []driver.ID{"base"}, fstest.Opaque("d"), fstest.File("d/two", "2"))
	require.NoError(t, d.Create(t.Context(), "top", []driver.ID{"mid", "base"}, driver.CreateOptions{}))
	e, done := layerEditor(t, likeModule, dir, "top", "mid", "base")
	applyEdits(t, e, fstest.Remove("d"), fstest.Mkdir("d"))
	done()
	l, err := d.layers("top")
	require.NoError(t, err)
	require.NoError(t, d.prepareMount(t.Context(), l))
	e, done = layerEditor(t, likeModule, dir, "top", "mid", "base")
	defer done()
	require.ErrorIs(t, e.Apply(fstest.Read("d/two")), os.ErrNotExist)
	require.Equal(t, "d d/.wh..wh..opq d/.wh.two", branchFiles(t, dir+"/diff/top"))
}

// TestTimesThatOnlyCopyUpChangedAreNoChange edits files deep in directories of
// the parents.
func TestTimesThatOnlyCopyUpChangedAreNoChange(t *testing.T) {
	for name, c := range map[string]struct {
		edits []fstest.Edit
		want  []string
	}{
		"a write":            {[]fstest.Edit{fstest.Append("usr/bin/x", "!")}, []string{"M usr/bin/x"}},
		"a mode":             {[]fstest.Edit{fstest.Chmod("usr/bin/x", 0o755)}, []string{"M usr/bin/x"}},
		"a link":             {[]fstest.Edit{fstest.Chown("usr/link", 0, 3)}, []string{"M usr/link"}},
		"nothing":            {[]fstest.Edit{fstest.CopyUp("usr/bin/x"), fstest.CopyUp("usr/link"), fstest.CopyUp("usr/lib")}, []string{}},
		"a new name":         {[]fstest.Edit{fstest.Append("usr/bin/x", "!"), fstest.Create("usr/lib/new", "")}, []string{"M usr/bin/x", "A usr/lib/new"}},
		"a name less":        {[]fstest.Edit{fstest.Append("usr/bin/x", "!"), fstest.Remove("usr/bin/y")}, []string{"D usr/bin/y", "M usr/bin/x"}},
		"a directory's mode": {[]fstest.Edit{fstest.Append("usr/bin/x", "!"), fstest.Chmod("usr", 0o700)}, []string{"M usr", "M usr/bin/x"}},
		"a directory's time": {[]fstest.Edit{fstest.Append("usr/bin/x", "!"), fstest.Touch("usr/bin", fstest.EditTime)}, []string{"M usr/bin", "M usr/bin/x"}},
		"a time and a write": {[]fstest.Edit{fstest.Touch("usr/bin", fstest.EditTime), fstest.Append("usr/bin/x", "!")}, []string{"M usr/bin", "M usr/bin/x"}},
		"a directory anew":   {[]fstest.Edit{fstest.Append("usr/bin/x", "!"), fstest.Remove("usr/lib"), fstest.Mkdir("usr/lib")}, []string{"M usr/bin/x", "M usr/lib", "D usr/lib/z"}},
	} {
		t.Run(name, func(t *testing.T) {
			mountWays(t, func(t *testing.T, mounts mountWay) {
				dir := t.TempDir()
				needBirth(t, dir)
				d := openDriver(t, dir)
				layer(t, d, "base", nil, whole(fstest.Dir("."), fstest.Dir("usr"), fstest.Dir("usr/bin"), fstest.File("usr/bin/x", "x"),
					fstest.File("usr/bin/y", "y"), fstest.Symlink("usr/link", "bin"), fstest.Dir("usr/lib"), fstest.File("usr/lib/z", "z"))...)
				require.NoError(t, d.Create(t.Context(), "top", []driver.ID{"base"}, driver.CreateOptions{}))
				e, done := layerEditor(t, mounts, dir, "top", "base")
				applyEdits(t, e, c.edits...)
				done()
				require.Equal(t, c.want, append([]string{}, changesOf(t, d, "top")...))
				require.NoError(t, d.Seal(t.Context(), "top"))
				require.Equal(t, c.want, append([]string{}, changesOf(t, d, "top")...), "sealed")
				if mounts.module {
					v, err := d.View(t.Context(), "top")
					require.NoError(t, err)
					defer v.Close()
					fstest.RequireEqual(t, fstest.FromView(t, v), shownByModule(t, dir+"/diff/top", dir+"/diff/base"), "mounted")
				}
			})
		})
	}
}

// whole gives entries times in whole seconds, which a mount can set again.
func whole(entries ...fstest.Entry) []fstest.Entry {
	for i, e := range entries {
		entries[i] = e.WithMtime(e.Mtime.Unix(), 0)
	}
	return entries
}

// needBirth skips a test if the file system has no birth times.
func needBirth(t *testing.T, dir string) {
	t.Helper()
	d, err := rootfd.Open(filepath.Dir(dir), rootfd.Options{})
	require.NoError(t, err)
	defer d.Close()
	if born, err := birth(d, filepath.Base(dir)); err != nil || born.IsZero() {
		t.Skipf("the file system of %s does not tell when a file was made: %v", dir, err)
	}
}

func TestNamesChangePlacesWhereTheDirectoryOfTheFirstOneIsWritable(t *testing.T) {
	for name, c := range map[string]struct {
		before []fstest.Edit
		edit   fstest.Edit
		want   error
	}{
		"in one directory":               {nil, fstest.Exchange("d/a", "d/b"), nil},
		"out of the root":                {nil, fstest.Exchange("r", "d/a"), nil},
		"a symbolic link":                {nil, fstest.Exchange("l", "d/a"), nil},
		"into a directory below it":      {nil, fstest.Exchange("d/a", "d/e/c"), nil},
		"out of a directory below it":    {nil, fstest.Exchange("d/e/c", "d/a"), unix.EBUSY},
		"out of a directory":             {nil, fstest.Exchange("d/a", "r"), unix.EBUSY},
		"out of one that was copied up":  {[]fstest.Edit{fstest.CopyUp("d")}, fstest.Exchange("d/a", "l"), nil},
		"into one that was copied up":    {[]fstest.Edit{fstest.CopyUp("d")}, fstest.Exchange("f/g", "d/a"), unix.EBUSY},
		"out of a directory that is new": {[]fstest.Edit{fstest.Mkdir("n"), fstest.Create("n/x", "")}, fstest.Exchange("n/x", "d/a"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			makes := func(e fstest.Edit) bool { return e.Op == fstest.OpMkdir }
			if slices.ContainsFunc(c.before, makes) && !fstest.CanOwn(t, t.TempDir()) {
				t.Skip("files cannot be given to root")
			}
			mountWays(t, func(t *testing.T, mounts mountWay) {
				b := newBranches(t, "r=1 l->r d/a=1 d/b=2 d/e/c=3 f/g=4", "")
				e, done := mounts.open(t, b.paths)
				defer done()
				applyEdits(t, e, c.before...)
				require.ErrorIs(t, e.Apply(c.edit), c.want)
			})
		})
	}
}

// TestTimesThatCopyUpDoesNotExplainStay has branches that the module did not
// write.
func TestTimesThatCopyUpDoesNotExplainStay(t *testing.T) {
	now := time.Unix(time.Now().Unix(), 5000)
	for name, c := range map[string]struct {
		top     string
		changed time.Time // of d
		want    bool      // whether d gets the parents' time
	}{
		"a copy":                      {"d/a=1", now, true},
		"long before the copy":        {"d/a=1", now.Add(-time.Hour), false},
		"long after it":               {"d/a=1", now.Add(time.Hour), false},
		"a whole second":              {"d/a=1", now.Truncate(time.Second), false},
		"a copy of a directory":       {"d/e/x=1", now, true},
		"a new name":                  {"d/a=1 d/new=1", now, false},
		"a whiteout":                  {"d/a=1 d/.wh.b", now, false},
		"an opaque directory in it":   {"d/e/.wh..wh..opq", now, false},
		"another type":                {"d/a/x=1", now, false},
		"the directory itself opaque": {"d/.wh..wh..opq d/a=1", now, false},
		"nothing in it":               {"d/", now, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBranches(t, "d/a=1 d/b=1 d/e/x=1", c.top)
			needBirth(t, b.dir)
			old := time.Unix(5, 6)
			require.NoError(t, os.Chtimes(b.paths[1]+"/d", time.Time{}, old))
			for _, f := range []string{"a", "e/x"} { // a copy has the time of its original
				if fi, err := os.Lstat(b.paths[1] + "/d/" + f); err == nil {
					_ = os.Chtimes(b.paths[0]+"/d/"+f, time.Time{}, fi.ModTime())
				}
			}
			changed := c.changed
			if changed.Equal(now) {
				changed = timeOfFileSystem(t, b.paths[0]+"/d")
			}
			require.NoError(t, os.Chtimes(b.paths[0]+"/d", time.Time{}, changed))
			want := changed
			if c.want {
				want = old
			}
			v := b.view()
			v.unsealed = true
			require.Equal(t, want, fstest.FromView(t, v)["d"].Mtime)
			require.NoError(t, normalize(t.Context(), b.paths, rootfd.Options{}, ""))
			require.Equal(t, want, fstest.FromPath(t, b.paths[0])["d"].Mtime)
		})
	}
}

// timeOfFileSystem returns the change time of a file. A time in whole seconds
// would be taken for one that a program set, so in that case it changes the
// file again.
func timeOfFileSystem(t *testing.T, path string) time.Time {
	t.Helper()
	for {
		var st unix.Stat_t
		require.NoError(t, unix.Lstat(path, &st))
		if st.Ctim.Nsec != 0 {
			return time.Unix(st.Ctim.Unix())
		}
		require.NoError(t, os.Chmod(path, 0o755))
	}
}

func TestAFileThatWasWrittenElsewhereIsNoCopy(t *testing.T) {
	b := newBranches(t, "d/a=1", "d/")
	needBirth(t, b.dir)
	makeFile(t, b.paths[0], "d/tmp=2")
	written := time.Now().Add(-time.Minute) // long before the rename
	require.NoError(t, os.Chtimes(b.paths[0]+"/d/tmp", time.Time{}, written))
	require.NoError(t, os.Rename(b.paths[0]+"/d/tmp", b.paths[0]+"/d/a"))
	v := b.view()
	v.unsealed = true
	require.WithinDuration(t, time.Now(), fstest.FromView(t, v)["d"].Mtime, time.Minute, fmt.Sprint("written ", written))
}
