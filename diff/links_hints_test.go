//go:build linux

package diff_test

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/diff/difftest"
	. "github.com/layerkeep/layerkeep/internal/fstest"
)

// countView counts the names that are looked up, and records the directories
// that are listed.
type countView struct {
	diff.View
	count *reads
}

type countDir struct {
	diff.Dir
	path  string
	count *reads
}

type reads struct {
	lookups        int
	listed, opened []string
}

func (v countView) Root() (diff.Dir, error) {
	d, err := v.View.Root()
	return countDir{d, ".", v.count}, err
}

func (d countDir) Names() ([]string, error) {
	d.count.listed = append(d.count.listed, d.path)
	return d.Dir.Names()
}

func (d countDir) Lookup(name string) (diff.Node, error) {
	d.count.lookups++
	return d.Dir.Lookup(name)
}

func (d countDir) OpenDir(name string) (diff.Dir, error) {
	p := path.Join(d.path, name)
	if !slices.Contains(d.count.opened, p) {
		d.count.opened = append(d.count.opened, p)
	}
	sub, err := d.Dir.OpenDir(name)
	return countDir{sub, p, d.count}, err
}

// counted compares two directories with hints and returns what was read of
// each.
func counted(t *testing.T, old, new string, hints map[string][]diff.Hint) (changes []diff.Change, ofOld, ofNew *reads) {
	t.Helper()
	ofOld, ofNew = &reads{}, &reads{}
	hinted := hintView{countView{view(t, new), ofNew}, hints}
	changes, err := difftest.Collect(diff.Compare(t.Context(), countView{view(t, old), ofOld}, hinted, diff.Options{}))
	require.NoError(t, err)
	require.Equal(t, difftest.Lines(difftest.Changes(FromPath(t, old), FromPath(t, new))), difftest.Lines(changes), "oracle")
	return changes, ofOld, ofNew
}

// linkedBase has a file with names in two directories, and much else. There are
// no hints for the second directory.
func linkedBase() []Edit {
	base := []Edit{Mkdir("d"), Mkdir("rest"), Create("d/a", "x"), MakeLink("d/b", "d/a"), MakeLink("d/c", "d/a"), MakeLink("rest/a", "d/a")}
	for i := range 50 {
		base = append(base, Create(fmt.Sprintf("d/f%02d", i), "x"), Create(fmt.Sprintf("rest/f%02d", i), "x"))
	}
	return base
}

// The hints of overlay are the content of the upper directory. Whatever happens
// there to some names of a lower file, Compare never searches for the other
// names. It looks up only the hinted names and lists no directory.
func TestOnlyHintedNamesAreReadWhenNamesOfAnOldFile(t *testing.T) {
	later := EditTime.Add(time.Second)
	for _, c := range []struct {
		name  string
		edits []Edit
		hints []string // in d
		want  []string
	}{
		{name: "are written", edits: []Edit{Remove("d/b"), Create("d/b", "y")}, hints: []string{"b"}, want: []string{"M /d/b"}},
		{name: "get another time", edits: []Edit{Remove("d/a"), Create("d/a", "x"), Touch("d/a", later)}, hints: []string{"a"}, want: []string{"M /d/a"}},
		{name: "get another mode", edits: []Edit{Remove("d/b"), Create("d/b", "x"), Chmod("d/b", 0o600)}, hints: []string{"b"}, want: []string{"M /d/b"}},
		{name: "get another content of the same size", edits: []Edit{Remove("d/b"), Create("d/b", "z")}, hints: []string{"b"}, want: []string{"M /d/b"}},
		{name: "are replaced by a symlink", edits: []Edit{Remove("d/b"), MakeSymlink("d/b", "a")}, hints: []string{"b"}, want: []string{"M /d/b"}},
		{name: "are replaced by a directory", edits: []Edit{Remove("d/b"), Mkdir("d/b")}, hints: []string{"b"}, want: []string{"M /d/b"}},
		{name: "are deleted", edits: []Edit{Remove("d/b"), Remove("d/a")}, hints: []string{"a", "b"}, want: []string{"D /d/a", "D /d/b"}},
		{name: "are renamed", edits: []Edit{Remove("d/b"), Create("d/n", "x")}, hints: []string{"b", "n"}, want: []string{"D /d/b", "A /d/n"}},
		{
			name: "are linked, which copies one up", edits: []Edit{Remove("d/a"), Create("d/a", "x"), MakeLink("d/n", "d/a")},
			hints: []string{"a", "n"}, want: []string{"M /d/a", "A /d/n"},
		},
		{
			name: "are linked with another old file", edits: []Edit{Remove("d/b"), Create("d/b", "x"), Remove("d/f00"), MakeLink("d/f00", "d/b")},
			hints: []string{"b", "f00"}, want: []string{"M /d/b", "M /d/f00"},
		},
		{
			name: "are written, two of them into one new file", edits: []Edit{Remove("d/b"), Create("d/b", "y"), Remove("d/c"), MakeLink("d/c", "d/b")},
			hints: []string{"b", "c"}, want: []string{"M /d/b", "M /d/c"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			old, new := tree(t, linkedBase()...), tree(t, append(linkedBase(), c.edits...)...)
			hints := map[string][]diff.Hint{".": {{Name: "d", Descend: true}}}
			for _, name := range c.hints {
				hints["d"] = append(hints["d"], diff.Hint{Name: name})
			}
			changes, ofOld, ofNew := counted(t, old, new, hints)
			require.Equal(t, c.want, difftest.Paths(changes))
			for side, r := range map[string]*reads{"old": ofOld, "new": ofNew} {
				require.Subset(t, []string{"d/b"}, r.listed, "only a new directory in %s", side)
				require.Subset(t, []string{"d", "d/b"}, r.opened, side)
				// The scan, the deletions and the second pass each look up a hinted name once.
				// A comparison ahead of time looks up its path.
				require.LessOrEqual(t, r.lookups, 5*(1+len(c.hints)), side)
			}
		})
	}
}

