package aufstest

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

// stack is a branch that can be edited over others.
type stack struct {
	*testing.T
	*Editor
	dir string
}

// newStack makes branches of files, named by their paths; those ending in a
// slash are directories. The first list is the lowest.
func newStack(t *testing.T, lists ...string) *stack {
	s := &stack{T: t, dir: t.TempDir()}
	var branches []string
	for i, list := range append(lists, "") {
		root := filepath.Join(s.dir, string(rune('a'+i)))
		require.NoError(t, os.Mkdir(root, 0o755))
		for name := range strings.FieldsSeq(list) {
			p := filepath.Join(root, name)
			require.NoError(t, os.MkdirAll(filepath.Dir(p), 0o755))
			if strings.HasSuffix(name, "/") {
				require.NoError(t, os.Mkdir(p, 0o755))
			} else {
				require.NoError(t, os.WriteFile(p, []byte("lower"), 0o644))
			}
		}
		branches = slices.Insert(branches, 0, root)
	}
	s.Editor = New(branches[0], branches[1:])
	return s
}

// remount ends the mount and makes another.
func (s *stack) remount() { s.Editor = New(s.branches[0], s.branches[1:]) }

func (s *stack) edit(edits ...fstest.Edit) {
	s.Helper()
	for _, e := range edits {
		e.UID, e.GID = uint32(os.Geteuid()), uint32(os.Getegid())
		require.NoError(s, s.Apply(e))
	}
}

// files lists the writable branch without the bookkeeping of its root.
func (s *stack) files() []string {
	s.Helper()
	return slices.DeleteFunc(fstest.FromPath(s, s.branches[0]).Paths(), func(p string) bool {
		return p == "." || p != opaqueMark && strings.HasPrefix(p, prefix+prefix)
	})
}

func (s *stack) stat(rel string) unix.Stat_t {
	s.Helper()
	h, ok, err := lstat(s.up(rel))
	require.NoError(s, err)
	require.True(s, ok, rel)
	return h.st
}

func TestAMountLeavesItsBookkeeping(t *testing.T) {
	s := newStack(t, "a")
	require.NoError(t, os.Chtimes(s.branches[0], time.Time{}, time.Unix(1, 0)))
	s.edit(fstest.Touch("a", time.Unix(2, 0)))
	require.EqualValues(t, unix.S_IFREG|0o444, s.stat(".wh..wh.aufs").Mode)
	require.EqualValues(t, unix.S_IFDIR|0o700, s.stat(".wh..wh.orph").Mode)
	require.EqualValues(t, unix.S_IFDIR|0o700, s.stat(".wh..wh.plnk").Mode)
	require.NotEqualValues(t, 1, s.stat(".").Mtim.Sec, "the root's time changes")
	require.NoError(t, os.Chtimes(s.branches[0], time.Time{}, time.Unix(1, 0)))
	s.remount()
	s.edit(fstest.Touch("a", time.Unix(3, 0)))
	require.EqualValues(t, 1, s.stat(".").Mtim.Sec, "unless it is there")
}

func TestWhiteoutsAreLinksOfOneFile(t *testing.T) {
	s := newStack(t, "a b d/x")
	s.edit(fstest.Remove("a"), fstest.Remove("b"), fstest.Remove("d/x"))
	require.Equal(t, []string{".wh.a", ".wh.b", "d", "d/.wh.x"}, s.files())
	require.Equal(t, s.stat(".wh..wh.aufs").Ino, s.stat("d/.wh.x").Ino)
	require.EqualValues(t, 4, s.stat(".wh..wh.aufs").Nlink)
}

