//go:build linux

package diff_test

import (
	"errors"
	"io"
	"path"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/diff/difftest"
	. "github.com/layerkeep/layerkeep/internal/fstest"
)

// linkView is a Linker that knows the names of all files, except those it is
// told to ignore. A file system that finds the names of an inode works like
// this.
type linkView struct {
	diff.View
	names   map[diff.Node][]string // by Dev and Ino
	unknown func(id diff.Node) bool
	asked   *int
}

// linker reads a tree for the names of its files.
func linker(t require.TestingT, v diff.View, unknown func(diff.Node) bool) linkView {
	l := linkView{v, map[diff.Node][]string{}, unknown, new(int)}
	root, err := v.Root()
	require.NoError(t, err)
	l.read(t, root, ".")
	return l
}

func (v linkView) read(t require.TestingT, d diff.Dir, dir string) {
	defer d.Close()
	names, err := d.Names()
	require.NoError(t, err)
	for _, name := range names {
		n, err := d.Lookup(name)
		require.NoError(t, err)
		id := diff.Node{Dev: n.Dev, Ino: n.Ino}
		if v.names[id] = append(v.names[id], path.Join(dir, name)); n.IsDir() {
			sub, err := d.OpenDir(name)
			require.NoError(t, err)
			v.read(t, sub, path.Join(dir, name))
		}
	}
}

func (v linkView) Links(n diff.Node) ([]string, bool, error) {
	*v.asked++
	id := diff.Node{Dev: n.Dev, Ino: n.Ino}
	if v.unknown != nil && v.unknown(id) {
		return nil, false, nil
	}
	return v.names[id], true, nil
}

// hintedLinks adds hints to a view that knows links.
type hintedLinks struct {
	hintView
	linkView
}

func (v hintedLinks) Root() (diff.Dir, error) { return v.hintView.Root() }
func (v hintedLinks) Close() error            { return nil }

// linkedChange is a change for which Compare must find names that have no hint.
type linkedChange struct {
	name  string
	edits []Edit
	hints map[string][]diff.Hint
	want  []string // some of the changes
	old   bool     // the names are in the old tree
}

func linkedChanges() []linkedChange {
	return []linkedChange{
		{
			name: "an unchanged copy of one of several names", old: true,
			edits: []Edit{Remove("d/b"), Create("d/b", "x")},
			hints: map[string][]diff.Hint{".": {{Name: "d", Descend: true}}, "d": {{Name: "b"}}},
			want:  []string{"M /d/a", "M /d/b", "M /d/c", "M /rest/a"},
		},
		{
			name:  "a moved directory that holds one of several names",
			edits: []Edit{Rename("rest", "moved")},
			hints: map[string][]diff.Hint{".": {{Name: "moved"}, {Name: "rest"}}},
			want:  []string{"D /rest", "M /d/a", "M /d/b", "M /d/c", "A /moved", "A /moved/a"},
		},
	}
}

func TestAViewThatKnowsLinksIsNotWalkedForThem(t *testing.T) {
	for _, c := range linkedChanges() {
		t.Run(c.name, func(t *testing.T) {
			old, new := tree(t, linkedBase()...), tree(t, append(linkedBase(), c.edits...)...)
			want := difftest.Lines(difftest.Changes(FromPath(t, old), FromPath(t, new)))
			for _, known := range []bool{true, false} {
				ofOld, ofNew := &reads{}, &reads{}
				unknown := func(diff.Node) bool { return !known }
				oldLinks := linker(t, view(t, old), unknown)
				newLinks := linker(t, view(t, new), unknown)
				oldView := oldLinks
				oldView.View = countView{oldLinks.View, ofOld}
				newView := hintedLinks{hintView{countView{newLinks.View, ofNew}, c.hints}, newLinks}
				changes, err := difftest.Collect(diff.Compare(t.Context(), oldView, newView, diff.Options{}))
				require.NoError(t, err)
				require.Equal(t, want, difftest.Lines(changes), "known: %v", known)
				require.Subset(t, difftest.Paths(changes), c.want)

				side, asked, others := ofNew, *newLinks.asked, *oldLinks.asked
				if c.old {
					side, asked, others = ofOld, others, asked
				}
				require.Equal(t, 1, asked, "one file has names that are not known")
				require.Zero(t, others, "the other side is not asked")
				require.Equal(t, !known, slices.Contains(side.listed, "d"), "listed %v", side.listed)
				if known {
					require.NotContains(t, ofOld.listed, "d")
					require.NotContains(t, ofOld.listed, "rest")
					require.NotContains(t, ofNew.listed, "d")
				}
			}
		})
	}
}

