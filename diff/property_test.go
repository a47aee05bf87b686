//go:build linux

package diff_test

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/diff/difftest"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// Few names, so that edits affect each other.
var (
	names  = []string{"a", "b", "c", ".wh.x", "é"}
	paths  = rapid.Custom(drawPath)
	bodies = rapid.SampledFrom([]string{"", "x", "y", strings.Repeat("x", 200_000)})
	times  = rapid.SampledFrom([]time.Time{fstest.EditTime, time.Unix(-5, 7), time.Unix(1_600_000_000, 0)})
)

func drawPath(t *rapid.T) string {
	depth := rapid.IntRange(1, 3).Draw(t, "depth")
	parts := make([]string, depth)
	for i := range parts {
		parts[i] = rapid.SampledFrom(names).Draw(t, "name")
	}
	return path.Join(parts...)
}

func drawEdit(t *rapid.T) fstest.Edit {
	e := fstest.Edit{
		Op:    fstest.Op(rapid.IntRange(int(fstest.OpCreate), int(fstest.OpCopyUp)).Draw(t, "op")),
		Path:  paths.Draw(t, "path"),
		To:    paths.Draw(t, "to"),
		Name:  rapid.SampledFrom([]string{"user.x", "user.y"}).Draw(t, "xattr"),
		Body:  bodies.Draw(t, "body"),
		Mode:  rapid.SampledFrom([]uint32{0o644, 0o755, 0o4711}).Draw(t, "mode"),
		Mtime: times.Draw(t, "mtime"),
		// Directories that keep their times are the harder case.
		TouchParents: rapid.IntRange(0, 9).Draw(t, "touch") == 0,
	}
	switch e.Op {
	case fstest.OpMknod:
		e.Mode = 0o600 | diff.TypeFifo
		if os.Geteuid() == 0 && rapid.Bool().Draw(t, "device") {
			e.Mode, e.Rdev = 0o600|diff.TypeChar, rapid.SampledFrom([]uint64{0, 0x103, 0x105}).Draw(t, "rdev")
		}
	case fstest.OpChown:
		if os.Geteuid() == 0 {
			e.UID = uint32(rapid.IntRange(0, 2).Draw(t, "uid"))
		} else {
			e.UID, e.GID = uint32(os.Getuid()), uint32(os.Getgid())
		}
	case fstest.OpSetXattr:
		if len(e.Body) > 1 {
			e.Body = "z"
		}
	}
	if os.Geteuid() != 0 && e.Op != fstest.OpChown {
		e.UID, e.GID = uint32(os.Getuid()), uint32(os.Getgid())
	}
	return e
}

// replay makes a tree with the edits that succeed. These are the same every
// time.
func replay(t *rapid.T, root string, edits []fstest.Edit) fstest.Tree {
	require.NoError(t, os.Mkdir(root, 0o755))
	for _, e := range edits {
		if harmless(root, e) {
			_ = e.Apply(root)
		}
	}
	require.NoError(t, fstest.Touch(".", fstest.EditTime).Apply(root))
	tree, err := fstest.ReadPath(root)
	require.NoError(t, err)
	return tree
}

// harmless reports whether an edit opens no fifo, because that would block.
func harmless(root string, e fstest.Edit) bool {
	switch e.Op {
	case fstest.OpWrite, fstest.OpAppend, fstest.OpCopyUp:
		fi, err := os.Stat(filepath.Join(root, e.Path))
		return err == nil && fi.Mode().IsRegular()
	default:
		fi, err := os.Stat(filepath.Join(root, path.Dir(e.Path)))
		return err == nil && fi.IsDir()
	}
}

func TestCompareAgreesWithTheOracle(t *testing.T) {
	dir, run := t.TempDir(), 0
	rapid.Check(t, func(t *rapid.T) {
		run++
		base := rapid.SliceOfN(rapid.Custom(drawEdit), 0, 30).Draw(t, "base")
		edits := rapid.SliceOfN(rapid.Custom(drawEdit), 0, 15).Draw(t, "edits")
		oldRoot, newRoot := filepath.Join(dir, fmt.Sprint(run, "old")), filepath.Join(dir, fmt.Sprint(run, "new"))
		defer os.RemoveAll(oldRoot)
		defer os.RemoveAll(newRoot)
		oldTree, newTree := replay(t, oldRoot, base), replay(t, newRoot, append(slices.Clone(base), edits...))
		want := difftest.Lines(difftest.Changes(oldTree, newTree))

		old, err := os.Open(oldRoot)
		require.NoError(t, err)
		defer old.Close()
		new, err := os.Open(newRoot)
		require.NoError(t, err)
		defer new.Close()
		got, err := difftest.Collect(diff.Compare(t.Context(), diff.DirView(old), diff.DirView(new), diff.Options{}))
		require.NoError(t, err)
		require.Equal(t, want, difftest.Lines(got))

		keepDescend := rapid.Bool().Draw(t, "descend hints")
		hinted := hintView{diff.DirView(new), hints(oldTree, newTree, keepDescend, rapid.Bool().Draw(t, "last name keeps the file"))}
		got, err = difftest.Collect(diff.Compare(t.Context(), diff.DirView(old), hinted, diff.Options{}))
		require.NoError(t, err)
		require.Equal(t, want, difftest.Lines(got), "with hints %v", hinted.hints)

		got, err = difftest.Collect(diff.Compare(t.Context(), nil, diff.DirView(new), diff.Options{}))
		require.NoError(t, err)
		require.Equal(t, difftest.Lines(difftest.Changes(nil, newTree)), difftest.Lines(got), "without an old tree")
	})
}
