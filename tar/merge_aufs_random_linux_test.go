package tar

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/aufs/aufstest"
	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// litter fills a directory of a branch with any files, including markers.
func litter(t *testing.T, rnd *rand.Rand, dir string, depth int) {
	file := func(name string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644))
	}
	for _, name := range []string{"a", "b", "c"} {
		if rnd.IntN(5) == 0 {
			file(".wh." + name)
		}
		switch rnd.IntN(5) {
		case 0:
			file(name)
		case 1:
			require.NoError(t, os.Symlink("b", filepath.Join(dir, name)))
		case 2, 3:
			if depth > 0 {
				require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o755))
				litter(t, rnd, filepath.Join(dir, name), depth-1)
			}
		}
	}
	if rnd.IntN(5) == 0 {
		file(".wh..wh..opq")
	}
	require.NoError(t, os.Chtimes(dir, time.Time{}, time.Unix(int64(rnd.IntN(100)), 0)))
}

// somewhere returns a random path. Half of them are paths of the tree.
func somewhere(rnd *rand.Rand, tree fstest.Tree) string {
	if paths := tree.Paths(); len(paths) > 1 && rnd.IntN(2) > 0 {
		return paths[1+rnd.IntN(len(paths)-1)]
	}
	names := []string{string(rune('a' + rnd.IntN(3)))}
	for rnd.IntN(2) > 0 && len(names) < 4 {
		names = append(names, string(rune('a'+rnd.IntN(3))))
	}
	return strings.Join(names, "/")
}

func randomLayer(rnd *rand.Rand, tree fstest.Tree) (layer []fstest.Entry) {
	for range 1 + rnd.IntN(6) {
		p := somewhere(rnd, tree)
		var e fstest.Entry
		switch rnd.IntN(9) {
		case 0, 1:
			e = fstest.Dir(p)
		case 2:
			e = fstest.File(p, fmt.Sprint("new", rnd.IntN(3)))
		case 3:
			e = fstest.Symlink(p, somewhere(rnd, tree))
		case 4:
			e = fstest.Link(p, somewhere(rnd, tree))
		case 5, 6:
			e = fstest.Whiteout(p)
		case 7:
			e = fstest.Opaque(p)
		case 8:
			e = fstest.Dir(".").WithMode(0o700 + int64(rnd.IntN(8)))
		}
		layer = append(layer, e.WithMtime(int64(rnd.IntN(9)), 1))
	}
	return layer
}

// pair is a tree that is stored twice: as a branch over others, and as a plain
// copy of what they show.
type pair struct {
	*plainBed
	t        *testing.T
	rnd      *rand.Rand
	branches []string // uppermost first
	editor   *aufstest.Editor
	shown    int
	log      []string
}

func newPair(t *testing.T, rnd *rand.Rand, base, what string) *pair {
	p := &pair{t: t, rnd: rnd, log: []string{what}, plainBed: &plainBed{base: base, root: filepath.Join(base, "plain")}}
	for _, name := range []string{"upper", "middle", "lower"} {
		b := filepath.Join(base, name)
		require.NoError(t, os.MkdirAll(b, 0o755))
		p.branches = append(p.branches, b)
	}
	litter(t, rnd, p.branches[1], 3)
	litter(t, rnd, p.branches[2], 3)
	p.editor = aufstest.New(p.branches[0], p.branches[1:]).Live()
	require.NoError(t, p.editor.Apply(fstest.Chmod(".", 0o755))) // leaves the bookkeeping files
	require.NoError(t, os.Chtimes(p.branches[0], time.Time{}, time.Unix(1, 1)))
	require.NoError(t, aufstest.Copy(p.root, p.branches...))
	return p
}

// show makes the tree that branches show. Markers of the upper branch, which
// layers are applied to, hide everything below.
func (p *pair) show(branches ...string) string {
	p.shown++
	dst, show := filepath.Join(p.base, fmt.Sprint("shown", p.shown)), aufstest.Show
	if branches[0] == p.branches[0] {
		show = aufstest.ShowLive
	}
	require.NoError(p.t, show(dst, branches...))
	return dst
}