func TestWhatTheBranchHolds(t *testing.T) {
	for name, c := range map[string]struct {
		lower, middle string
		edits         []fstest.Edit
		want          []string
	}{
		"removing what only the branch has":  {"", "", []fstest.Edit{fstest.Create("a", ""), fstest.Remove("a")}, nil},
		"removing what was removed below":    {"a", ".wh.a", []fstest.Edit{fstest.Create("a", ""), fstest.Remove("a")}, nil},
		"removing a directory and all in it": {"d/e/x d/y", "", []fstest.Edit{fstest.Chmod("d/e/x", 0o600), fstest.Remove("d")}, []string{".wh.d"}},
		"a file made again":                  {"a", "", []fstest.Edit{fstest.Remove("a"), fstest.Create("a", "")}, []string{"a"}},
		"a directory made again":             {"d/x", "", []fstest.Edit{fstest.Remove("d"), fstest.Mkdir("d")}, []string{"d", "d/.wh..wh..opq"}},
		"a directory in place of a file":     {"d", "", []fstest.Edit{fstest.Remove("d"), fstest.Mkdir("d")}, []string{"d", "d/.wh..wh..opq"}},
		"made where the middle removed":      {"d/x", ".wh.d", []fstest.Edit{fstest.Mkdir("d")}, []string{"d"}},
		"copied up with its directories":     {"d/e/x d/e/y", "", []fstest.Edit{fstest.Append("d/e/x", "!")}, []string{"d", "d/e", "d/e/x"}},
		"read only":                          {"a", "", []fstest.Edit{fstest.Read("a")}, nil},
		"a file renamed":                     {"a d/", "", []fstest.Edit{fstest.Rename("a", "d/b")}, []string{".wh.a", "d", "d/b"}},
		"a file of the branch renamed":       {"", "", []fstest.Edit{fstest.Create("a", ""), fstest.Rename("a", "b")}, []string{"b"}},
		"a file renamed onto another":        {"a b", "", []fstest.Edit{fstest.Rename("a", "b")}, []string{".wh.a", "b"}},
		"renamed onto a removed one":         {"a b", "", []fstest.Edit{fstest.Remove("b"), fstest.Rename("a", "b")}, []string{".wh.a", "b"}},
		"a directory onto a removed one":     {"b/x", "", []fstest.Edit{fstest.Remove("b"), fstest.Mkdir("d"), fstest.Rename("d", "b")}, []string{"b", "b/.wh..wh..opq"}},
		"a directory onto an empty one":      {"b/", "", []fstest.Edit{fstest.Mkdir("d"), fstest.Create("d/x", ""), fstest.Rename("d", "b")}, []string{"b", "b/.wh..wh..opq", "b/x"}},
		"an empty directory of the parents":  {"d/", "", []fstest.Edit{fstest.Rename("d", "e")}, []string{".wh.d", "e"}},
		"files changing places":              {"a b", "", []fstest.Edit{fstest.Exchange("a", "b")}, []string{"a", "b"}},
		"a file and a directory of its own":  {"a", "", []fstest.Edit{fstest.Mkdir("d"), fstest.Exchange("a", "d")}, []string{"a", "a/.wh..wh..opq", "d"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStack(t, c.lower, c.middle)
			s.edit(c.edits...)
			if len(c.want) == 0 {
				require.Empty(t, s.files())
				return
			}
			require.Equal(t, c.want, s.files())
		})
	}
}

