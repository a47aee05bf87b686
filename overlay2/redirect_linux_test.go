package overlay2

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/diff/difftest"
	"github.com/layerkeep/layerkeep/driver"
	. "github.com/layerkeep/layerkeep/internal/fstest"
)

// sight records which paths of a view were read.
type sight struct {
	diff.View
	paths map[string]bool
	read  map[string]bool // bodies
}

type sightDir struct {
	diff.Dir
	path string
	v    sight
}

func watched(v diff.View) sight { return sight{v, map[string]bool{}, map[string]bool{}} }

func (v sight) Root() (diff.Dir, error) {
	d, err := v.View.Root()
	return sightDir{d, ".", v}, err
}

func (d sightDir) saw(name string) string {
	p := path.Join(d.path, name)
	d.v.paths[p] = true
	return p
}

func (d sightDir) Hints() ([]diff.Hint, bool, error) { return d.Dir.(diff.Hinter).Hints() }

func (d sightDir) SameBody(name string, old diff.Dir) (bool, error) {
	return d.Dir.(diff.BodyMatcher).SameBody(name, old.(sightDir).Dir)
}

func (d sightDir) Names() ([]string, error) {
	d.saw("*")
	return d.Dir.Names()
}

func (d sightDir) Lookup(name string) (diff.Node, error) {
	d.saw(name)
	return d.Dir.Lookup(name)
}

func (d sightDir) Open(name string) (io.ReadCloser, error) {
	d.v.read[d.saw(name)] = true
	return d.Dir.Open(name)
}

func (d sightDir) OpenDir(name string) (diff.Dir, error) {
	sub, err := d.Dir.OpenDir(name)
	return sightDir{sub, d.saw(name), d.v}, err
}

// redirecting opens a driver whose mounts can rename directories.
func redirecting(t *testing.T, opts driver.Options) *overlay {
	t.Helper()
	if !CanMount(t) {
		t.Skip("no permission to mount")
	}
	opened, err := New(t.Context(), ScratchSize(t, Tmpfs, 1200), opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, opened.Close()) })
	d := opened.(*overlay)
	if !d.Properties().RenameDir {
		t.Skip("the kernel's overlay has no redirect_dir here")
	}
	return d
}

// layer makes a layer and edits it through the kernel. Its parents are sealed.
func (d *overlay) layer(t *testing.T, id driver.ID, parents []driver.ID, edits ...Edit) {
	t.Helper()
	for _, p := range parents[:min(1, len(parents))] {
		require.NoError(t, d.Seal(t.Context(), p))
	}
	require.NoError(t, d.Create(t.Context(), id, parents, driver.CreateOptions{}))
	d.mounted(t, id, driver.MountOptions{}, func(root string) {
		for _, e := range edits {
			require.NoError(t, e.Apply(root), "%v", e)
		}
	})
}

// kernelShows returns the tree that the kernel shows.
func (d *overlay) kernelShows(t *testing.T, id driver.ID) (tree Tree) {
	t.Helper()
	d.mounted(t, id, driver.MountOptions{ReadOnly: true}, func(root string) { tree = FromPath(t, root) })
	return tree
}

// requireRight compares the changes of a layer with the oracle's, which are
// computed from the trees that the kernel shows. It also applies the diff and
// compares the result. It returns the changes.
func (d *overlay) requireRight(t *testing.T, id driver.ID, parents []driver.ID) []string {
	t.Helper()
	before, after := d.kernelShows(t, parents[0]), d.kernelShows(t, id)
	RequireEqual(t, after, d.shows(t, id), "the view")
	changes, err := difftest.Collect(driver.Changes(t.Context(), d, id, nil))
	require.NoError(t, err)
	require.Equal(t, difftest.Lines(difftest.Changes(before, after)), difftest.Lines(changes))
	d.requireDiff(t, id, parents, after)
	return difftest.Paths(changes)
}

// requireDiff applies the diff of a layer to its parents.
func (d *overlay) requireDiff(t *testing.T, id driver.ID, parents []driver.ID, want Tree) {
	t.Helper()
	var tar bytes.Buffer
	_, err := driver.Diff(t.Context(), d, id, &tar, driver.DiffOptions{})
	require.NoError(t, err)
	again := id + "-again"
	require.NoError(t, d.Create(t.Context(), again, parents, driver.CreateOptions{}))
	_, err = d.ApplyDiff(t.Context(), again, &tar, driver.ApplyOptions{})
	require.NoError(t, err)
	RequireEqual(t, want, d.shows(t, again), "the diff, applied")
}

