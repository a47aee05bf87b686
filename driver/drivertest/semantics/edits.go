package semantics

import (
	"strings"

	. "github.com/layerkeep/layerkeep/internal/fstest"
)

// edited is a case of edits of one lower layer, with an empty layer on top.
func edited(name string, lower []Entry, edits []Edit, changes ...string) Case {
	if changes == nil {
		changes = []string{}
	}
	return Case{Name: name, Layers: over(lower, layer()), Edits: edits, Changes: changes}
}

func removesXattrs(c Case) Case {
	c.RemovesXattrs = true
	return c
}

func nanoseconds(c Case) Case {
	c.Nanoseconds = true
	return c
}

// dev is a device number as the kernel encodes it, for small numbers.
func dev(major, minor uint64) uint64 { return major<<8 | minor }

const (
	charType = 0o020000
	fifoType = 0o010000
)

func changes() []Case {
	file := layer(File("f", "body").WithMode(0o644), File("g", "other"))
	rich := layer(Dir("d").WithXattr("user.k", "v"), File("d/f", "body").WithXattr("user.k", "v"), Symlink("l", "d"), Fifo("p"))
	return []Case{
		edited("C1 nothing done is no change", rich, nil),
		edited("C1 a copy-up that changed nothing is no change", rich,
			[]Edit{CopyUp("d"), CopyUp("d/f"), CopyUp("l"), CopyUp("p")}),
		edited("C1 a change taken back is no change", rich, []Edit{
			Chmod("d/f", 0o600), Chmod("d/f", 0o644), Write("d/f", "xxxx"), Write("d/f", "body"), Touch("d/f", Epoch),
		}),
		removesXattrs(edited("C1 an xattr taken back is no change", rich, []Edit{SetXattr("d", "user.n", "1"), RemoveXattr("d", "user.n")})),
		edited("C2 a mode", file, []Edit{Chmod("f", 0o4644)}, "M f"),
		edited("C2 an owner", file, []Edit{Chown("f", 0, 7)}, "M f"),
		nanoseconds(edited("C2 a nanosecond", file, []Edit{Touch("f", Epoch.Add(1))}, "M f")),
		edited("C2 a second", file, []Edit{Touch("f", Epoch.Add(1e9))}, "M f"),
		edited("C2 a size with the same time", file, []Edit{Append("f", "+"), Touch("f", Epoch)}, "M f"),
		edited("C2 content with the same size and time", file, []Edit{Write("f", "BODY"), Touch("f", Epoch)}, "M f"),
		edited("C2 a link target of the same length and time", layer(Symlink("l", "aa")),
			[]Edit{Remove("l"), MakeSymlink("l", "bb"), Touch("l", Epoch)}, "M l"),
		edited("C2 a type", file, []Edit{Remove("f"), Mkdir("f"), Create("f/x", "")}, "M f", "A f/x"),
		edited("C2 a device number", layer(Char("c", 1, 3)),
			[]Edit{Remove("c"), Mknod("c", charType|0o600, dev(1, 5)), Touch("c", Epoch)}, "M c"),
		edited("C3 an xattr alone, added", file, []Edit{SetXattr("f", "user.n", "")}, "M f"),
		edited("C3 an xattr alone, changed", rich, []Edit{SetXattr("d/f", "user.k", "V")}, "M d/f"),
		removesXattrs(edited("C3 an xattr alone, removed", rich, []Edit{RemoveXattr("d", "user.k")}, "M d")),
		edited("C3 a capability alone", file, []Edit{SetXattr("f", "security.capability", capability)}, "M f"),
		edited("C3 a trusted xattr on a symlink", rich, []Edit{SetXattr("l", "trusted.k", "v")}, "M l"),
		edited("C4 a parent directory is written only when its own attributes changed", rich,
			[]Edit{Create("d/n", "n"), Remove("d/f")}, "D d/f", "A d/n"),
		edited("C4 a parent whose time changed is written", rich,
			[]Edit{{Op: OpCreate, Path: "d/n", Mode: 0o600, Mtime: EditTime, TouchParents: true}}, "M d", "A d/n"),
		edited("C4 the root, too", rich, []Edit{Chmod(".", 0o700)}, "M ."),
		edited("C5 a name on one side only", file,
			[]Edit{Remove("g"), Mkdir("n"), Create("n/x", ""), Mknod("n/p", fifoType|0o640, 0)}, "D g", "A n", "A n/p", "A n/x"),
		edited("C5 made and removed again leaves nothing", file, []Edit{Mkdir("n"), Create("n/x", ""), Remove("n"), Create("y", ""), Remove("y")}),
		edited("C5 removed and made the same again is no change", layer(Dir("d"), File("d/f", "body")),
			[]Edit{Remove("d/f"), Create("d/f", "body"), Touch("d/f", Epoch)}),
		edited("C5 removed and made again under the same name, size and time", file,
			[]Edit{Remove("f"), Create("f", "BODY"), Touch("f", Epoch)}, "M f"),
		edited("C6 everything removed", base(), []Edit{Remove("d"), Remove("e"), Remove("f"), Remove("l")}, "D d", "D e", "D f", "D l"),
		{
			Name: "C7 edits over several layers", Layers: over(base(), layer(File("d/z", "z"), Whiteout("d/x")), layer(File("m", "m"))),
			Edits:   []Edit{Create("d/x", "again"), Append("d/z", "!"), Remove("d/y"), Write("m", "M"), Remove("f"), Mkdir("f")},
			Tree:    []string{"d/", "d/x:again", "d/z:z!", "e/", "e/f:old f", "f/", "l->e", "m:M"},
			Changes: []string{"D d/y", "A d/x", "M d/z", "M f", "A m"},
		},
		edited("A7 sockets are left out of a diff with a warning", file, []Edit{Socket("s"), Create("n", "")}, "A n"),
		edited("D4 deleting a dangling symlink is a whiteout", layer(Symlink("l", "/no/where"), Symlink("d", "e"), Dir("e")),
			[]Edit{Remove("l"), Remove("d")}, "D d", "D l"),
		edited("D2 a change of attributes keeps the body", layer(File("f", "body of the lower file")),
			[]Edit{Chmod("f", 0o600), Chown("f", 0, 5)}, "M f"),
		{
			Name: "D2 a change of attributes keeps the body over several layers", Layers: over(layer(File("f", "lowest")), layer(File("x", "")), layer()),
			Edits: []Edit{Chmod("f", 0o711), SetXattr("f", "user.k", "v")}, Tree: []string{"f:lowest", "x:"}, Changes: []string{"M f"},
		},
	}
}