// Names that a layer cannot contain do not count, whichever way they are found.
func TestNamesThatALayerCannotHoldAreNoLinks(t *testing.T) {
	base := []Edit{Mkdir("d"), Mkdir(".wh.d"), Create("d/a", "x"), MakeLink(".wh.d/a", "d/a"), MakeLink("d/.wh.x", "d/a"), MakeLink("b", "d/a")}
	old, new := tree(t, base...), tree(t, append(base, Remove("b"), Create("b", "x"))...)
	want := difftest.Lines(difftest.Changes(FromPath(t, old), FromPath(t, new)))
	hinted := hintedLinks{hintView{view(t, new), map[string][]diff.Hint{".": {{Name: "b"}}}}, linker(t, view(t, new), nil)}
	changes, err := difftest.Collect(diff.Compare(t.Context(), linker(t, view(t, old), nil), hinted, diff.Options{}))
	require.NoError(t, err)
	require.Equal(t, want, difftest.Lines(changes))
	require.Equal(t, []string{"M /b", "M /d/a"}, difftest.Paths(changes))
}

var errLinks = errors.New("links unreadable")

type brokenLinks struct{ hintView }

func (brokenLinks) Links(diff.Node) ([]string, bool, error) { return nil, false, errLinks }

func TestAnErrorOfAViewThatKnowsLinksEndsTheSequence(t *testing.T) {
	base := []Edit{Create("a", "x"), Mkdir("d"), MakeLink("d/f", "a")}
	old, new := tree(t, base...), tree(t, append(base, Rename("d", "e"))...)
	hinted := brokenLinks{hintView{view(t, new), map[string][]diff.Hint{".": {{Name: "d"}, {Name: "e"}}}}}
	changes, err := difftest.Collect(diff.Compare(t.Context(), view(t, old), hinted, diff.Options{}))
	require.ErrorIs(t, err, errLinks)
	require.Empty(t, changes)
}

// bodyView matches the bodies that it is told to match, and records which ones
// are read.
type bodyView struct {
	diff.View
	same  func(path string) (bool, error)
	read  *[]string
	hints map[string][]diff.Hint // nil: none are known
}

type bodyDir struct {
	diff.Dir
	path string
	v    bodyView
}

func (v bodyView) Root() (diff.Dir, error) {
	d, err := v.View.Root()
	return bodyDir{d, ".", v}, err
}

func (d bodyDir) OpenDir(name string) (diff.Dir, error) {
	sub, err := d.Dir.OpenDir(name)
	return bodyDir{sub, path.Join(d.path, name), d.v}, err
}

func (d bodyDir) Hints() ([]diff.Hint, bool, error) { return d.v.hints[d.path], d.v.hints != nil, nil }

func (d bodyDir) Open(name string) (io.ReadCloser, error) {
	*d.v.read = append(*d.v.read, path.Join(d.path, name))
	return d.Dir.Open(name)
}

func (d bodyDir) SameBody(name string, old diff.Dir) (bool, error) {
	if _, err := old.Lookup(name); err != nil {
		return false, err // not the directory at the same path
	}
	return d.v.same(path.Join(d.path, name))
}

func TestOnlyBodiesThatAreNotKnownToBeTheSameAreRead(t *testing.T) {
	base := []Edit{Mkdir("d"), Create("d/shared", "x"), Create("d/touched", "x"), Create("d/written", "x"), Create("d/longer", "x"), Create("d/mode", "x"), Create("empty", "")}
	old := tree(t, base...)
	new := tree(t, append(base, Remove("d/written"), Create("d/written", "y"), Remove("d/longer"), Create("d/longer", "xx"), Chmod("d/mode", 0o600))...)
	for name, hints := range map[string]map[string][]diff.Hint{
		"without hints": nil,
		"with hints": {
			".": {{Name: "d"}, {Name: "empty"}},
			"d": {{Name: "longer"}, {Name: "mode"}, {Name: "shared"}, {Name: "touched"}, {Name: "written"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var asked, read []string
			v := bodyView{view(t, new), func(path string) (bool, error) {
				asked = append(asked, path)
				return path == "d/shared", nil
			}, &read, hints}
			changes, err := difftest.Collect(diff.Compare(t.Context(), view(t, old), v, diff.Options{}))
			require.NoError(t, err)
			require.Equal(t, difftest.Lines(difftest.Changes(FromPath(t, old), FromPath(t, new))), difftest.Lines(changes))
			require.Equal(t, []string{"M /d/longer", "M /d/mode", "M /d/written"}, difftest.Paths(changes))
			require.Equal(t, []string{"d/shared", "d/touched", "d/written"}, asked, "what differs in size or mode needs no answer")
			require.Equal(t, []string{"d/touched", "d/written"}, read)
		})
	}
}

var errBody = errors.New("extents unreadable")

func TestAnErrorOfAViewThatKnowsBodiesEndsTheSequence(t *testing.T) {
	old, new, read := tree(t, Create("f", "x")), tree(t, Create("f", "x")), []string{}
	v := bodyView{view(t, new), func(string) (bool, error) { return false, errBody }, &read, nil}
	_, err := difftest.Collect(diff.Compare(t.Context(), view(t, old), v, diff.Options{}))
	require.ErrorIs(t, err, errBody)
}