// edit makes an edit in both trees.
func (p *pair) edit() {
	path := somewhere(p.rnd, p.tree(p.t))
	e := []fstest.Edit{fstest.Remove(path), fstest.Mkdir(path), fstest.Create(path, "e")}[p.rnd.IntN(3)]
	e.Mtime = time.Unix(e.Mtime.Unix(), 0) // the precision of a branch
	for dir := filepath.Dir(path); dir != "."; dir = filepath.Dir(dir) {
		if fi, err := os.Lstat(filepath.Join(p.root, dir)); err == nil && fi.Mode()&os.ModeSymlink != 0 {
			return
		}
	}
	want, got := e.Apply(p.root), p.editor.Apply(e)
	p.log = append(p.log, fmt.Sprint(e, ": ", want))
	require.Equal(p.t, want == nil, got == nil, "%v, aufs: %v\n%s", want, got, strings.Join(p.log, "\n"))
	p.takeTimes()
}

// takeTimes copies the times of the directories from the branches to the plain
// tree, because an edit changes more times in a branch than in a plain tree.
func (p *pair) takeTimes() {
	for path, n := range fstest.FromPath(p.t, p.show(p.branches...)) {
		if n.Type() == diff.TypeDir {
			require.NoError(p.t, os.Chtimes(filepath.Join(p.root, path), time.Time{}, n.Mtime))
		}
	}
}

// layer applies a layer to both trees.
func (p *pair) layer() {
	layer := randomLayer(p.rnd, p.tree(p.t))
	for _, e := range layer {
		p.log = append(p.log, e.String())
	}
	stream, before := fstest.Layer(p.t, layer...), fstest.FromPath(p.t, p.branches[0])
	_, want := p.apply(p.t, stream, UnpackOptions{})
	p.log = append(p.log, fmt.Sprint("applied: ", want))
	got := applyToBranch(p.t, p.base, stream, p.branches[0], p.show(p.branches...), p.show(p.branches[1:]...))
	what := strings.Join(p.log, "\n")
	require.Equal(p.t, want == nil, got == nil, "%v, aufs: %v\n%s", want, got, what)
	if want != nil {
		fstest.RequireEqual(p.t, before, fstest.FromPath(p.t, p.branches[0]), "the branch after the refused layer:\n"+what)
	}
	fstest.RequireEqual(p.t, p.tree(p.t), fstest.FromPath(p.t, p.show(p.branches...)), what)
}

// TestBranchesTakeLayersAsPlainTreesDo applies random layers over any branches,
// with random edits in between. It compares the result with the same steps on a
// plain copy of what the branches show.
func TestBranchesTakeLayersAsPlainTreesDo(t *testing.T) {
	requireRoot(t)
	seed := uint64(time.Now().UnixNano())
	rounds := uint64(80)
	if testing.Short() {
		rounds = 15
	}
	dir := fstest.Scratch(t, fstest.Tmpfs)
	for round := range rounds {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			p := newPair(t, rand.New(rand.NewPCG(seed, round)), filepath.Join(dir, fmt.Sprint(round)), fmt.Sprintf("seed %d, round %d", seed, round))
			for range 5 {
				for range p.rnd.IntN(3) {
					p.edit()
				}
				p.layer()
			}
		})
	}
}

func applyToBranch(t *testing.T, base string, stream []byte, upper, all, below string) error {
	t.Helper()
	d, _, err := Unpack(t.Context(), staging(t, base), bytes.NewReader(stream), UnpackOptions{
		Parents: diff.DirView(open(t, all)), Encoding: whiteout.AUFS, MaxName: 242,
	})
	if err != nil {
		return err
	}
	return d.Merge(t.Context(), Target{Root: open(t, upper), Below: diff.DirView(open(t, below)), Encoding: whiteout.AUFS})
}
