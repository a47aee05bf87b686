package aufs

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/aufs/aufstest"
	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/rootfd"
)

// branches is a stack of branch directories.
type branches struct {
	t     *testing.T
	dir   string
	paths []string // uppermost first
	shown int
}

// newBranches makes branches out of lists of files, the lowest list first. A
// name that ends in a slash is a directory, "a=b" has the content b, "a->b" is
// a symbolic link and "a==b" a hard link to b in the same branch.
func newBranches(t *testing.T, lists ...string) *branches {
	b := &branches{t: t, dir: t.TempDir()}
	for _, list := range lists {
		root := b.add()
		for _, f := range strings.Fields(list) {
			makeFile(t, root, f)
		}
	}
	return b
}

// add puts an empty branch on top.
func (b *branches) add() string {
	root := filepath.Join(b.dir, fmt.Sprint("b", len(b.paths)))
	require.NoError(b.t, os.Mkdir(root, 0o755))
	b.paths = slices.Insert(b.paths, 0, root)
	return root
}

func makeFile(t *testing.T, root, f string) {
	t.Helper()
	at := func(name string) string {
		p := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(p), 0o755))
		return p
	}
	if name, target, ok := strings.Cut(f, "=="); ok {
		require.NoError(t, os.Link(filepath.Join(root, target), at(name)))
	} else if name, target, ok := strings.Cut(f, "->"); ok {
		require.NoError(t, os.Symlink(target, at(name)))
	} else if name, ok := strings.CutSuffix(f, "/"); ok {
		require.NoError(t, os.MkdirAll(at(name), 0o755))
	} else {
		name, body, _ := strings.Cut(f, "=")
		require.NoError(t, os.WriteFile(at(name), []byte(body), 0o644))
	}
}

func (b *branches) view() *stack {
	v, err := openStack(b.paths, rootfd.Options{})
	require.NoError(b.t, err)
	b.t.Cleanup(func() { require.NoError(b.t, v.Close()) })
	return v
}

// oracle returns the tree that a mount shows.
func (b *branches) oracle(paths ...string) fstest.Tree {
	b.shown++
	dst := filepath.Join(b.dir, fmt.Sprint("shown", b.shown))
	require.NoError(b.t, aufstest.Show(dst, paths...))
	return fstest.FromPath(b.t, dst)
}

// check compares the view with the oracle, and the changes found with hints
// with the changes found without.
func (b *branches) check(what string) fstest.Tree {
	b.t.Helper()
	v := b.view()
	tree := fstest.FromView(b.t, v)
	fstest.RequireEqual(b.t, b.oracle(b.paths...), tree, what)
	if len(b.paths) < 2 {
		return tree
	}
	fstest.RequireEqual(b.t, b.oracle(b.paths[1:]...), fstest.FromView(b.t, v.below()), what+", without the uppermost")
	hinted := changes(b.t, v.below(), v)
	v.hints = false
	require.Equal(b.t, changes(b.t, v.below(), v), hinted, what)
	return tree
}

func changes(t *testing.T, old, now diff.View) []string {
	t.Helper()
	var all []string
	for c, err := range diff.Compare(t.Context(), old, now, diff.Options{}) {
		require.NoError(t, err)
		all = append(all, fmt.Sprint(c.Kind, " ", c.Path, " -> ", c.Hardlink))
	}
	return all
}

// listing describes a tree in the format of newBranches.
func listing(tree fstest.Tree) string {
	var all []string
	for _, p := range tree.Paths() {
		n := tree[p]
		switch {
		case p == ".":
		case n.Type() == diff.TypeDir:
			all = append(all, p+"/")
		case n.Type() == diff.TypeSymlink:
			all = append(all, p+"->"+n.Target)
		case n.Link != "" && n.Link != p:
			all = append(all, p+"=="+n.Link)
		default:
			all = append(all, p+"="+n.Body)
		}
	}
	return strings.Join(all, " ")
}

