//go:build linux

package diff_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/diff/difftest"
	. "github.com/layerkeep/layerkeep/internal/fstest"
)

const char, block, fifo = diff.TypeChar, diff.TypeBlock, diff.TypeFifo

// Changes of a tree that base makes and that is then edited. base makes the
// tree twice, so no inode is the same on both sides.
func TestWhatIsAChange(t *testing.T) {
	needsRoot(t)
	later := EditTime.Add(time.Nanosecond)

	for _, c := range []struct {
		name  string
		base  []Edit
		edits []Edit
		want  []string
	}{
		{name: "nothing changed"},
		{
			name: "a copy-up that changed nothing", base: []Edit{Create("f", "x"), Mkdir("d"), MakeSymlink("l", "x")},
			edits: []Edit{CopyUp("f"), CopyUp("d"), CopyUp("l")},
		},
		{
			name: "a new file, its directory's attributes unchanged", base: []Edit{Mkdir("d")},
			edits: []Edit{Create("d/f", "x")}, want: []string{"A /d/f"},
		},
		{
			name: "a directory is written when its own mtime changed", base: []Edit{Mkdir("d")},
			edits: []Edit{Create("d/f", "x"), Touch("d", later)}, want: []string{"M /d", "A /d/f"},
		},
		{
			name: "the number of subdirectories is no change of a directory", base: []Edit{Mkdir("d")},
			edits: []Edit{Mkdir("d/e")}, want: []string{"A /d/e"},
		},
		{name: "the root's attributes", edits: []Edit{Chmod(".", 0o700)}, want: []string{"M /"}},
		{
			name: "content of equal size and time", base: []Edit{Create("f", "abc")},
			edits: []Edit{Write("f", "abd")}, want: []string{"M /f"},
		},
		{
			name: "content beyond the first block", base: []Edit{Create("f", string(make([]byte, 300_000)))},
			edits: []Edit{Write("f", string(append(make([]byte, 299_999), 1)))}, want: []string{"M /f"},
		},
		{name: "size", base: []Edit{Create("f", "abc")}, edits: []Edit{Append("f", "d")}, want: []string{"M /f"}},
		{
			name: "mtime by a nanosecond", base: []Edit{Create("f", "x"), MakeSymlink("l", "f")},
			edits: []Edit{Touch("f", later), Touch("l", later)}, want: []string{"M /f", "M /l"},
		},
		{
			name: "mode, special bits included", base: []Edit{Create("f", "x"), Create("g", "x")},
			edits: []Edit{Chmod("f", 0o4644), Chmod("g", 0o600)}, want: []string{"M /f", "M /g"},
		},
		{
			name: "owner, also of a symlink", base: []Edit{Create("f", "x"), Create("g", "x"), MakeSymlink("l", "f")},
			edits: []Edit{Chown("f", 1, 0), Chown("g", 0, 4294967294), Chown("l", 7, 7)}, want: []string{"M /f", "M /g", "M /l"},
		},
		{
			name: "link target", base: []Edit{MakeSymlink("l", "aa")},
			edits: []Edit{Remove("l"), MakeSymlink("l", "bb")}, want: []string{"M /l"},
		},
		{
			name: "device number", base: []Edit{Mknod("c", char|0o600, 0x103), Mknod("b", block|0o600, 0x700)},
			edits: []Edit{Remove("c"), Remove("b"), Mknod("c", char|0o600, 0x105), Mknod("b", block|0o600, 0x701)}, want: []string{"M /b", "M /c"},
		},
		{
			name: "device type", base: []Edit{Mknod("c", char|0o600, 0x103)},
			edits: []Edit{Remove("c"), Mknod("c", block|0o600, 0x103)}, want: []string{"M /c"},
		},
		{
			name: "A5: an xattr alone, also its value, emptiness and absence",
			base: []Edit{Create("a", ""), Create("b", ""), SetXattr("b", "user.x", "1"), Create("c", ""), SetXattr("c", "user.x", ""), Mkdir("d"), MakeSymlink("l", "x")},
			edits: []Edit{
				SetXattr("a", "user.x", ""), SetXattr("b", "user.x", "2"), RemoveXattr("c", "user.x"),
				SetXattr("d", "trusted.y", "z"), SetXattr("l", "trusted.y", "z"),
			},
			want: []string{"M /a", "M /b", "M /c", "M /d", "M /l"},
		},
		{
			name: "D4: deleting a dangling symlink is a deletion", base: []Edit{MakeSymlink("l", "nowhere")},
			edits: []Edit{Remove("l")}, want: []string{"D /l"},
		},
		{
			name: "nothing below a deleted directory is listed", base: []Edit{Mkdir("d"), Create("d/f", "x"), Mkdir("d/e")},
			edits: []Edit{Remove("d")}, want: []string{"D /d"},
		},
		{
			name: "a file in the place of a directory needs no deletions", base: []Edit{Mkdir("d"), Create("d/f", "x")},
			edits: []Edit{Remove("d"), Create("d", "x")}, want: []string{"M /d"},
		},
		{
			name: "a directory in the place of a file", base: []Edit{Create("d", "x")},
			edits: []Edit{Remove("d"), Mkdir("d"), Create("d/f", "x")}, want: []string{"M /d", "A /d/f"},
		},
		{
			name:  "O4: a replaced directory gives a deletion for every child that is gone",
			base:  []Edit{Mkdir("d"), Create("d/a", ""), Create("d/b", ""), Mkdir("d/c"), Create("d/c/x", "")},
			edits: []Edit{Remove("d"), Mkdir("d"), Create("d/b", "")}, want: []string{"D /d/a", "D /d/c"},
		},
		{
			name:  "O4: deletions come before the other names of a directory",
			base:  []Edit{Create("a", ""), Create("m", ""), Create("z", "")},
			edits: []Edit{Remove("z"), Remove("m"), Write("a", "x"), Create("b", "")}, want: []string{"D /m", "D /z", "M /a", "A /b"},
		},
		{
			name:  "the order is by bytes within a directory, subtrees together",
			edits: []Edit{Mkdir("a"), Create("a/x", ""), Create("a-b", ""), Create("B", ""), Create("\xff", ""), Create("é", "")},
			want:  []string{"A /B", "A /a", "A /a/x", "A /a-b", "A /é", "A /\xff"},
		},
		{
			name: "a renamed directory", base: []Edit{Mkdir("d"), Create("d/f", "x")},
			edits: []Edit{Rename("d", "e")}, want: []string{"D /d", "A /e", "A /e/f"},
		},
		{name: "H1: hard links", edits: []Edit{Create("b", "x"), MakeLink("a", "b"), MakeLink("c", "b")}, want: []string{"A /a", "A /b", "A /c"}},
		{name: "unchanged hard links", base: []Edit{Create("a", "x"), MakeLink("b", "a"), MakeSymlink("l", "a"), MakeLink("m", "l")}},
		{
			name: "a second name for an old file puts both into the diff", base: []Edit{Create("a", "x")},
			edits: []Edit{MakeLink("b", "a")}, want: []string{"M /a", "A /b"},
		},
		{
			name: "the loss of a name alone is only a deletion", base: []Edit{Create("a", "x"), MakeLink("b", "a")},
			edits: []Edit{Remove("a")}, want: []string{"D /a"},
		},
		{
			name: "a moved name is a regrouping", base: []Edit{Create("a", "x"), MakeLink("b", "a")},
			edits: []Edit{Rename("b", "c")}, want: []string{"D /b", "M /a", "A /c"},
		},
		{
			name: "a broken link is a regrouping of all names", base: []Edit{Create("a", "x"), MakeLink("b", "a"), MakeLink("c", "a")},
			edits: []Edit{Remove("c"), Create("c", "x")}, want: []string{"M /a", "M /b", "M /c"},
		},
		{
			name:  "a write that broke a link is a change of the written name only",
			base:  []Edit{Create("a", "x"), MakeLink("b", "a"), MakeLink("c", "a")},
			edits: []Edit{Remove("b"), Create("b", "y")}, want: []string{"M /b"},
		},
		{
			name: "names that a write parted together stay together", base: []Edit{Create("a", "x"), MakeLink("b", "a"), MakeLink("c", "a"), MakeLink("d", "a")},
			edits: []Edit{Remove("c"), Create("c", "y"), Remove("d"), MakeLink("d", "c")}, want: []string{"M /c", "M /d"},
		},
		{
			name:  "a file split in three, of which one was written",
			base:  []Edit{Create("a", "x"), MakeLink("b", "a"), MakeLink("c", "a"), MakeLink("d", "a")},
			edits: []Edit{Remove("b"), Create("b", "y"), Remove("c"), Create("c", "x"), Remove("d"), MakeLink("d", "c")},
			want:  []string{"M /a", "M /b", "M /c", "M /d"},
		},
		{
			name: "a split off name that got a new name needs no others", base: []Edit{Create("a", "x"), MakeLink("b", "a"), MakeLink("c", "a")},
			edits: []Edit{Remove("b"), Create("b", "x"), MakeLink("n", "b")}, want: []string{"M /b", "A /n"},
		},
		{
			name: "swapped partners", base: []Edit{Create("a", "x"), MakeLink("b", "a"), Create("c", "x"), MakeLink("d", "c")},
			edits: []Edit{Remove("b"), MakeLink("b", "c"), Remove("d"), MakeLink("d", "a")}, want: []string{"M /a", "M /b", "M /c", "M /d"},
		},
		{
			name: "a name that became a directory is gone for the others", base: []Edit{Create("a", "x"), MakeLink("b", "a")},
			edits: []Edit{Remove("b"), Mkdir("b")}, want: []string{"M /b"},
		},
		{
			name: "linked symlinks, fifos and devices", base: []Edit{MakeSymlink("l", "x"), Mknod("p", fifo|0o600, 0), Mknod("c", char|0o600, 0x103)},
			edits: []Edit{MakeLink("l2", "l"), MakeLink("p2", "p"), MakeLink("c2", "c")},
			want:  []string{"M /c", "A /c2", "M /l", "A /l2", "M /p", "A /p2"},
		},
		{
			name: "a directory that gained a name, with its time", base: []Edit{Mkdir("d")},
			edits: []Edit{{Op: OpCreate, Path: "d/f", Mtime: later, TouchParents: true}}, want: []string{"M /d", "A /d/f"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			old, new := tree(t, c.base...), tree(t, c.base...)
			for _, e := range c.edits {
				require.NoError(t, e.Apply(new))
			}
			changes, warnings := compare(t, old, new)
			require.Empty(t, warnings)
			if len(c.want) == 0 {
				require.Empty(t, difftest.Paths(changes))
			} else {
				require.Equal(t, c.want, difftest.Paths(changes))
			}
			require.Equal(t, difftest.Lines(difftest.Changes(FromPath(t, old), FromPath(t, new))), difftest.Lines(changes), "oracle")
		})
	}
}

