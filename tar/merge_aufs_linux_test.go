package tar

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/aufs/aufstest"
	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// branch makes a directory with files of the given names. A name that ends in a
// slash is a directory. All directories get the same time.
func branch(t *testing.T, dir, names string) string {
	t.Helper()
	newRoot(t, dir)
	for name := range strings.FieldsSeq(names) {
		p := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(p), 0o755))
		if strings.HasSuffix(name, "/") {
			require.NoError(t, os.MkdirAll(p, 0o755))
			continue
		}
		require.NoError(t, os.WriteFile(p, []byte("old"), 0o444))
	}
	for p, n := range fstest.FromPath(t, dir) {
		if n.Type() == diff.TypeDir {
			require.NoError(t, os.Chtimes(filepath.Join(dir, p), time.Unix(7, 0), time.Unix(7, 0)))
		}
	}
	return dir
}

// names lists a branch in the form that branch takes: empty directories and all
// other files.
func names(t *testing.T, dir string) string {
	t.Helper()
	tree := fstest.FromPath(t, dir)
	var all []string
	for _, p := range tree.Paths() {
		if tree[p].Type() != diff.TypeDir {
			all = append(all, p)
			continue
		}
		filled := p == "."
		for q := range tree {
			filled = filled || strings.HasPrefix(q, p+"/")
		}
		if !filled {
			all = append(all, p+"/")
		}
	}
	return strings.Join(all, " ")
}

// mergeAUFS applies a layer to an upper branch over a lower one.
func mergeAUFS(t *testing.T, base, lower, upper string, layer []fstest.Entry, wrap func(diff.View) diff.View) error {
	t.Helper()
	shown, err := os.MkdirTemp(base, "shown")
	require.NoError(t, err)
	require.NoError(t, aufstest.ShowLive(shown+"/both", upper, lower))
	require.NoError(t, aufstest.Show(shown+"/below", lower))
	d, _, err := Unpack(t.Context(), staging(t, base), bytes.NewReader(fstest.Layer(t, layer...)), UnpackOptions{
		Parents: diff.DirView(open(t, shown+"/both")), Encoding: whiteout.AUFS, MaxName: 242,
	})
	if err != nil {
		return err
	}
	below := diff.DirView(open(t, shown+"/below"))
	if wrap != nil {
		below = wrap(below)
	}
	return d.Merge(t.Context(), Target{Root: open(t, upper), Below: below, Encoding: whiteout.AUFS})
}