func TestWhatTheMountRefuses(t *testing.T) {
	long := strings.Repeat("n", 243)
	for name, c := range map[string]struct {
		edit fstest.Edit
		want error
	}{
		"a name that begins as a mark":          {fstest.Create(".wh.x", ""), unix.EPERM},
		"a directory that does":                 {fstest.Create("d/.wh..wh..opq/x", ""), unix.EPERM},
		"a rename to a mark":                    {fstest.Rename("a", ".wh.a"), unix.EPERM},
		"a link of bookkeeping":                 {fstest.MakeLink("b", ".wh..wh.aufs"), unix.EPERM},
		"a long name":                           {fstest.Mkdir(long), unix.ENAMETOOLONG},
		"a long name of a link":                 {fstest.MakeLink(long, "a"), unix.ENAMETOOLONG},
		"a rename to a long name":               {fstest.Rename("a", long), unix.ENAMETOOLONG},
		"a directory of the parents":            {fstest.Rename("d", "e"), unix.EXDEV},
		"changing places with one":              {fstest.Exchange("a", "d"), unix.EXDEV},
		"changing places out of a directory":    {fstest.Exchange("d/x", "a"), unix.EBUSY},
		"onto a directory with something in it": {fstest.Rename("empty", "d"), unix.ENOTEMPTY},
		"a directory onto a file":               {fstest.Rename("empty", "a"), unix.ENOTDIR},
		"a file onto a directory":               {fstest.Rename("a", "d"), unix.EISDIR},
		"a directory into itself":               {fstest.Rename("d", "d/y"), unix.EINVAL},
		"what is there":                         {fstest.Create("a", ""), fs.ErrExist},
		"what is not there":                     {fstest.Chmod("none", 0o600), fs.ErrNotExist},
		"in what is not there":                  {fstest.Create("none/x", ""), fs.ErrNotExist},
		"in what is no directory":               {fstest.Create("a/x", ""), unix.ENOTDIR},
		"a link of a directory":                 {fstest.MakeLink("l", "d"), unix.EPERM},
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorIs(t, newStack(t, "a d/x empty/").Apply(c.edit), c.want)
		})
	}
	newStack(t, "").edit(fstest.Create(long[1:], ""))
}

func TestACopyKeepsAllAttributesAndChangesTheTimeOfItsDirectory(t *testing.T) {
	s := newStack(t, "d/x")
	lower := filepath.Join(s.branches[1], "d/x")
	require.NoError(t, os.Chmod(lower, 0o640))
	require.NoError(t, unix.Setxattr(lower, "user.k", []byte("v"), 0))
	require.NoError(t, os.Chtimes(lower, time.Time{}, time.Unix(5, 6)))
	require.NoError(t, os.Chtimes(filepath.Dir(lower), time.Time{}, time.Unix(7, 8)))
	s.edit(fstest.CopyUp("d/x"))
	want, got := fstest.FromPath(t, s.branches[1]), fstest.FromPath(t, s.branches[0])
	require.Equal(t, want["d/x"], got["d/x"])
	changed := got["d"].Mtime
	require.WithinDuration(t, time.Now(), changed, time.Minute)
	same := want["d"]
	same.Mtime = changed
	require.Equal(t, same, got["d"])
}

func TestATimeThatWasSetStays(t *testing.T) {
	s := newStack(t, "d/x d/y e/z")
	s.edit(fstest.Touch("d", time.Unix(3, 7)), fstest.CopyUp("d/x"))
	require.EqualValues(t, unix.Timespec{Sec: 3}, s.stat("d").Mtim, "cut to seconds")
	s.edit(fstest.Remove("d/y"), fstest.CopyUp("e/z"))
	require.EqualValues(t, unix.Timespec{Sec: 3}, s.stat("d").Mtim)
	require.Greater(t, s.stat("e").Mtim.Sec, int64(3))
}

func TestAttributesWithoutAValue(t *testing.T) {
	s := newStack(t, "x y z")
	for _, name := range []string{"x", "y"} {
		require.NoError(t, unix.Setxattr(filepath.Join(s.branches[1], name), "user.k", []byte(map[string]string{"x": "v"}[name]), 0))
	}
	s.edit(fstest.RemoveXattr("x", "user.k"), fstest.CopyUp("y"), fstest.SetXattr("z", "user.k", ""))
	tree := fstest.FromPath(t, s.branches[0])
	require.Equal(t, map[string]string{"user.k": ""}, tree["x"].Xattrs, "removed, it stays and is empty")
	require.Empty(t, tree["y"].Xattrs, "what is empty is not copied")
	require.Equal(t, map[string]string{"user.k": ""}, tree["z"].Xattrs)
	require.ErrorIs(t, s.Apply(fstest.RemoveXattr("z", "user.none")), unix.ENODATA)
}