func TestOfHardLinksTheFirstNameInTheOrderIsWrittenInFull(t *testing.T) {
	new := tree(t, Mkdir("d"), Create("d/z", "x"), MakeLink("e", "d/z"), MakeLink("b", "d/z"))
	changes, _ := compare(t, tree(t), new)
	links := map[string]string{}
	for _, c := range changes {
		links[c.Path] = c.Hardlink
	}
	require.Equal(t, map[string]string{"b": "", "d": "", "d/z": "b", "e": "b"}, links)
}

func TestWithoutAnOldTreeTheWholeContentIsNew(t *testing.T) {
	needsRoot(t)
	root := tree(t, Mkdir("d"), Create("d/f", "x"))
	require.NoError(t, Touch(".", time.Unix(0, 0)).Apply(root))
	changes, err := difftest.Collect(diff.Compare(t.Context(), nil, view(t, root), diff.Options{}))
	require.NoError(t, err)
	require.Equal(t, []string{"A /d", "A /d/f"}, difftest.Paths(changes))

	require.NoError(t, Chmod(".", 0o711).Apply(root))
	changes, err = difftest.Collect(diff.Compare(t.Context(), nil, view(t, root), diff.Options{}))
	require.NoError(t, err)
	require.Equal(t, []string{"M /", "A /d", "A /d/f"}, difftest.Paths(changes))
}