// branchTable has branches and the tree that the module shows for them.
var branchTable = map[string]struct {
	branches []string // lowest first
	want     string
}{
	"one branch alone":                  {[]string{"a=1 d/b=2"}, "a=1 d/ d/b=2"},
	"directories merge":                 {[]string{"d/a=1 d/b=1", "d/b=2 d/c=2"}, "d/ d/a=1 d/b=2 d/c=2"},
	"a whiteout":                        {[]string{"a=1 d/b=1 c=1", ".wh.a d/.wh.b"}, "c=1 d/"},
	"a whiteout of a directory":         {[]string{"d/e/a=1", ".wh.d"}, ""},
	"a whiteout in the middle":          {[]string{"a=1", ".wh.a", "b=3"}, "b=3"},
	"made again above a whiteout":       {[]string{"a=1", ".wh.a", "a=3"}, "a=3"},
	"a directory made again above it":   {[]string{"d/a=1", ".wh.d", "d/b=3"}, "d/ d/b=3"},
	"a name beside its whiteout":        {[]string{"a=1", "a=2 .wh.a"}, ""},
	"beside it in the lowest":           {[]string{"a=1 .wh.a b=1"}, "b=1"},
	"a directory beside its whiteout":   {[]string{"d/a=1", "d/b=2 .wh.d", "d/c=3"}, "d/ d/c=3"},
	"an opaque directory":               {[]string{"d/a=1", "d/.wh..wh..opq d/b=2"}, "d/ d/b=2"},
	"an opaque one in the middle":       {[]string{"d/a=1", "d/.wh..wh..opq d/b=2", "d/c=3"}, "d/ d/b=2 d/c=3"},
	"an opaque one over another":        {[]string{"d/a=1", "d/.wh..wh..opq d/b=2", "d/.wh..wh..opq d/c=3"}, "d/ d/b=2 d/c=3"},
	"over one that is not":              {[]string{"d/a=1", "d/.wh..wh..opq d/b=2", "d/c=3", "d/.wh..wh..opq d/e=4"}, "d/ d/b=2 d/c=3 d/e=4"},
	"over one below a file":             {[]string{"d/a=1", "d/.wh..wh..opq d/b=2", "d=3", "d/.wh..wh..opq d/c=4"}, "d/ d/b=2 d/c=4"},
	"over one below a whiteout":         {[]string{"d/.wh..wh..opq d/b=2", ".wh.d", "d/.wh..wh..opq d/c=4"}, "d/ d/c=4"},
	"with whiteouts of what reappears":  {[]string{"d/a=1", "d/.wh..wh..opq d/b=2 d/e/x=2", "d/.wh..wh..opq d/.wh.b d/.wh.e d/c=3"}, "d/ d/c=3"},
	"below an opaque one":               {[]string{"d/e/a=1", "d/.wh..wh..opq d/e/b=2", "d/e/c=3"}, "d/ d/e/ d/e/b=2 d/e/c=3"},
	"whiteouts in an opaque one":        {[]string{"d/a=1 d/b=1", "d/.wh..wh..opq d/.wh.a"}, "d/"},
	"an opaque root hides nothing":      {[]string{"a=1", ".wh..wh..opq b=2"}, "a=1 b=2"},
	"a file over a directory":           {[]string{"d/a=1", "d=2"}, "d=2"},
	"a link over a directory":           {[]string{"d/a=1", "d->x"}, "d->x"},
	"a directory over a file":           {[]string{"d=1", "d/a=2"}, "d/ d/a=2"},
	"a directory over a file over one":  {[]string{"d/a=1", "d=2", "d/c=3"}, "d/ d/a=1 d/c=3"},
	"made again in the module's way":    {[]string{"d/a=1", "d=2", "d/.wh..wh..opq d/c=3"}, "d/ d/c=3"},
	"whiteouts of nothing":              {[]string{"a=1", ".wh.b d/.wh.c e/.wh..wh..opq"}, "a=1 d/ e/"},
	"bookkeeping":                       {[]string{"a=1 .wh..wh.aufs .wh..wh.orph/x=1 .wh..wh.plnk/2.3=4", ".wh..wh.aufs .wh..wh.orph/ .wh..wh.plnk/"}, "a=1"},
	"bookkeeping is no whiteout":        {[]string{"aufs=1 .wh.plnk=1 wh.aufs=1", ".wh..wh.aufs"}, "aufs=1 wh.aufs=1"},
	"marks of no name":                  {[]string{"a=1 .wh. .wh.. .wh...", ".wh."}, "a=1"},
	"a whiteout of a name with a dot":   {[]string{".a=1 ..b=1 wh.x=1", ".wh..a .wh...b"}, "wh.x=1"},
	"hard links in one branch":          {[]string{"a=1 b==a d/c==a", "x=2"}, "a=1 b==a d/ d/c==a x=2"},
	"a hard link to a pseudo-link":      {[]string{"a=1", ".wh..wh.plnk/2.9=5 b==.wh..wh.plnk/2.9 c==.wh..wh.plnk/2.9"}, "a=1 b=5 c==b"},
	"the other name is hidden":          {[]string{"a=1 b==a", ".wh.a"}, "b=1"},
	"whiteouts share an inode":          {[]string{"a=1 b=1 c=1", ".wh..wh.aufs .wh.a==.wh..wh.aufs .wh.b==.wh..wh.aufs"}, "c=1"},
	"the longest name":                  {[]string{strings.Repeat("n", 242) + "=1", "x=2"}, strings.Repeat("n", 242) + "=1 x=2"},
	"a name that is too long":           {[]string{strings.Repeat("n", 243) + "=1 " + strings.Repeat("d", 243) + "/y=1", "x=2"}, "x=2"},
	"the upper one removes half a tree": {[]string{"d/e/f/a=1 d/e/g/b=1 d/h=1", "d/e/.wh.f d/.wh.h d/i=2"}, "d/ d/e/ d/e/g/ d/e/g/b=1 d/i=2"},
}

