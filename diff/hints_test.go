//go:build linux

package diff_test

import (
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/diff/difftest"
	. "github.com/layerkeep/layerkeep/internal/fstest"
)

// hintView gives hints by directory, as the upper layer of an overlay does.
type hintView struct {
	diff.View
	hints map[string][]diff.Hint
}

type hintDir struct {
	diff.Dir
	path  string
	hints map[string][]diff.Hint
}

func (v hintView) Root() (diff.Dir, error) {
	d, err := v.View.Root()
	return hintDir{d, ".", v.hints}, err
}

func (d hintDir) OpenDir(name string) (diff.Dir, error) {
	sub, err := d.Dir.OpenDir(name)
	return hintDir{sub, path.Join(d.path, name), d.hints}, err
}

func (d hintDir) Hints() ([]diff.Hint, bool, error) { return d.hints[d.path], true, nil }

// hints returns the hints of a backend that knows which names were written.
// These are the changed names. If one old file has become several files, it
// also hints at all of these except one: the first in the order of the names,
// or in the reverse order.
func hints(old, new Tree, descend, reverse bool) map[string][]diff.Hint {
	list := map[string]map[string]bool{} // by directory and name: descend
	add := func(p string, descend bool) {
		for p != "." {
			dir, name := path.Dir(p), path.Base(p)
			if list[dir] == nil {
				list[dir] = map[string]bool{}
			}
			before, ok := list[dir][name]
			list[dir][name] = descend && (!ok || before)
			p, descend = dir, true
		}
	}
	kept := keptLinks(old, new, reverse)
	for p, keeps := range kept {
		if !keeps {
			add(p, false)
		}
	}
	for _, c := range difftest.Changes(old, new) {
		if !kept[c.Path] {
			add(c.Path, false)
		}
	}
	return sortHints(list, descend)
}

// keptLinks says, for names of old that had other names and differ only in
// these, whether they are still the same file.
func keptLinks(old, new Tree, reverse bool) map[string]bool {
	paths := new.Paths()
	if reverse {
		slices.Reverse(paths)
	}
	kept, heirs, origins := map[string]bool{}, map[string]string{}, map[string]string{}
	for _, p := range paths {
		o, n := old[p], new[p]
		if o.Link == "" || !sameButLinks(o, n) {
			continue
		}
		group := n.Link
		if group == "" {
			group = p
		}
		if heirs[o.Link] == "" && origins[group] == "" {
			heirs[o.Link], origins[group] = group, o.Link
		}
		kept[p] = heirs[o.Link] == group && origins[group] == o.Link
	}
	return kept
}

func sortHints(list map[string]map[string]bool, descend bool) map[string][]diff.Hint {
	sorted := map[string][]diff.Hint{}
	for dir, names := range list {
		for name, d := range names {
			sorted[dir] = append(sorted[dir], diff.Hint{Name: name, Descend: d && descend})
		}
		slices.SortFunc(sorted[dir], func(a, b diff.Hint) int { return strings.Compare(a.Name, b.Name) })
	}
	return sorted
}

func sameButLinks(a, b Node) bool {
	a.Link, b.Link = "", ""
	return a.String() == b.String()
}

// Names without hints must be in the diff if the links between them and hinted
// names have changed. They must be at their position in the order. Only then
// may Compare read the rest of the tree.
func TestHintedNamesPullInTheNamesTheyWereLinkedWith(t *testing.T) {
	for _, c := range []struct {
		name  string
		base  []Edit
		edits []Edit
		hints map[string][]diff.Hint
		want  []string
	}{
		{
			name:  "a copy-up breaks a link with a name that comes first",
			base:  []Edit{Mkdir("a"), Mkdir("a/b"), Create("a/b/f", "x"), MakeLink("z", "a/b/f")},
			edits: []Edit{Remove("z"), Create("z", "x")},
			hints: map[string][]diff.Hint{".": {{Name: "z"}}},
			want:  []string{"M /a/b/f", "M /z"},
		},
		{
			name:  "a moved directory takes a name along",
			base:  []Edit{Create("a", "x"), Mkdir("d"), MakeLink("d/f", "a")},
			edits: []Edit{Rename("d", "e")},
			hints: map[string][]diff.Hint{".": {{Name: "d"}, {Name: "e"}}},
			want:  []string{"D /d", "M /a", "A /e", "A /e/f"},
		},
		{
			name:  "all names are hinted and nothing is pulled in",
			base:  []Edit{Create("a", "x"), MakeLink("b", "a")},
			edits: []Edit{Remove("b"), MakeLink("b", "a")},
			hints: map[string][]diff.Hint{".": {{Name: "a"}, {Name: "b"}}},
		},
		{
			name:  "the other name is gone",
			base:  []Edit{Create("a", "x"), MakeLink("b", "a")},
			edits: []Edit{Remove("b")},
			hints: map[string][]diff.Hint{".": {{Name: "a"}, {Name: "b"}}},
			want:  []string{"D /b"},
		},
		{name: "a hint for a name that neither side has", hints: map[string][]diff.Hint{".": {{Name: "ghost"}}}},
		{
			name:  "a pulled-in name below a hinted directory",
			base:  []Edit{Mkdir("d"), Create("d/f", "x"), MakeLink("d/g", "d/f"), Create("d/h", "x")},
			edits: []Edit{Remove("d/g"), Create("d/g", "x")},
			hints: map[string][]diff.Hint{".": {{Name: "d", Descend: true}}, "d": {{Name: "g"}}},
			want:  []string{"M /d/f", "M /d/g"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			old, new := tree(t, c.base...), tree(t, append(slices.Clone(c.base), c.edits...)...)
			hinted := hintView{view(t, new), c.hints}
			changes, err := difftest.Collect(diff.Compare(t.Context(), view(t, old), hinted, diff.Options{}))
			require.NoError(t, err)
			require.Equal(t, len(c.want), len(changes), "%v", difftest.Paths(changes))
			if len(c.want) > 0 {
				require.Equal(t, c.want, difftest.Paths(changes))
			}
			require.Equal(t, difftest.Lines(difftest.Changes(FromPath(t, old), FromPath(t, new))), difftest.Lines(changes), "oracle")
		})
	}
}

