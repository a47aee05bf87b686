package semantics

import (
	. "github.com/layerkeep/layerkeep/internal/fstest"
)

// base is what most cases apply something to.
func base() []Entry {
	return layer(
		Dir("d").WithMode(0o750).WithMtime(77, 7), File("d/x", "old x"), File("d/y", "old y"),
		Dir("e"), File("e/f", "old f"), File("f", "old"), Symlink("l", "e"),
	)
}

// baseTree is the outcome when nothing happens to base.
func baseTree() []string {
	return []string{"d/", "d/x:old x", "d/y:old y", "e/", "e/f:old f", "f:old", "l->e"}
}

func model() []Case {
	return []Case{
		{
			Name:    "M1 a marker whose directory is missing creates nothing",
			Layers:  over(base(), layer(Whiteout("no/such/x"), Opaque("none"), Whiteout("d/sub/z"), Opaque("d/sub2"))),
			Tree:    baseTree(),
			Changes: []string{},
		},
		{
			Name:    "M1 a marker whose directory is a file or a symlink has no effect",
			Layers:  over(base(), layer(Whiteout("f/x"), Opaque("f"), Whiteout("l/f"), Opaque("l"))),
			Tree:    baseTree(),
			Changes: []string{},
		},
		{
			Name:   "M1 a marker in an empty tree creates nothing",
			Layers: over(layer(Whiteout("a/b"), Whiteout("c"), Opaque("d"), Opaque(""))),
			Tree:   []string{}, Changes: []string{},
		},
		{
			Name: "M1 a marker removes nothing of its own layer",
			Layers: over(base(), layer(Dir("n"), File("n/x", "new"), Whiteout("n/x"), Opaque("n"), Whiteout("n"),
				Whiteout("n/z"))),
			Tree:    append(baseTree(), "n/", "n/x:new"),
			Changes: []string{"A n", "A n/x"},
		},
		{
			Name:   "M2 children do not change the times of their directory",
			Layers: over(base(), layer(Whiteout("d/x"), File("d/z", "new"), Dir("e").WithMtime(5, 5), File("e/g", "g"))),
			Tree:   []string{"d/", "d/y:old y", "d/z:new", "e/", "e/f:old f", "e/g:g", "f:old", "l->e"},
			Attrs:  map[string]string{"d": "0750 0:0 77.000000007", "e": "0755 0:0 5.000000005"},
			Changes: []string{
				"D d/x", "A d/z", "M e", "A e/g",
			},
		},
		{
			Name: "M2 a directory entry after its children sets the times, and replacing children keeps them",
			Layers: over(layer(File("d/a", "1"), Dir("d/s"), File("d/s/b", "2"), Dir("d").WithMtime(9, 1)),
				layer(File("d/a", "3"), Whiteout("d/s"))),
			Tree:  []string{"d/", "d/a:3"},
			Attrs: map[string]string{"d": "0755 0:0 9.000000001"},
		},
		{
			Name:   "M2 a directory that no layer described is root:root 0755 with mtime 0",
			Layers: over(layer(File("a/b/c", "c")), layer(File("a/b/d", "d"))),
			Tree:   []string{"a/", "a/b/", "a/b/c:c", "a/b/d:d"},
			Attrs:  map[string]string{".": impliedAttrs, "a": impliedAttrs, "a/b": impliedAttrs},
		},
		{
			Name: "M3 the metadata in a hard link's header is ignored",
			Layers: over(layer(File("a", "body").WithMode(0o4755).WithOwner(7, 8).WithMtime(3, 3).
				WithXattr("user.k", "v").WithXattr("security.capability", capability), Link("b", "a"))),
			Tree: []string{"a:body", "b==a"},
			Attrs: map[string]string{
				"b": "4755 7:8 3.000000003 security.capability=" + capability + " user.k=v",
			},
		},
		{
			Name: "M4 an entry below a symlink of the same layer follows it inside the root",
			Layers: over(layer(Dir("real"), Symlink("s", "real"), File("s/x", "1"), Symlink("t", "/real"), File("t/y", "2"),
				Symlink("u", "../../../real"), File("u/z", "3"), Symlink("v", "u"), Dir("v/w"))),
			Tree: []string{
				"real/", "real/w/", "real/x:1", "real/y:2", "real/z:3", "s->real", "t->/real", "u->../../../real", "v->u",
			},
			Attrs: map[string]string{"real": dirAttrs},
		},
		{
			Name:   "M4 an entry below a dangling symlink implies its target",
			Layers: over(layer(Symlink("s", "a/b"), File("s/x", "1"))),
			Tree:   []string{"a/", "a/b/", "a/b/x:1", "s->a/b"},
			Attrs:  map[string]string{"a": impliedAttrs, "a/b": impliedAttrs},
		},
		{
			Name:   "M4 an entry below a file is refused",
			Layers: over(base(), layer(File("n", ""), File("f/x", ""))), Invalid: true, Tree: baseTree(),
			ErrorNames: []string{"f/x"},
		},
		{
			Name:   "M4 an entry below a file of the same layer is refused",
			Layers: over(base(), layer(File("n", ""), File("n/x", ""))), Invalid: true, Tree: baseTree(),
			ErrorNames: []string{"n/x"},
		},
		{
			Name:   "M4 an entry below a fifo is refused",
			Layers: over(layer(Fifo("p")), layer(Dir("p/x"))), Invalid: true, Tree: []string{"p|"},
		},
		{
			Name:   "M4 an entry below a loop of symlinks is refused",
			Layers: over(base(), layer(Symlink("a", "b"), Symlink("b", "a"), File("a/x", ""))), Invalid: true, Tree: baseTree(),
		},
		{
			Name:   "M4 an entry below a file that a later marker removes is not below a file",
			Layers: over(base(), layer(File("f/x", "new"), Whiteout("f"))),
			Tree:   []string{"d/", "d/x:old x", "d/y:old y", "e/", "e/f:old f", "f/", "f/x:new", "l->e"},
			Attrs:  map[string]string{"f": impliedAttrs},
		},
	}
}