func TestABranchHoldsTheMarksThatItNeedsAndNoOthers(t *testing.T) {
	requireRoot(t)
	dir, file := fstest.Dir, func(p string) fstest.Entry { return fstest.File(p, "new") }
	for name, c := range map[string]struct {
		lower, upper string
		layer        []fstest.Entry
		want         string
	}{
		"a whiteout":                        {"a b", "", []fstest.Entry{fstest.Whiteout("a")}, ".wh.a"},
		"a whiteout of nothing":             {"a", "", []fstest.Entry{fstest.Whiteout("x"), fstest.Whiteout("d/x")}, ""},
		"a whiteout of the branch's own":    {"a", "x", []fstest.Entry{fstest.Whiteout("x")}, ""},
		"a whiteout of both":                {"a", "a", []fstest.Entry{fstest.Whiteout("a")}, ".wh.a"},
		"a whiteout that is there":          {"a", ".wh.a", []fstest.Entry{fstest.Whiteout("a")}, ".wh.a"},
		"there, and nothing to hide":        {"b", ".wh.a", []fstest.Entry{fstest.Whiteout("a")}, ""},
		"a file where one was removed":      {"a", ".wh.a", []fstest.Entry{file("a")}, "a"},
		"a link where one was removed":      {"a", ".wh.a b", []fstest.Entry{fstest.Link("a", "b")}, "a b"},
		"a directory where one was removed": {"a/x", ".wh.a", []fstest.Entry{dir("a"), file("a/y")}, "a/.wh..wh..opq a/y"},
		"implied where one was removed":     {"a/x", ".wh.a", []fstest.Entry{file("a/y")}, "a/.wh..wh..opq a/y"},
		"where the mark hid nothing":        {"b", ".wh.a", []fstest.Entry{dir("a"), file("a/y")}, "a/y"},
		"removed and made in one layer":     {"a/x", "", []fstest.Entry{fstest.Whiteout("a"), dir("a"), file("a/y")}, "a/.wh..wh..opq a/y"},
		"a directory over a file":           {"a b/c", "", []fstest.Entry{dir("a"), file("a/x"), dir("b"), dir("b/c")}, "a/.wh..wh..opq a/x b/c/.wh..wh..opq"},
		"deep down over a file":             {"a/b/c/d", "", []fstest.Entry{dir("a"), dir("a/b"), dir("a/b/c"), dir("a/b/c/d")}, "a/b/c/d/.wh..wh..opq"},
		"a directory over a directory":      {"a/b/c", "", []fstest.Entry{dir("a"), dir("a/b"), file("a/b/x")}, "a/b/x"},
		"a file over a directory":           {"a/b", "", []fstest.Entry{file("a")}, "a"},
		"over a file of the branch":         {"a/x", "a", []fstest.Entry{dir("a"), file("a/y")}, "a/.wh..wh..opq a/y"},
		"an opaque directory":               {"a/x", "", []fstest.Entry{dir("a"), fstest.Opaque("a"), file("a/y")}, "a/.wh..wh..opq a/y"},
		"opaque over the branch's own":      {"a/x a/z", "a/z a/.wh.x", []fstest.Entry{fstest.Opaque("a"), file("a/y")}, "a/.wh..wh..opq a/y"},
		"opaque twice":                      {"a/x", "a/.wh..wh..opq a/y", []fstest.Entry{fstest.Opaque("a"), file("a/z")}, "a/.wh..wh..opq a/z"},
		"opaque and nothing to hide":        {"b", "", []fstest.Entry{dir("a"), fstest.Opaque("a"), file("a/y")}, "a/y"},
		"a mark in an opaque directory":     {"a/x", "a/.wh..wh..opq a/y", []fstest.Entry{fstest.Whiteout("a/x"), fstest.Whiteout("a/y")}, "a/.wh..wh..opq"},
		"an opaque root":                    {"a b/c", ".wh.a x", []fstest.Entry{fstest.Opaque(""), file("b")}, ".wh.a b"},
		"below a removed directory":         {"a/b/x", ".wh.a", []fstest.Entry{fstest.Whiteout("a/b/x")}, ".wh.a"},
		"below a directory of the parents":  {"a/b/x", "", []fstest.Entry{fstest.Whiteout("a/b/x")}, "a/b/.wh.x"},
		"beside its mark":                   {"a/x", ".wh.a a/y", []fstest.Entry{file("a/z")}, "a/.wh..wh..opq a/z"},
		"beside its mark, removed":          {"a/x", ".wh.a a/y", []fstest.Entry{fstest.Whiteout("a")}, ".wh.a"},
		"bookkeeping stays": {
			"a", ".wh..wh.aufs .wh..wh.plnk/1.2 .wh..wh.orph/ x",
			[]fstest.Entry{fstest.Opaque(""), file(".wh..wh.aufs"), dir(".wh..wh.plnk"), file("b")},
			".wh..wh.aufs .wh..wh.orph/ .wh..wh.plnk/1.2 .wh.a b",
		},
	} {
		t.Run(name, func(t *testing.T) {
			base := t.TempDir()
			lower, upper := branch(t, base+"/lower", c.lower), branch(t, base+"/upper", c.upper)
			require.NoError(t, mergeAUFS(t, base, lower, upper, c.layer, nil))
			require.Equal(t, c.want, names(t, upper))
			for p, n := range fstest.FromPath(t, upper) {
				if strings.HasPrefix(filepath.Base(p), ".wh.") && n.Type() == diff.TypeRegular {
					require.EqualValues(t, 0o444, n.Perm(), p)
				}
			}
		})
	}
}