func TestWhatIsNotHintedIsNotRead(t *testing.T) {
	base := []Edit{Mkdir("d"), Create("d/f", "x"), Mkdir("e"), Create("e/f", "x")}
	old := tree(t, base...)
	new := tree(t, append(base, Write("d/f", "y"), Write("e/f", "y"))...)
	hinted := hintView{view(t, new), map[string][]diff.Hint{".": {{Name: "d", Descend: true}}, "d": {{Name: "f"}}}}
	changes, err := difftest.Collect(diff.Compare(t.Context(), view(t, old), hinted, diff.Options{}))
	require.NoError(t, err)
	require.Equal(t, []string{"M /d/f"}, difftest.Paths(changes))
}

// partlyHinted has no hints for some directories. Its hints for anything below
// them do not count.
type partlyHinted struct {
	hintView
	unknown []string
}

type partlyHintedDir struct {
	hintDir
	unknown []string
}

func (v partlyHinted) Root() (diff.Dir, error) {
	d, err := v.hintView.Root()
	return partlyHintedDir{d.(hintDir), v.unknown}, err
}

func (d partlyHintedDir) OpenDir(name string) (diff.Dir, error) {
	sub, err := d.hintDir.OpenDir(name)
	return partlyHintedDir{sub.(hintDir), d.unknown}, err
}

func (d partlyHintedDir) Hints() ([]diff.Hint, bool, error) {
	if slices.Contains(d.unknown, d.path) {
		return nil, false, nil
	}
	return d.hintDir.Hints()
}

func TestBelowADirectoryOfWhichNothingIsKnownAllIsCompared(t *testing.T) {
	base := []Edit{Mkdir("d"), Mkdir("d/e"), Create("d/e/f", "x"), Create("d/gone", "x"), Create("g", "x")}
	old, new := tree(t, base...), tree(t, append(base, Write("d/e/f", "y"), Remove("d/gone"), Create("d/e/n", ""), Write("g", "y"))...)
	v := partlyHinted{hintView{view(t, new), map[string][]diff.Hint{".": {{Name: "d", Descend: true}}}}, []string{"d"}}
	changes, err := difftest.Collect(diff.Compare(t.Context(), view(t, old), v, diff.Options{}))
	require.NoError(t, err)
	require.Equal(t, []string{"D /d/gone", "M /d/e/f", "A /d/e/n"}, difftest.Paths(changes))
}

// A hint with Descend does not guarantee that the name is a directory.
func TestAHintToDescendIntoWhatIsNoDirectory(t *testing.T) {
	base := []Edit{Mkdir("d"), Mkdir("e"), Create("e/f", "x")}
	old, new := tree(t, base...), tree(t, append(base, Remove("d"), Create("d", "x"), Remove("e"))...)
	v := hintView{view(t, new), map[string][]diff.Hint{".": {{Name: "d", Descend: true}, {Name: "e", Descend: true}}}}
	changes, err := difftest.Collect(diff.Compare(t.Context(), view(t, old), v, diff.Options{}))
	require.NoError(t, err)
	require.Equal(t, []string{"D /e", "M /d"}, difftest.Paths(changes))
}

// If links pull a name into the diff, the directories above are only entered.
// Their attributes, which differ here although the hints deny it, are not
// compared.
func TestDirectoriesAboveANameThatLinksPullInAreNotCompared(t *testing.T) {
	base := []Edit{Mkdir("d"), Mkdir("d/e"), Create("d/e/a", "x"), MakeLink("z", "d/e/a")}
	old, new := tree(t, base...), tree(t, append(base, Remove("z"), Create("z", "x"), Chmod("d", 0o700), Chmod("d/e", 0o700))...)
	v := hintView{view(t, new), map[string][]diff.Hint{".": {{Name: "z"}}}}
	changes, err := difftest.Collect(diff.Compare(t.Context(), view(t, old), v, diff.Options{}))
	require.NoError(t, err)
	require.Equal(t, []string{"M /d/e/a", "M /z"}, difftest.Paths(changes))
}