// capability is a security.capability value: cap_net_raw+ep, revision 2.
const capability = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

func whiteouts() []Case {
	cases := []Case{
		{
			Name:    "W1 a whiteout removes a file, a whole tree and a symlink itself",
			Layers:  over(base(), layer(Whiteout("f"), Whiteout("d"), Whiteout("l"))),
			Tree:    []string{"e/", "e/f:old f"},
			Changes: []string{"D d", "D f", "D l"},
		},
		{
			Name:    "W1 a whiteout in a subdirectory removes only there",
			Layers:  over(base(), layer(Whiteout("e/f"), Dir("e").WithMtime(4, 4))),
			Tree:    []string{"d/", "d/x:old x", "d/y:old y", "e/", "f:old", "l->e"},
			Changes: []string{"M e", "D e/f"},
		},
		{
			Name:   "W1 what was removed can come back in a later layer",
			Layers: over(base(), layer(Whiteout("d"), Whiteout("f")), layer(Dir("d"), File("d/z", "z"), Dir("f"))),
			Tree:   []string{"d/", "d/z:z", "e/", "e/f:old f", "f/", "l->e"},
		},
		{
			Name:   "W2 a whiteout and then the same name: the new stays",
			Layers: over(base(), layer(Whiteout("f"), File("f", "new"), Whiteout("l"), Dir("l"))),
			Tree:   []string{"d/", "d/x:old x", "d/y:old y", "e/", "e/f:old f", "f:new", "l/"},
		},
		{
			Name:   "W2 a name and then its whiteout: the new stays",
			Layers: over(base(), layer(File("f", "new"), Whiteout("f"), Dir("l"), Whiteout("l"))),
			Tree:   []string{"d/", "d/x:old x", "d/y:old y", "e/", "e/f:old f", "f:new", "l/"},
		},
		{
			Name:    "W3 a whiteout of a directory and the same directory again holds only the new",
			Layers:  over(base(), layer(Whiteout("d"), Dir("d"), File("d/y", "new"))),
			Tree:    []string{"d/", "d/y:new", "e/", "e/f:old f", "f:old", "l->e"},
			Attrs:   map[string]string{"d": dirAttrs},
			Changes: []string{"M d", "D d/x", "M d/y"},
		},
		{
			Name:   "W3 the same with the whiteout last",
			Layers: over(base(), layer(Dir("d"), File("d/y", "new"), Whiteout("d"))),
			Tree:   []string{"d/", "d/y:new", "e/", "e/f:old f", "f:old", "l->e"},
		},
		{
			Name:   "W4 the same without an entry for the directory",
			Layers: over(base(), layer(Whiteout("d"), File("d/y", "new"))),
			Tree:   []string{"d/", "d/y:new", "e/", "e/f:old f", "f:old", "l->e"},
			Attrs:  map[string]string{"d": impliedAttrs},
		},
		{
			Name:   "W4 the same without an entry and the whiteout last",
			Layers: over(base(), layer(File("d/y", "new"), Whiteout("d"))),
			Tree:   []string{"d/", "d/y:new", "e/", "e/f:old f", "f:old", "l->e"},
			Attrs:  map[string]string{"d": impliedAttrs},
		},
		{
			Name: "W4 a whiteout of the directory above hides what is below a directory made again",
			Layers: over(layer(Dir("a"), Dir("a/b"), File("a/b/old", "old"), File("a/c", "c")),
				layer(Whiteout("a"), File("a/b/new", "new"))),
			Tree:  []string{"a/", "a/b/", "a/b/new:new"},
			Attrs: map[string]string{"a": impliedAttrs, "a/b": impliedAttrs},
		},
		{
			Name:    "W5 a whiteout of a directory with whiteouts inside is no error",
			Layers:  over(base(), layer(Whiteout("d"), Whiteout("d/x"), Whiteout("d/none"))),
			Tree:    []string{"e/", "e/f:old f", "f:old", "l->e"},
			Changes: []string{"D d"},
		},
		{
			Name:   "W5 the same in the other order",
			Layers: over(base(), layer(Whiteout("d/x"), Opaque("d"), Whiteout("d"))),
			Tree:   []string{"e/", "e/f:old f", "f:old", "l->e"},
		},
		{
			Name: "W7 a whiteout of any type is a whiteout",
			Layers: over(layer(File("dir", ""), File("sym", ""), File("hard", ""), File("fifo", ""), File("body", "")), layer(
				Dir(".wh.dir"), Symlink(".wh.sym", "x"), Link(".wh.hard", "none"), Fifo(".wh.fifo"), File(".wh.body", "a body"),
				File("after", "read right"))),
			Tree: []string{"after:read right"},
		},
		{
			Name:    "W8 a whiteout of a name that the parents lack leaves no ghost",
			Layers:  over(base(), layer(Whiteout("none"), Whiteout("d/none"), Whiteout("e/none"))),
			Tree:    baseTree(),
			Changes: []string{},
		},
		{
			Name:   "W8 a whiteout of a name that was removed before leaves no ghost",
			Layers: over(base(), layer(Whiteout("d/x"), Whiteout("f")), layer(Whiteout("d/x"), Whiteout("f"))),
			Tree:   []string{"d/", "d/y:old y", "e/", "e/f:old f", "l->e"}, Changes: []string{},
		},
		{
			Name: "W9 what aufs keeps for itself never appears",
			Layers: over(base(), layer(File(".wh..wh.aufs", ""), Dir(".wh..wh.orph"), File(".wh..wh.orph/123", "x"),
				Dir(".wh..wh.plnk"), File(".wh..wh.plnk/12.34", "linked").WithMode(0o600), File("n", "n"))),
			Tree: append(baseTree(), "n:n"), Changes: []string{"A n"},
		},
		{
			Name: "W9 a hard link into the pseudo-link directory gets that content",
			Layers: over(layer(Dir(".wh..wh.plnk"), File(".wh..wh.plnk/12.34", "linked").WithMode(0o600),
				Link("a", ".wh..wh.plnk/12.34"), Dir("d"), Link("d/b", ".wh..wh.plnk/12.34"), Link("c", "a"))),
			Tree: []string{"a:linked", "c==a", "d/", "d/b==a"}, Attrs: map[string]string{"a": "0600 0:0 1000000000.123456789"},
		},
		{
			Name: "W6 a name with a marker's prefix further on is like any other",
			Layers: over(base(), layer(Dir("a.wh.b"), File("a.wh.b/c.wh.", "c"), Symlink("s.wh.x", "f"), Dir("d/.w.wh..wh..opq"), Fifo("p.wh.f"),
				Link("l.wh.d", "a.wh.b/c.wh."))),
			Tree: []string{"a.wh.b/", "a.wh.b/c.wh.:c", "d/", "d/.w.wh..wh..opq/", "d/x:old x", "d/y:old y", "e/", "e/f:old f", "f:old", "l->e",
				"l.wh.d==a.wh.b/c.wh.", "p.wh.f|", "s.wh.x->f"},
		},
		{
			Name:   "W9 a directory in the pseudo-link directory is nothing",
			Layers: over(base(), layer(Dir(".wh..wh.plnk"), Dir(".wh..wh.plnk/a"), Dir(".wh..wh.plnk/1.2"), File("n", "n"))),
			Tree:   append(baseTree(), "n:n"), Changes: []string{"A n"},
		},
		{
			Name: "W9 a path below a name that is a marker is about nothing",
			Layers: over(base(), layer(File(".wh.d/a", "x"), Whiteout(".wh.e/f"), Dir(".wh.none/sub"), File("d/.wh.x/y/z", "z"),
				File("d/.wh..wh..opq/a", "a"), Opaque(".wh.d"), Char(".wh.f/c", 0, 0), Symlink(".wh.f/l", "x"), File("n", "n"))),
			Tree: append(baseTree(), "n:n"), Changes: []string{"A n"},
		},
		{
			Name: "W9 a marker in the pseudo-link directory is about nothing",
			Layers: over(base(), layer(Dir(".wh..wh.plnk"), Whiteout(".wh..wh.plnk/f"), Opaque(".wh..wh.plnk"), File(".wh..wh.plnk/1.2", "linked"),
				File(".wh..wh.plnk/.wh.lib/a", "a"), Link("n", ".wh..wh.plnk/1.2"))),
			Tree: append(baseTree(), "n:linked"), Changes: []string{"A n"},
		},
		{
			Name:   "W9 the same names below the root are no pseudo-links",
			Layers: over(base(), layer(Dir("d/.wh..wh.plnk"), File("d/.wh..wh.plnk/1.2", "x"), Link("n", "d/.wh..wh.plnk/1.2"))), Invalid: true,
			Tree:       baseTree(),
			ErrorNames: []string{"d/.wh..wh.plnk"},
		},
		{
			Name:   "W10 a 0:0 character device acts as a whiteout of its path",
			Layers: over(base(), layer(Char("f", 0, 0), Char("d", 0, 0), Char("none", 0, 0), Char("no/ne", 0, 0))),
			Tree:   []string{"e/", "e/f:old f", "l->e"}, Changes: []string{"D d", "D f"}, Warns: []string{"f", "d", "none"},
		},
		{
			Name:   "W10 a 0:0 character device and the same name: the new stays",
			Layers: over(base(), layer(Char("f", 0, 0), File("f", "new"), Dir("d"), Char("d", 0, 0))),
			Tree:   []string{"d/", "e/", "e/f:old f", "f:new", "l->e"},
		},
	}
	for _, name := range []string{".wh.", ".wh..", ".wh...", "d/.wh.", "d/.wh..", "d/.wh...", "none/.wh...", ".wh.../a"} {
		cases = append(cases, Case{
			Name:   "W6 " + name + " is refused and nothing is touched",
			Layers: over(base(), layer(File("new", ""), Whiteout("f"), File(name, ""))), Invalid: true, Tree: baseTree(),
			ErrorNames: []string{name},
		})
	}
	return append(cases, Case{
		Name:   "W6 a directory of such a name is refused too",
		Layers: over(base(), layer(Dir("d/.wh..."))), Invalid: true, Tree: baseTree(),
	})
}