func TestMarksLeaveTheTimesOfDirectories(t *testing.T) {
	requireRoot(t)
	base := t.TempDir()
	lower := branch(t, base+"/lower", "a/x b/c/x d/x e/x f/g h")
	upper := branch(t, base+"/upper", "d/y .wh.e f/.wh.g")
	made := fstest.Dir("new").WithMtime(9, 9)
	require.NoError(t, mergeAUFS(t, base, lower, upper, []fstest.Entry{
		fstest.Whiteout("a/x"), fstest.Opaque("b/c"), fstest.Whiteout("d/x"), fstest.Whiteout("d/y"), fstest.File("f/g", ""), made,
		fstest.Dir("e").WithMtime(9, 9), fstest.Dir("h").WithMtime(9, 9),
	}, nil))
	tree := fstest.FromPath(t, upper)
	for _, p := range []string{".", "a", "b", "b/c", "d", "f"} {
		require.Equal(t, time.Unix(7, 0), tree[p].Mtime, "of /"+p)
	}
	for _, p := range []string{"new", "e", "h"} {
		require.Equal(t, time.Unix(9, 9), tree[p].Mtime, "of /"+p)
	}
	require.Contains(t, tree, "e/.wh..wh..opq")
	require.Contains(t, tree, "h/.wh..wh..opq")
}

func TestAMergeThatFailsLeavesTheBranchAsItWas(t *testing.T) {
	requireRoot(t)
	base := t.TempDir()
	lower := branch(t, base+"/lower", "a/x a/s/y b/x f o/1 o/2 m/n/q r/s t/u gone/x hide a/s/hide")
	upper := branch(t, base+"/upper", "a/s/y a/.wh.x o/.wh.1 o/3 .wh.r .wh.t t/beside .wh.gone .wh..wh.aufs .wh..wh.plnk/1.2 .wh..wh.orph/ p/.wh..wh..opq p/q")
	layer := []fstest.Entry{
		fstest.Dir(".").WithMode(0o700), fstest.Whiteout("a/x"), fstest.File("a/s/z", "z"), fstest.Dir("a").WithMode(0o711),
		fstest.Whiteout("b"), fstest.Dir("b"), fstest.File("b/new", "n"), fstest.Dir("f"), fstest.File("f/in", ""),
		fstest.Opaque("o"), fstest.File("o/2", "2"), fstest.Whiteout("m/n/q"), fstest.File("new/deep/er", ""), fstest.File("a/s/y", "Y"),
		fstest.Dir("r"), fstest.File("r/v", "v"), fstest.File("t/w", "w"), fstest.File("gone", "back"), fstest.Opaque("p"), fstest.File("p/z", ""),
		fstest.Whiteout("hide"), fstest.Whiteout("a/s/hide"),
	}
	before := fstest.FromPath(t, upper)
	for n := 0; ; n++ {
		left := n
		err := mergeAUFS(t, base, lower, upper, layer, func(v diff.View) diff.View { return faultyView{v, &left} })
		if err == nil {
			require.Greater(t, n, 12, "steps that could fail")
			break
		}
		require.ErrorIs(t, err, errFault)
		fstest.RequireEqual(t, before, fstest.FromPath(t, upper), fmt.Sprint("after a merge that failed at lookup ", n))
	}
	require.NoError(t, aufstest.ShowLive(base+"/after", upper, lower))
	tree := fstest.FromPath(t, base+"/after")
	require.Equal(t, []string{
		".", "a", "a/s", "a/s/y", "a/s/z", "b", "b/new", "f", "f/in", "gone", "m", "m/n", "new", "new/deep", "new/deep/er", "o", "o/2",
		"p", "p/z", "r", "r/v", "t", "t/w",
	}, tree.Paths())
	require.Equal(t, "back", tree["gone"].Body)
}