// TestTheLowestOpaqueMarkCounts has a directory that was removed and made again
// in two layers, one after the other.
func TestTheLowestOpaqueMarkCounts(t *testing.T) {
	s := newStack(t, "d/one", "d/.wh..wh..opq d/two")
	s.edit(fstest.Remove("d"), fstest.Mkdir("d"), fstest.Create("d/three", ""))
	show := func() []string {
		dst := filepath.Join(t.TempDir(), "shown")
		require.NoError(t, Show(dst, s.branches...))
		return fstest.FromPath(t, dst).Paths()
	}
	require.Equal(t, []string{".", "d", "d/three", "d/two"}, show(), "a new mount")
	require.ErrorIs(t, s.Apply(fstest.Read("d/two")), fs.ErrNotExist, "the mount in which it was made opaque")
	s.remount()
	s.edit(fstest.Read("d/two"), fstest.Remove("d/two"))
	require.Equal(t, []string{"d", "d/.wh..wh..opq", "d/.wh.two", "d/three"}, s.files())
}

func TestALinkToALowerFileIsAPseudoLink(t *testing.T) {
	s := newStack(t, "a d/")
	s.edit(fstest.MakeLink("d/b", "a"))
	require.Equal(t, []string{"d", "d/b"}, s.files(), "the other name is not copied up")
	require.EqualValues(t, 2, s.stat("d/b").Nlink, "one in the directory of pseudo-links")
	links, err := os.ReadDir(s.up(linkDir))
	require.NoError(t, err)
	require.Len(t, links, 1)
	require.Regexp(t, `^\d+\.\d+$`, links[0].Name())
	s.edit(fstest.MakeLink("c", "a"), fstest.Append("a", "!"))
	require.Equal(t, s.stat("a").Ino, s.stat("c").Ino, "as long as it is mounted they are one file")
	require.Equal(t, s.stat("a").Ino, s.stat("d/b").Ino)
	require.EqualValues(t, 4, s.stat("a").Nlink)
}

func TestAfterTheMountSiblingsAreNotLinked(t *testing.T) {
	s := newStack(t, "a")
	s.edit(fstest.MakeLink("b", "a"))
	s.remount()
	s.edit(fstest.Append("a", "!"))
	require.NotEqual(t, s.stat("a").Ino, s.stat("b").Ino)
	require.Equal(t, "lower", fstest.FromPath(t, s.branches[0])["b"].Body)
}

func TestWritingToOneOfSeveralNamesPartsItFromTheOthers(t *testing.T) {
	s := newStack(t, "a")
	lower := s.branches[1]
	require.NoError(t, os.Link(filepath.Join(lower, "a"), filepath.Join(lower, "b")))
	s.edit(fstest.Append("a", "!"))
	require.Equal(t, []string{"a"}, s.files())
	s.edit(fstest.Chmod("b", 0o600))
	require.Equal(t, s.stat("a").Ino, s.stat("b").Ino, "in the same mount it is one file")
}

func TestShowAndCopyAreOfTheSameTree(t *testing.T) {
	s := newStack(t, "a d/x d/y e/z f", "d/.wh.x d/n .wh.e f/g h")
	s.edit(fstest.Create("own", "x"), fstest.MakeLink("own2", "own"), fstest.Remove("d/y"))
	require.NoError(t, Show(s.dir+"/show", s.branches...))
	require.NoError(t, Copy(s.dir+"/copy", s.branches...))
	shown := fstest.FromPath(t, s.dir+"/show")
	require.Equal(t, []string{".", "a", "d", "d/n", "f", "f/g", "h", "own", "own2"}, shown.Paths())
	require.Equal(t, "own", shown["own2"].Link)
	fstest.RequireEqual(t, shown, fstest.FromPath(t, s.dir+"/copy"), "the copy")
}