// looks compares once more and returns what was read.
func (d *overlay) looks(t *testing.T, id driver.ID) (old, new sight) {
	t.Helper()
	v, err := d.view(id)
	require.NoError(t, err)
	defer v.Close()
	old, new = watched(v.below()), watched(v)
	_, err = difftest.Collect(diff.Compare(t.Context(), old, new, diff.Options{}))
	require.NoError(t, err)
	return old, new
}

// redirectOf returns the redirect that overlay wrote on a directory of the
// layer.
func (d *overlay) redirectOf(t *testing.T, id driver.ID, p string) string {
	t.Helper()
	value := make([]byte, 4096)
	n, err := unix.Lgetxattr(d.store.Path(id, fsDir, p), "trusted.overlay.redirect", value)
	require.NoError(t, err)
	return string(value[:n])
}

// renameBase are the edits that the renames below start with. No rename touches
// rest.
func renameBase() []Edit {
	edits := []Edit{
		Mkdir("a"), Mkdir("a/b"), Mkdir("a/b/c"), Create("a/1", "a1"), Create("a/b/2", "b2"), Create("a/b/c/3", "c3"),
		Mkdir("d"), Create("d/1", "first"), Create("d/4", "d4"), Mkdir("q"), Create("q/5", "q5"), Create("f", "f"),
		Mkdir("l"), Create("l/one", "one"), MakeLink("l/two", "l/one"), Mkdir("m"), MakeLink("m/three", "l/one"),
		Mkdir("rest"), Mkdir("rest/a"), Create("rest/a/1", "r"), Create("rest/2", "r"),
	}
	return edits
}

var later = EditTime.Add(time.Hour)

// A renaming is a stack of layers. Each layer is a list of edits. The driver's
// view and diff of each layer are compared with the kernel's view and the
// oracle.
type renaming struct {
	name   string
	layers [][]Edit
	want   []string          // changes of the last layer
	marks  map[string]string // redirects in the last layer
	walks  bool              // the whole new tree has to be searched for links
}