// The case that needs a search: a copy that does not differ from the file it
// was copied from, and no hint names the other names of that file.
func TestAnUnchangedCopyUpOfOneOfSeveralNamesFindsTheOthers(t *testing.T) {
	want := []string{"M /d/a", "M /d/b", "M /d/c", "M /rest/a"}
	for _, name := range []string{"d/a", "d/b", "d/c", "rest/a"} {
		old, new := tree(t, linkedBase()...), tree(t, append(linkedBase(), Remove(name), Create(name, "x"))...)
		changes, ofOld, ofNew := counted(t, old, new, map[string][]diff.Hint{
			".":            {{Name: path.Dir(name), Descend: true}},
			path.Dir(name): {{Name: path.Base(name)}},
		})
		require.Equal(t, want, difftest.Paths(changes), name)
		require.Equal(t, []string{".", "d", "rest"}, ofOld.listed, "old is walked once")
		require.Empty(t, ofNew.listed)

		unhinted, warnings := compare(t, old, new)
		require.Empty(t, warnings)
		require.Equal(t, difftest.Lines(unhinted), difftest.Lines(changes), name)
	}
}

// A directory was moved with a file that has names outside of it. These names
// are found in new, and old is not read for them.
func TestNamesOutsideAMovedDirectoryAreSoughtInTheNewTree(t *testing.T) {
	old, new := tree(t, linkedBase()...), tree(t, append(linkedBase(), Rename("rest", "moved"))...)
	changes, ofOld, _ := counted(t, old, new, map[string][]diff.Hint{".": {{Name: "moved"}, {Name: "rest"}}})
	require.Subset(t, difftest.Paths(changes), []string{"D /rest", "M /d/a", "M /d/b", "M /d/c", "A /moved", "A /moved/a"})
	require.Empty(t, ofOld.listed)
}

// The amount that a diff reads depends on the number of hints, not on the size
// of the tree.
func TestHintsKeepTheWorkIndependentOfTheTree(t *testing.T) {
	var work []reads
	for _, files := range []int{10, 1000} {
		base := []Edit{Mkdir("d"), Create("d/a", "x"), MakeLink("d/b", "d/a")}
		old, new := tree(t, base...), tree(t, append(base, Remove("d/b"), Create("d/b", "y"))...)
		for _, root := range []string{old, new} {
			for i := range files {
				require.NoError(t, os.Link(filepath.Join(root, "d/a"), filepath.Join(root, fmt.Sprint("d/l", i))))
			}
			edit(t, root, Touch("d", EditTime))
		}
		_, ofOld, ofNew := counted(t, old, new, map[string][]diff.Hint{".": {{Name: "d", Descend: true}}, "d": {{Name: "b"}}})
		work = append(work, *ofOld, *ofNew)
	}
	require.Equal(t, work[:2], work[2:])
}