func TestWhatALayerCannotHoldIsLeftOutWithAWarning(t *testing.T) {
	needsRoot(t)
	const socket, device, marker = ": a socket cannot be in a layer; left out",
		": a character device 0:0 cannot be in a layer; left out",
		": a name that starts with .wh. cannot be in a layer; left out"
	for _, c := range []struct {
		name           string
		base, edits    []Edit
		want, warnings []string
	}{
		{name: "A7: a new socket", edits: []Edit{Mkdir("d"), Socket("d/s")}, want: []string{"A /d"}, warnings: []string{"d/s" + socket}},
		{
			name: "a socket in the place of a file deletes the file", base: []Edit{Create("a", "x"), Create("s", "x")},
			edits: []Edit{Write("a", "y"), Remove("s"), Socket("s")}, want: []string{"D /s", "M /a"}, warnings: []string{"s" + socket},
		},
		{name: "an old socket", base: []Edit{Socket("s")}, edits: []Edit{Chmod("s", 0o600)}},
		{name: "a deleted socket", base: []Edit{Socket("s")}, edits: []Edit{Remove("s")}, want: []string{"D /s"}},
		{name: "a file in the place of a socket", base: []Edit{Socket("s")}, edits: []Edit{Remove("s"), Create("s", "x")}, want: []string{"M /s"}},
		{name: "W10: the device that is a whiteout", edits: []Edit{Mknod("w", char, 0)}, warnings: []string{"w" + device}},
		{name: "a marker's name", edits: []Edit{Mkdir(".wh.d"), Create(".wh.d/f", ""), Create("x", "")}, want: []string{"A /x"}, warnings: []string{".wh.d" + marker}},
		{name: "an old marker's name", base: []Edit{Create(".wh.f", "")}, edits: []Edit{Remove(".wh.f")}},
		{
			name: "hard links of which the first name is a marker's", edits: []Edit{Create(".wh.f", "x"), MakeLink("a", ".wh.f"), MakeLink("b", "a")},
			want: []string{"A /a", "A /b"}, warnings: []string{".wh.f" + marker},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			old, new := tree(t, c.base...), tree(t, append(slices.Clone(c.base), c.edits...)...)
			changes, warnings := compare(t, old, new)
			require.ElementsMatch(t, c.want, difftest.Paths(changes))
			require.Equal(t, c.warnings, warnings)
			require.Equal(t, difftest.Lines(difftest.Changes(FromPath(t, old), FromPath(t, new))), difftest.Lines(changes), "oracle")
		})
	}
}