func renamings() []renaming {
	return []renaming{
		{
			name: "a directory within its parent, by a relative redirect", layers: [][]Edit{{Rename("a/b", "a/n")}},
			want:  []string{"D /a/b", "A /a/n", "A /a/n/2", "A /a/n/c", "A /a/n/c/3"},
			marks: map[string]string{"a/n": "b"},
		},
		{
			name: "a directory to another parent, by an absolute redirect", layers: [][]Edit{{Rename("a/b", "q/b")}},
			want:  []string{"D /a/b", "A /q/b", "A /q/b/2", "A /q/b/c", "A /q/b/c/3"},
			marks: map[string]string{"q/b": "/a/b"},
		},
		{
			name: "nested, from the inside out", layers: [][]Edit{{Rename("a/b/c", "a/b/x"), Rename("a/b", "a/y"), Rename("a", "z")}},
			want:  []string{"D /a", "A /z", "A /z/1", "A /z/y", "A /z/y/2", "A /z/y/x", "A /z/y/x/3"},
			marks: map[string]string{"z": "a", "z/y": "b", "z/y/x": "c"},
		},
		{
			name: "nested, from the outside in", layers: [][]Edit{{Rename("a", "z"), Rename("z/b", "z/y"), Rename("z/y/c", "q/x")}},
			want:  []string{"D /a", "A /q/x", "A /q/x/3", "A /z", "A /z/1", "A /z/y", "A /z/y/2"},
			marks: map[string]string{"z": "a", "z/y": "b", "q/x": "/a/b/c"},
		},
		{
			name: "over a whiteout of a directory", layers: [][]Edit{{Remove("d"), Rename("a", "d")}},
			want: []string{"D /a", "D /d/4", "M /d/1", "A /d/b", "A /d/b/2", "A /d/b/c", "A /d/b/c/3"},
		},
		{
			name: "over a whiteout of a file", layers: [][]Edit{{Remove("f"), Rename("d", "f")}},
			want: []string{"D /d", "M /f", "A /f/1", "A /f/4"},
		},
		{
			name: "over a whiteout of a layer below", layers: [][]Edit{{Remove("d")}, {Rename("a/b", "d")}},
			want:  []string{"D /a/b", "A /d", "A /d/2", "A /d/c", "A /d/c/3"},
			marks: map[string]string{"d": "/a/b"},
		},
		{
			name: "and then the deletion of the origin's parent", layers: [][]Edit{{Rename("a/b", "q/b"), Remove("a")}},
			want: []string{"D /a", "A /q/b", "A /q/b/2", "A /q/b/c", "A /q/b/c/3"},
		},
		{
			name: "and the deletion of the origin's parent a layer later", layers: [][]Edit{{Rename("a/b", "q/b")}, {Remove("a")}},
			want: []string{"D /a"},
		},
		{
			name: "in several layers, each time by a relative redirect", layers: [][]Edit{{Rename("a", "n1")}, {Rename("n1", "n2")}, {Rename("n2", "n3")}},
			want:  []string{"D /n2", "A /n3", "A /n3/1", "A /n3/b", "A /n3/b/2", "A /n3/b/c", "A /n3/b/c/3"},
			marks: map[string]string{"n3": "n2"},
		},
		{
			name: "in several layers, with absolute and relative redirects and edits between",
			layers: [][]Edit{
				{Rename("a/b", "q/b")},
				{Create("q/b/new", "n"), Rename("q", "p")},
				{Rename("p/b", "p/x"), Write("p/x/2", "other")},
				{Rename("p/x/c", "d/c"), Remove("p/x/new")},
				{Rename("d", "last")},
			},
			want:  []string{"D /d", "A /last", "A /last/1", "A /last/4", "A /last/c", "A /last/c/3"},
			marks: map[string]string{"last": "d"},
		},
		{
			name: "and edits inside", layers: [][]Edit{{
				Rename("a", "z"), Write("z/1", "other"), Remove("z/b/2"), Create("z/b/new", "n"), Chmod("z/b/c", 0o700), Touch("z/b/c/3", later),
			}},
			want: []string{"D /a", "A /z", "A /z/1", "A /z/b", "A /z/b/c", "A /z/b/c/3", "A /z/b/new"},
		},
		{
			name: "in one layer and edits inside in the next", layers: [][]Edit{{Rename("a/b", "q/b")}, {Write("q/b/2", "other"), Chmod("q/b/c/3", 0o600)}},
			want: []string{"M /q/b/2", "M /q/b/c/3"},
		},
		{name: "there and back", layers: [][]Edit{{Rename("a", "z"), Rename("z", "a")}}},
		{name: "to another parent and back", layers: [][]Edit{{Rename("a/b", "q/b"), Rename("q/b", "a/b")}}},
		{
			name: "there and back with an edit", layers: [][]Edit{{Rename("a", "z"), Write("z/b/2", "other"), Rename("z", "a")}},
			want: []string{"M /a/b/2"},
		},
		{
			name: "there in one layer and back in the next", layers: [][]Edit{{Rename("a", "z")}, {Rename("z", "a")}},
			want: []string{"D /z", "A /a", "A /a/1", "A /a/b", "A /a/b/2", "A /a/b/c", "A /a/b/c/3"},
		},
		{
			name: "and a file in its place", layers: [][]Edit{{Rename("a", "z"), Create("a", "file")}},
			want: []string{"M /a", "A /z", "A /z/1", "A /z/b", "A /z/b/2", "A /z/b/c", "A /z/b/c/3"},
		},
		{
			name: "and then a file instead of the moved one", layers: [][]Edit{{Rename("a", "z"), Remove("z"), Create("z", "file")}},
			want: []string{"D /a", "A /z"},
		},
		{
			name: "and a new directory in its place", layers: [][]Edit{{Rename("d", "z"), Mkdir("d"), Create("d/1", "another")}},
			want: []string{"D /d/4", "M /d/1", "A /z", "A /z/1", "A /z/4"},
		},
		{
			name: "and another one moved to its place", layers: [][]Edit{{Rename("d", "z"), Rename("q", "d")}},
			want: []string{"D /q", "D /d/1", "D /d/4", "A /d/5", "A /z", "A /z/1", "A /z/4"},
		},
		{
			name: "of two that change places", layers: [][]Edit{{Rename("d", "t"), Rename("q", "d"), Rename("t", "q")}},
			want: []string{"D /d/1", "D /d/4", "A /d/5", "D /q/5", "A /q/1", "A /q/4"},
		},
		{
			name: "into what was moved", layers: [][]Edit{{Rename("a", "z"), Rename("d", "z/b/d"), Rename("z/b", "q/b")}},
			want: []string{"D /a", "D /d", "A /q/b", "A /q/b/2", "A /q/b/c", "A /q/b/c/3", "A /q/b/d", "A /q/b/d/1", "A /q/b/d/4", "A /z", "A /z/1"},
		},
		{
			name: "of a directory with all but one of the names of a file", layers: [][]Edit{{Rename("l", "z")}}, walks: true,
			want: []string{"D /l", "M /m/three", "A /z", "A /z/one", "A /z/two"},
		},
		{
			name: "of a directory with one of the names of a file, to where it comes last", layers: [][]Edit{{Rename("m", "z")}}, walks: true,
			want: []string{"D /m", "M /l/one", "M /l/two", "A /z", "A /z/three"},
		},
		{
			name: "of a directory with one of the names of a file, which is written to", layers: [][]Edit{{Rename("m", "z"), Write("z/three", "other")}},
			want: []string{"D /m", "A /z", "A /z/three"},
		},
		{
			name: "of a directory with one of the names of a file, there and back", layers: [][]Edit{{Rename("m", "z"), Rename("z", "m")}}, walks: true,
		},
	}
}

