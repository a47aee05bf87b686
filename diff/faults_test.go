//go:build linux

package diff_test

import (
	"errors"
	"io"
	"io/fs"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/diff/difftest"
	. "github.com/layerkeep/layerkeep/internal/fstest"
)

// faultCases are pairs of trees that together reach all code of a comparison.
var faultCases = []struct {
	name        string
	base, edits []Edit
}{
	{
		name: "attributes, contents and deletions",
		base: []Edit{
			Mkdir("d"), Mkdir("d/e"), Create("d/e/f", "x"), Create("same", "x"), Create("body", "abc"), Create("mode", "x"), Create("attrs", "x"),
			MakeSymlink("l", "aa"), MakeSymlink("m", "aa"), Mknod("p", fifo|0o600, 0), Create("gone", "x"), Mkdir("goes"), Create("goes/f", ""), Create(".wh.o", ""),
			Create("to-dir", ""), Mkdir("to-file"), Create("to-socket", ""), Socket("from-socket"), Socket("socket"),
		},
		edits: []Edit{
			SetXattr("d", "user.x", "y"), Write("body", "abd"), Chmod("mode", 0o600), SetXattr("attrs", "user.x", "y"), Remove("l"), MakeSymlink("l", "bb"),
			Remove("gone"), Remove("goes"), Touch("d/e", EditTime.Add(time.Second)), Create("d/e/new", "y"), MakeSymlink("d/e/link", "z"), Create(".wh.n", ""),
			Remove("to-dir"), Mkdir("to-dir"), Create("to-dir/f", "x"), Remove("to-file"), Create("to-file", "x"), Remove("to-socket"), Socket("to-socket"),
			Remove("from-socket"), Create("from-socket", ""), Chmod(".", 0o700),
		},
	},
	{
		name:  "a link is parted though nothing was written",
		base:  []Edit{Mkdir("d"), Mkdir("rest"), Create("d/a", "x"), MakeLink("d/b", "d/a"), MakeLink("d/c", "d/a"), MakeLink("rest/a", "d/a"), Create("rest/f", "x")},
		edits: []Edit{Remove("d/b"), Create("d/b", "x"), Create("new", "x")},
	},
	{
		name:  "a moved directory takes a name along",
		base:  []Edit{Mkdir("d"), Mkdir("rest"), Mkdir("rest/e"), Create("d/a", "x"), MakeLink("d/b", "d/a"), MakeLink("rest/a", "d/a"), Create("rest/f", "x")},
		edits: []Edit{Rename("rest", "moved")},
	},
	{
		name: "links change partners",
		base: []Edit{Create("a", "x"), MakeLink("b", "a"), Create("c", "x"), MakeLink("d", "c"), MakeSymlink("l", "a"), MakeLink("m", "l")},
		edits: []Edit{
			Remove("b"), MakeLink("b", "c"), Remove("d"), MakeLink("d", "a"), Remove("m"), MakeSymlink("m", "a"), MakeLink("n", "m"),
		},
	},
}

// A faultPair is one way to compare the trees of a case.
type faultPair struct {
	old, new diff.View // old may be nil
	want     []string
}

func faultPairs(t *testing.T, base, edits []Edit) map[string]faultPair {
	old, new := tree(t, base...), tree(t, base...)
	edit(t, new, edits...)
	oldTree, newTree := FromPath(t, old), FromPath(t, new)
	want := difftest.Lines(difftest.Changes(oldTree, newTree))
	hinted := hintView{view(t, new), hints(oldTree, newTree, true, false)}
	var read []string
	sameBodies := bodyView{view(t, new), func(p string) (bool, error) { return oldTree[p].Body == newTree[p].Body, nil }, &read, nil}
	return map[string]faultPair{
		"without an old tree": {nil, view(t, new), difftest.Lines(difftest.Changes(nil, newTree))},
		"without hints":       {view(t, old), view(t, new), want},
		"with hints":          {view(t, old), hinted, want},
		"links are known":     {linker(t, view(t, old), nil), hintedLinks{hinted, linker(t, view(t, new), nil)}, want},
		"bodies are known":    {view(t, old), sameBodies, want},
	}
}

