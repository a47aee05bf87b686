package btrfs

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

func TestBodiesAreTheSameOnlyWhileTheirPlacesAre(t *testing.T) {
	vols := &volumes{root: scratch(t)}
	old := newVolume(t, vols.root, vols.name())
	all(some, noCOW("a/plain", big), edits(fstest.Create("a/empty", ""), fstest.Create("a/tail", big[:4096])),
		opened("a/tail", 2, truncate(12288)))(t, old.fs())
	for _, c := range []struct {
		name, path string
		change     change
		want       bool
	}{
		{"it was read", "a/g", read("a/g"), true},
		{"a small one was read", "a/f", read("a/f"), true},
		{"an empty one was read", "a/empty", read("a/empty"), true},
		{"its mode changed", "a/g", edits(fstest.Chmod("a/g", 0o600)), true},
		{"one byte was written", "a/g", pwrite("a/g", 100_000, "!"), false},
		{"the bytes that were there were written", "a/g", pwrite("a/g", 0, "0"), false},
		{"one byte of a small one was written", "a/f", pwrite("a/f", 0, "!"), false},
		{"it was written through a mapping", "a/g", mapped("a/g", 9, '!'), false},
		{"a file without copy on write was read", "a/plain", read("a/plain"), true},
		{"a file without copy on write was written", "a/plain", pwrite("a/plain", 9000, "!"), false},
		{"a hole at the end was filled", "a/tail", pwrite("a/tail", 8192, big[:4096]), false},
		{"it is longer", "a/g", opened("a/g", 2, truncate(400_000)), false},
		{"it is a clone of what it was", "a/g", all(edits(fstest.Rename("a/g", "x"), fstest.Create("a/g", "")), cloneRange("x", "a/g", 0, 0, 0)), true},
		{"it is a clone of another", "a/g", cloneRange("d/big", "a/g", 0, 0, 0), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			new := old.snapshot(t, vols.name())
			c.change(t, new.fs())
			o, n := changed(t, old, new)
			require.Equal(t, c.want, sameBody(t, o, n, c.path))
		})
	}
	t.Run("another tree than that of the parent says nothing", func(t *testing.T) {
		new := old.snapshot(t, vols.name())
		_, n := changed(t, old, new)
		require.False(t, sameBody(t, old.open(t, true), n, "a/g"))
	})
}