func TestBranchesAreReadAsTheModuleReadsThem(t *testing.T) {
	for name, c := range branchTable {
		t.Run(name, func(t *testing.T) {
			b := newBranches(t, c.branches...)
			require.Equal(t, c.want, listing(b.check(name)))
		})
	}
}

func TestWhatHasTheNameOfAMarkMustBeAFile(t *testing.T) {
	for name, c := range map[string]struct{ list, path string }{
		"a directory called as a whiteout":     {"a=1 .wh.a/", "a"},
		"a symlink called as a whiteout":       {"a=1 .wh.a->a", "a"},
		"a directory called as an opaque mark": {"d/a=1 d/.wh..wh..opq/", "d"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBranches(t, "a=1 d/b=1", c.list)
			root, err := b.view().Root()
			require.NoError(t, err)
			defer root.Close()
			if _, err = root.Lookup(c.path); err == nil { // reading only the attributes of a directory needs no marks
				_, err = root.OpenDir(c.path)
			}
			require.ErrorIs(t, err, unix.EIO)
			_, err = fstest.ReadView(b.view())
			require.ErrorIs(t, err, unix.EIO)
		})
	}
}

func TestMarksCannotBeLookedUp(t *testing.T) {
	b := newBranches(t, "a=1 d/x=1", ".wh..wh.aufs .wh.a d/.wh..wh..opq .wh.")
	root, err := b.view().Root()
	require.NoError(t, err)
	defer root.Close()
	for _, name := range []string{".wh..wh.aufs", ".wh.a", ".wh.", "a"} {
		_, err := root.Lookup(name)
		require.ErrorIs(t, err, os.ErrNotExist, name)
		_, err = root.Open(name)
		require.ErrorIs(t, err, os.ErrNotExist, name)
		_, err = root.OpenDir(name)
		require.ErrorIs(t, err, os.ErrNotExist, name)
	}
	_, err = root.Lookup("../b0/a")
	require.Error(t, err, "a name is one component")
}

func TestPseudoLinksDoNotCount(t *testing.T) {
	b := newBranches(t, "a=1", ".wh..wh.plnk/2.9=5 b==.wh..wh.plnk/2.9 c=1 d==c .wh..wh.plnk/3.9==c e=1")
	root, err := b.view().Root()
	require.NoError(t, err)
	defer root.Close()
	for name, want := range map[string]uint64{"a": 1, "b": 1, "c": 2, "d": 2, "e": 1} {
		n, err := root.Lookup(name)
		require.NoError(t, err)
		require.Equal(t, want, n.Nlink, name)
	}
}

func TestOnlyTheUppermostBranchIsHinted(t *testing.T) {
	b := newBranches(t, "d/a=1 d/e/x=1 o/a=1 f=1 g/a=1 k/a=1", "d/.wh.a d/b=2 o/.wh..wh..opq o/b=2 f/a=2 .wh..wh.aufs n/a=2 .wh.g g2=1")
	v := b.view()
	root, err := v.Root()
	require.NoError(t, err)
	defer root.Close()
	hints := func(d diff.Dir) string {
		hints, ok, err := d.(diff.Hinter).Hints()
		require.NoError(t, err)
		if !ok {
			return "unknown"
		}
		var names []string
		for _, h := range hints {
			require.False(t, h.Descend)
			names = append(names, h.Name)
		}
		return strings.Join(names, " ")
	}
	require.Equal(t, "d f g g2 n o", hints(root))
	for path, want := range map[string]string{"d": "a b", "d/e": "", "k": "", "o": "unknown", "f": "unknown", "n": "unknown"} {
		d := root
		for name := range strings.SplitSeq(path, "/") {
			d, err = d.OpenDir(name)
			require.NoError(t, err)
			defer d.Close()
		}
		require.Equal(t, want, hints(d), path)
	}
	below, err := v.below().Root()
	require.NoError(t, err)
	defer below.Close()
	require.Equal(t, "unknown", hints(below))
}

func TestTheProviderIsTheUppermostBranchThatHasThePath(t *testing.T) {
	b := newBranches(t, "a=1 d/x=1 d/y=1 e/f/g=1", "d/y=2", "d/z=3 .wh.a")
	v := b.view()
	for path, want := range map[string]int{".": 0, "d": 0, "d/x": 2, "d/y": 1, "d/z": 0, "e/f/g": 2, "e": 2} {
		got, err := v.provider(path)
		require.NoError(t, err, path)
		require.Equal(t, want, got, path)
	}
	for _, path := range []string{"a", "d/none", "d/x/below", ".wh.a"} {
		_, err := v.provider(path)
		require.ErrorIs(t, err, os.ErrNotExist, path)
	}
}