// contents are edits that change the content of a file, or could.
func contents() []Case {
	long := strings.Repeat("0123456789abcdef", 1000) // more than a file system keeps inline
	file := layer(File("f", long), File("g", strings.ToUpper(long)), File("same", long), File("zeros", strings.Repeat("\x00", 16000)))
	return []Case{
		edited("C8 a file cut short", file, []Edit{Truncate("f", 5000), Touch("f", Epoch)}, "M f"),
		edited("C8 a file cut to nothing", file, []Edit{Truncate("f", 0)}, "M f"),
		edited("C8 a file lengthened by a hole", file, []Edit{Truncate("f", 1<<20), Touch("f", Epoch)}, "M f"),
		edited("C8 a file cut and lengthened again holds other content", file,
			[]Edit{Truncate("f", 15999), Truncate("f", 16000), Touch("f", Epoch)}, "M f"),
		edited("C8 a hole punched in the middle", file, []Edit{Punch("f", 4096, 4096), Touch("f", Epoch)}, "M f"),
		edited("C8 a hole punched where there were zeros is no change", file, []Edit{Punch("zeros", 4096, 8192), Touch("zeros", Epoch)}),
		edited("C8 a body cloned from another file", file, []Edit{Clone("f", "g"), Touch("f", Epoch)}, "M f"),
		edited("C8 a body cloned from a file of the same content is no change", file, []Edit{Clone("f", "same"), Touch("f", Epoch)}),
		edited("C9 reading is no change", file, []Edit{Read("f"), Read("."), TouchAtime("f"), TouchAtime("."), Read("g")}),
		edited("C10 two files that changed places", file, []Edit{Exchange("f", "g")}, "M f", "M g"),
		edited("C10 two files of the same content that changed places", file, []Edit{Exchange("f", "same")}),
		edited("C10 a file and a symlink that changed places", layer(Dir("d"), File("d/f", "f"), Symlink("l", "f")),
			[]Edit{Exchange("l", "d/f")}, "M d/f", "M l"),
		edited("C10 a file renamed over another", file, []Edit{Rename("f", "g")}, "D f", "M g"),
		edited("C10 a file renamed there and back", file, []Edit{Rename("f", "n"), Rename("n", "f")}),
		edited("C10 a file renamed over one that was the same", file, []Edit{Rename("f", "same")}, "D f"),
	}
}