func TestRenamingADirectory(t *testing.T) {
	d := redirecting(t, driver.Options{})
	for i, c := range renamings() {
		t.Run(c.name, func(t *testing.T) {
			id := func(layer int) driver.ID { return driver.ID(fmt.Sprintf("%d-%d", i, layer)) }
			d.layer(t, id(0), nil, renameBase()...)
			parents := []driver.ID{id(0)}
			var got []string
			for n, edits := range c.layers {
				d.layer(t, id(n+1), parents, edits...)
				got = d.requireRight(t, id(n+1), parents)
				parents = append([]driver.ID{id(n + 1)}, parents...)
			}
			require.ElementsMatch(t, c.want, got)
			for p, want := range c.marks {
				require.Equal(t, want, d.redirectOf(t, parents[0], p), p)
			}
			old, new := d.looks(t, parents[0])
			c.requireFrugal(t, old, new)
		})
	}
}

// requireFrugal checks that only paths that an edit touched were read.
func (c renaming) requireFrugal(t *testing.T, old, new sight) {
	t.Helper()
	require.Empty(t, old.read, "the bodies of files that were not written need not be read")
	for side, s := range map[string]sight{"old": old, "new": new} {
		if side == "new" && c.walks {
			continue
		}
		require.False(t, s.paths["*"], "the root of %s was listed", side)
		for p := range s.paths {
			require.False(t, p == "rest" || strings.HasPrefix(p, "rest/"), "%s of %s was looked at", p, side)
		}
	}
}

// renamed makes a layer in which a directory with n files was renamed. It
// returns how many entries the layer then had.
func (d *overlay) renamed(t *testing.T, id driver.ID, n int) (entries int) {
	t.Helper()
	base := id + "-base"
	require.NoError(t, d.Create(t.Context(), base, nil, driver.CreateOptions{}))
	d.mounted(t, base, driver.MountOptions{}, func(root string) {
		require.NoError(t, os.Mkdir(root+"/dir", 0o755))
		require.NoError(t, os.Mkdir(root+"/other", 0o755))
		for i := range n {
			require.NoError(t, os.WriteFile(fmt.Sprintf("%s/dir/%05d", root, i), []byte("x"), 0o644))
		}
	})
	d.layer(t, id, []driver.ID{base}, Rename("dir", "other/renamed"))
	require.NoError(t, filepath.WalkDir(d.store.Path(id, fsDir), func(string, fs.DirEntry, error) error {
		entries++
		return nil
	}))
	return entries
}

func TestRenamingADirectoryOfTenThousandFilesTakesNoMoreThanOneOfTen(t *testing.T) {
	many := 10_000
	if testing.Short() {
		many = 1_000
	}
	d := redirecting(t, driver.Options{})
	few := d.renamed(t, "few", 10)
	require.Equal(t, 4, few, "the root, other, other/renamed and the whiteout of dir")
	require.Equal(t, few, d.renamed(t, "many", many))

	changes, err := difftest.Collect(driver.Changes(t.Context(), d, "many", nil))
	require.NoError(t, err)
	want := []string{"D /dir", "A /other/renamed"}
	for i := range many {
		want = append(want, fmt.Sprintf("A /other/renamed/%05d", i))
	}
	require.Equal(t, want, difftest.Paths(changes))
	shown := d.kernelShows(t, "many")
	require.Len(t, shown, many+3)
	d.requireDiff(t, "many", []driver.ID{"many-base"}, shown)

	old, _ := d.looks(t, "many")
	require.Subset(t, []string{"dir", "other", "other/renamed"}, pathsOf(old), "none of the files is looked at where it was")
}

func pathsOf(s sight) []string {
	var list []string
	for p := range s.paths {
		list = append(list, p)
	}
	return list
}