// compare compares with one fault and reads the content of changed files. It
// stops after stop changes, unless stop is negative.
func (p faultPair) compare(t *testing.T, f *faults, stop int) (lines []string, err error) {
	t.Helper()
	lines = []string{}
	var old diff.View
	if p.old != nil {
		old = faultView{p.old, f}
	}
	for c, failed := range diff.Compare(faultContext{t.Context(), f}, old, faultView{p.new, f}, diff.Options{}) {
		require.NoError(t, err, "the sequence goes on after an error")
		if stop == 0 {
			return lines, nil
		}
		stop--
		if err = failed; err != nil {
			continue
		}
		lines = append(lines, difftest.Line(c))
		if !c.Node.IsRegular() || c.Kind == diff.Delete || c.Hardlink != "" {
			continue
		}
		if err = readBody(c); err != nil {
			break
		}
	}
	return lines, err
}

func readBody(c diff.Change) error {
	r, err := c.Open()
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r)
	return errors.Join(err, r.Close())
}

// Every call of a comparison may fail. The comparison then ends with that
// error. It has yielded only changes that it also yields without the error, and
// leaves nothing open.
func TestNoErrorOfAViewVanishes(t *testing.T) {
	boom := errors.New("boom")
	for _, c := range faultCases {
		t.Run(c.name, func(t *testing.T) {
			for way, p := range faultPairs(t, c.base, c.edits) {
				whole := &faults{}
				lines, err := p.compare(t, whole, -1)
				require.NoError(t, err, way)
				require.Equal(t, p.want, lines, way)
				for n := 1; n <= whole.calls; n++ {
					failed := p.failAt(t, way, n, boom)
					// Names that the scan for links cannot find are found to be missing later.
					if !slices.Contains([]string{"", "Err", "Read", "Lookup"}, failed) {
						p.failAt(t, way, n, fs.ErrNotExist)
					}
				}
			}
		})
	}
}

// failAt lets one call fail and returns which call it was. It returns nothing
// if files with several names came in an order that needs fewer calls.
func (p faultPair) failAt(t *testing.T, way string, n int, failure error) string {
	t.Helper()
	f := &faults{fail: n, err: failure}
	lines, err := p.compare(t, f, -1)
	if f.failed == "" {
		require.NoError(t, err)
		return ""
	}
	require.ErrorIs(t, err, failure, "%s: call %d, %s", way, n, f.failed)
	require.Equal(t, f.fail, f.calls, "%s: it goes on after call %d, %s", way, n, f.failed)
	require.Zero(t, f.open, "%s: call %d, %s", way, n, f.failed)
	require.LessOrEqual(t, len(lines), len(p.want))
	require.Equal(t, p.want[:len(lines)], lines, "%s: call %d, %s", way, n, f.failed)
	return f.failed
}

func TestAConsumerMayStopAnywhere(t *testing.T) {
	for _, c := range faultCases {
		for way, p := range faultPairs(t, c.base, c.edits) {
			for n := range p.want {
				f := &faults{}
				lines, err := p.compare(t, f, n)
				require.NoError(t, err)
				require.Equal(t, p.want[:n], lines, "%s: %s", c.name, way)
				require.Zero(t, f.open, "%s: %s", c.name, way)
			}
		}
	}
}

// staleLinks also returns names that the file had earlier.
type staleLinks struct {
	diff.View // a Linker
	stale     []string
}

func (v staleLinks) Links(n diff.Node) ([]string, bool, error) {
	paths, ok, err := v.View.(diff.Linker).Links(n)
	return append(slices.Clone(v.stale), paths...), ok, err
}

func TestNamesThatAFileNoLongerHasDoNotCount(t *testing.T) {
	for _, c := range faultCases {
		p := faultPairs(t, c.base, c.edits)["links are known"]
		stale := []string{"none", "d/none", "rest/f", "d/a/none", "moved/f", "new"}
		p.old, p.new = staleLinks{p.old, stale}, staleLinks{p.new, stale}
		lines, err := p.compare(t, &faults{}, -1)
		require.NoError(t, err)
		require.Equal(t, p.want, lines, c.name)
	}
}