func renames() []Case {
	tree := layer(Dir("a"), Dir("a/b"), File("a/b/x", "x"), File("a/y", "y"), Symlink("a/l", "y"), Dir("c"), File("c/z", "z"))
	cases := []Case{
		edited("D1 a renamed directory is the whole moved subtree and a whiteout", tree, []Edit{Rename("a", "m")},
			"D a", "A m", "A m/b", "A m/b/x", "A m/l", "A m/y"),
		edited("D1 a directory renamed into another one", tree, []Edit{Rename("a/b", "c/n")},
			"D a/b", "A c/n", "A c/n/x"),
		edited("D1 a directory renamed and then changed", tree,
			[]Edit{Rename("a", "c/m"), Append("c/m/y", "!"), Remove("c/m/l"), Create("c/m/b/n", "n"), Rename("c/m/b", "b")},
			"D a", "A b", "A b/n", "A b/x", "A c/m", "A c/m/y"),
		edited("D1 a directory renamed and another made in its place", tree,
			[]Edit{Rename("a", "m"), Mkdir("a"), Create("a/n", "n")},
			"M a", "D a/b", "D a/l", "D a/y", "A a/n", "A m", "A m/b", "A m/b/x", "A m/l", "A m/y"),
		edited("D1 a directory renamed there and back", tree, []Edit{Rename("a", "m"), Rename("m", "a")}),
		edited("D1 a directory renamed over an empty one", layer(Dir("a"), File("a/x", "x"), Dir("e").WithMode(0o700)),
			[]Edit{Rename("a", "e")}, "D a", "M e", "A e/x"),
		edited("D1 two directories that changed places in one step", tree, []Edit{Exchange("a", "c")},
			"D a/b", "D a/l", "D a/y", "A a/z", "D c/z", "A c/b", "A c/b/x", "A c/l", "A c/y"),
		edited("D1 a directory and a file that changed places", tree, []Edit{Exchange("a/b", "c/z")}, "M a/b", "M c/z", "A c/z/x"),
		edited("D1 two directories that changed places", tree, []Edit{Rename("a", "t"), Rename("c", "a"), Rename("t", "c")},
			"D a/b", "D a/l", "D a/y", "A a/z", "D c/z", "A c/b", "A c/b/x", "A c/l", "A c/y"),
		edited("D1 a renamed directory with hard links inside", layer(Dir("a"), File("a/x", "x"), Link("a/y", "a/x")),
			[]Edit{Rename("a", "m")}, "D a", "A m", "A m/x", "A m/y = m/x"),
		{
			Name:   "D1 a renamed directory that is made of several layers",
			Layers: over(tree, layer(File("a/b/w", "w"), Whiteout("a/y"), Dir("a/q"), File("a/q/r", "r")), layer()),
			Edits:  []Edit{Rename("a", "m"), Remove("m/b/x")},
			Changes: []string{
				"D a", "A m", "A m/b", "A m/b/w", "A m/l", "A m/q", "A m/q/r",
			},
		},
	}
	cases = append(cases,
		edited("L6 a renamed directory that takes one of two hard links with it", layer(Dir("a"), File("a/x", "x"), Link("b", "a/x")),
			[]Edit{Rename("a", "m")}, "D a", "M b", "A m", "A m/x = b"),
		edited("L6 the same when the renamed one sorts first", layer(Dir("z"), File("z/x", "x"), Dir("y"), Link("y/b", "z/x")),
			[]Edit{Rename("z", "m")}, "D z", "A m", "A m/x", "M y/b = m/x"))
	for i := range cases {
		cases[i].RenamesDir = true
	}
	return append(cases,
		edited("D1 a renamed file", tree, []Edit{Rename("a/y", "c/n"), Rename("c/z", "a/l")},
			"D a/y", "M a/l", "D c/z", "A c/n"))
}

func linkChanges() []Case {
	pair := layer(File("a", "1"), Link("b", "a"), Link("c", "a"), File("f", "2"))
	return []Case{
		edited("L1 a second name for an old file is a change of both", pair, []Edit{MakeLink("g", "f")}, "M f", "A g = f"),
		edited("L1 a second name that sorts first", pair, []Edit{MakeLink("E", "f")}, "A E", "M f = E"),
		edited("L2 a name taken away is a whiteout and no change of the others", pair, []Edit{Remove("b")}, "D b"),
		edited("L3 a name replaced by a file of its own regroups the others", pair,
			[]Edit{Remove("b"), Create("b", "1"), Touch("b", Epoch)}, "M a", "M b", "M c = a"),
		edited("L3 a name that a write gave a file of its own is a change of that name only", pair,
			[]Edit{Remove("b"), Create("b", "9")}, "M b"),
		edited("L3 a name replaced by a directory is no change of the others", pair, []Edit{Remove("b"), Mkdir("b")}, "M b"),
		edited("L3 two names written into one new file are no change of the third", pair,
			[]Edit{Remove("b"), Create("b", "9"), Remove("c"), MakeLink("c", "b")}, "M b", "M c = b"),
		edited("L7 a second name in another directory that outlives the first", layer(Dir("d"), File("f", "2")),
			[]Edit{MakeLink("d/h", "f"), Remove("f")}, "D f", "A d/h"),
		edited("L4 new names linked among themselves", pair, []Edit{Create("x", "x"), MakeLink("w", "x"), MakeLink("y", "x")},
			"A w", "A x = w", "A y = w"),
		edited("L5 two old files linked now", layer(File("f", "2"), File("g", "2")), []Edit{Remove("g"), MakeLink("g", "f")},
			"M f", "M g = f"),
		edited("D3 many whiteouts are not hard links of each other", base(),
			[]Edit{Remove("d/x"), Remove("d/y"), Remove("f"), Remove("l"), Remove("e/f")}, "D f", "D l", "D d/x", "D d/y", "D e/f"),
	}
}