func opaques() []Case {
	return []Case{
		{
			Name:   "O1 an opaque mark first hides the parents' children",
			Layers: over(base(), layer(Dir("d"), Opaque("d"), File("d/z", "z"))),
			Tree:   []string{"d/", "d/z:z", "e/", "e/f:old f", "f:old", "l->e"}, Attrs: map[string]string{"d": dirAttrs},
			Changes: []string{"M d", "D d/x", "D d/y", "A d/z"},
		},
		{
			Name:   "O1 an opaque mark last hides the parents' children",
			Layers: over(base(), layer(Dir("d"), File("d/z", "z"), File("d/x", "new x"), Opaque("d"))),
			Tree:   []string{"d/", "d/x:new x", "d/z:z", "e/", "e/f:old f", "f:old", "l->e"},
		},
		{
			Name:   "O1 an opaque mark without an entry for its directory keeps that directory",
			Layers: over(base(), layer(Opaque("d"))),
			Tree:   []string{"d/", "e/", "e/f:old f", "f:old", "l->e"}, Attrs: map[string]string{"d": "0750 0:0 77.000000007"},
			Changes: []string{"D d/x", "D d/y"},
		},
		{
			Name:   "O1 an opaque root hides everything",
			Layers: over(base(), layer(File("n", "n"), Opaque(""))),
			Tree:   []string{"n:n"}, Changes: []string{"D d", "D e", "D f", "D l", "A n"},
		},
		{
			Name: "O1 an opaque mark hides all layers below",
			Layers: over(base(), layer(File("d/m", "middle"), Dir("d/s"), File("d/s/t", "t")),
				layer(Opaque("d"), File("d/s/u", "u"))),
			Tree:  []string{"d/", "d/s/", "d/s/u:u", "e/", "e/f:old f", "f:old", "l->e"},
			Attrs: map[string]string{"d/s": impliedAttrs},
		},
		{
			Name: "O2 children of the same layer survive without an entry for their own parent",
			Layers: over(layer(Dir("a"), Dir("a/b").WithMode(0o700), File("a/b/old", "old"), File("a/b/c", "old c")),
				layer(File("a/b/c", "new"), Opaque("a"), File("a/b2/d", "d"))),
			Tree:  []string{"a/", "a/b/", "a/b/c:new", "a/b2/", "a/b2/d:d"},
			Attrs: map[string]string{"a": dirAttrs, "a/b": impliedAttrs, "a/b2": impliedAttrs},
		},
		{
			Name:   "O3 a plain whiteout inside an opaque directory adds nothing",
			Layers: over(base(), layer(Dir("d"), Opaque("d"), Whiteout("d/x"), Whiteout("d/none"), File("d/z", "z"))),
			Tree:   []string{"d/", "d/z:z", "e/", "e/f:old f", "f:old", "l->e"}, Changes: []string{"M d", "D d/x", "D d/y", "A d/z"},
		},
		{
			Name:   "O4 a directory made again through a mount is written with explicit whiteouts, each before its siblings",
			Layers: over(base(), layer()),
			Edits: []Edit{
				Remove("d"), Mkdir("d"), Create("d/a", "a"), Mkdir("d/x"), Create("d/x/q", "q"),
			},
			Tree:    []string{"d/", "d/a:a", "d/x/", "d/x/q:q", "e/", "e/f:old f", "f:old", "l->e"},
			Changes: []string{"M d", "D d/y", "A d/a", "M d/x", "A d/x/q"},
		},
		{
			Name:   "O4 whiteouts come before their siblings",
			Layers: over(base(), layer()),
			Edits:  []Edit{Remove("f"), Create("a", "a"), Remove("d/y"), Create("d/a", "a"), Remove("e")},
			Tree:   []string{"a:a", "d/", "d/a:a", "d/x:old x", "l->e"}, Changes: []string{"D e", "D f", "A a", "D d/y", "A d/a"},
		},
		{
			Name:   "O5 an opaque mark on a directory that the parents lack gives no whiteout",
			Layers: over(base(), layer(Dir("n"), Opaque("n"), File("n/x", "x"), Opaque("n/m"), File("n/m/y", "y"))),
			Tree:   append(baseTree(), "n/", "n/m/", "n/m/y:y", "n/x:x"), Changes: []string{"A n", "A n/m", "A n/m/y", "A n/x"},
		},
		{
			Name:   "O5 an opaque mark on a directory that replaces a file gives no whiteout",
			Layers: over(base(), layer(Opaque("f"), Dir("f"), File("f/x", "x"))),
			Tree:   []string{"d/", "d/x:old x", "d/y:old y", "e/", "e/f:old f", "f/", "f/x:x", "l->e"}, Changes: []string{"M f", "A f/x"},
		},
	}
}