// TestAMergeThatTheDiskStopsLeavesTheBranchAsItWas has errors of the file
// system at the place of a marker: the file there can be neither moved nor
// replaced.
func TestAMergeThatTheDiskStopsLeavesTheBranchAsItWas(t *testing.T) {
	requireRoot(t)
	for name, obstacle := range map[string]func(t *testing.T, upper string){
		"a mark that is a directory": func(t *testing.T, upper string) {
			require.NoError(t, os.Mkdir(filepath.Join(upper, "z", ".wh.x"), 0o755))
		},
		"an opaque mark that is a symbolic link": func(t *testing.T, upper string) {
			require.NoError(t, os.Symlink("x", filepath.Join(upper, "z", ".wh..wh..opq")))
		},
		"a mount point": func(t *testing.T, upper string) {
			p := filepath.Join(upper, "z", "x")
			require.NoError(t, os.Mkdir(p, 0o755))
			require.NoError(t, unix.Mount("tmpfs", p, "tmpfs", 0, ""))
			t.Cleanup(func() { unix.Unmount(p, unix.MNT_DETACH) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			base := fstest.Scratch(t, fstest.Tmpfs)
			lower, upper := branch(t, base+"/lower", "a/x b/x c d/x hide z/x"), branch(t, base+"/upper", ".wh.b d/ z/")
			shown := diff.DirView(open(t, lower))
			d, _, err := Unpack(t.Context(), staging(t, base), bytes.NewReader(fstest.Layer(t,
				fstest.Whiteout("a/x"), fstest.Dir("b"), fstest.Dir("c"), fstest.Opaque("d"), fstest.Whiteout("hide"), fstest.Whiteout("z/x"),
			)), UnpackOptions{Parents: shown, Encoding: whiteout.AUFS})
			require.NoError(t, err)
			obstacle(t, upper)
			before := fstest.FromPath(t, upper)
			err = d.Merge(t.Context(), Target{Root: open(t, upper), Below: shown, Encoding: whiteout.AUFS})
			require.Error(t, err)
			require.NotErrorIs(t, err, ErrTorn)
			fstest.RequireEqual(t, before, fstest.FromPath(t, upper), "after the merge that failed")
		})
	}
}

func TestNamesThatTheTargetCannotHoldAreRefused(t *testing.T) {
	requireRoot(t)
	long, longest := strings.Repeat("n", 243), strings.Repeat("m", 242)
	for name, entries := range map[string][]fstest.Entry{
		"a file":                  {fstest.File("d/"+long, "")},
		"a directory on the way":  {fstest.File(long+"/f", "")},
		"a hard link":             {fstest.File("f", ""), fstest.Link(long, "f")},
		"through a symbolic link": {fstest.Symlink("s", long), fstest.File("s/f", "")},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := unpackNew(t, bytes.NewReader(fstest.Layer(t, entries...)), UnpackOptions{Encoding: whiteout.AUFS, MaxName: 242})
			require.ErrorIs(t, err, ErrLongName)
			require.NotErrorIs(t, err, diff.ErrInvalidLayer)
			require.ErrorIs(t, err, syscall.ENAMETOOLONG)
			require.ErrorContains(t, err, entries[len(entries)-1].Name, "the entry is named")
			require.ErrorContains(t, err, "243 bytes is over the limit of 242")
		})
	}
	dir, _, err := unpackNew(t, bytes.NewReader(fstest.Layer(t,
		fstest.File(longest, ""), fstest.Symlink("s", long), fstest.Whiteout(long),
	)), UnpackOptions{Encoding: whiteout.AUFS, MaxName: 242})
	require.NoError(t, err, "targets of links and whiteouts are no names of the layer")
	require.Contains(t, fstest.FromPath(t, dir.Name()), longest)
	_, _, err = unpackNew(t, bytes.NewReader(fstest.Layer(t, fstest.File(long, ""))), UnpackOptions{})
	require.NoError(t, err, "without a limit of the target's own")
}
