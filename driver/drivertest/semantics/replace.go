package semantics

import (
	. "github.com/layerkeep/layerkeep/internal/fstest"
)

func replacements() []Case {
	return []Case{
		{
			Name: "R1 a directory over a directory replaces the attributes and merges the children",
			Layers: over(layer(Dir("d").WithMode(0o700).WithXattr("user.old", "1").WithXattr("user.both", "1"), File("d/x", "x")),
				layer(Dir("d").WithMode(0o1777).WithOwner(3, 4).WithMtime(8, 8).WithXattr("user.both", "2"), File("d/y", "y"))),
			Tree: []string{"d/", "d/x:x", "d/y:y"}, Attrs: map[string]string{"d": "1777 3:4 8.000000008 user.both=2"},
			Changes: []string{"M d", "A d/y"},
		},
		{
			Name:   "R1 a directory over a directory takes xattrs away",
			Layers: over(layer(Dir("d").WithXattr("user.old", "1")), layer(Dir("d"))),
			Tree:   []string{"d/"}, Attrs: map[string]string{"d": dirAttrs}, Changes: []string{"M d"},
		},
		{
			Name:   "R1 a file replaces a directory with all below it",
			Layers: over(base(), layer(File("d", "new"))),
			Tree:   []string{"d:new", "e/", "e/f:old f", "f:old", "l->e"}, Changes: []string{"M d"},
		},
		{
			Name:   "R1 a directory replaces a file",
			Layers: over(base(), layer(Dir("f"), File("f/x", "x"))),
			Tree:   []string{"d/", "d/x:old x", "d/y:old y", "e/", "e/f:old f", "f/", "f/x:x", "l->e"}, Changes: []string{"M f", "A f/x"},
		},
		{
			Name:   "R1 a symlink replaces a directory, and a directory a symlink",
			Layers: over(base(), layer(Symlink("d", "e"), Dir("l"), File("l/x", "x"))),
			Tree:   []string{"d->e", "e/", "e/f:old f", "f:old", "l/", "l/x:x"}, Changes: []string{"M d", "M l", "A l/x"},
		},
		{
			Name:   "R1 a file replaces a symlink and never writes through it",
			Layers: over(layer(File("target", "safe"), Symlink("s", "target")), layer(File("s", "new"))),
			Tree:   []string{"s:new", "target:safe"},
		},
		{
			Name:   "R1 a file replaces one of several hard links only",
			Layers: over(layer(File("a", "1"), Link("b", "a"), Link("c", "a")), layer(File("b", "2"))),
			Tree:   []string{"a:1", "b:2", "c==a"},
		},
		{
			Name:   "R1 a directory that replaced a file in the middle merges with nothing older",
			Layers: over(base(), layer(File("d", "file")), layer(Dir("d"), File("d/z", "z"))),
			Tree:   []string{"d/", "d/z:z", "e/", "e/f:old f", "f:old", "l->e"},
		},
		{
			Name:   "R1 a file and then a directory of one name in one layer holds nothing of the parents",
			Layers: over(base(), layer(File("d", "file"), Dir("d"), File("d/z", "z"))),
			Tree:   []string{"d/", "d/z:z", "e/", "e/f:old f", "f:old", "l->e"}, Changes: []string{"M d", "D d/x", "D d/y", "A d/z"},
		},
		{
			Name:   "R2 directory, symlink, directory in one layer never writes through the symlink",
			Layers: over(base(), layer(Dir("n"), File("n/a", "a"), Symlink("n", "e"), Dir("n"), File("n/b", "b"))),
			Tree:   append(baseTree(), "n/", "n/b:b"),
		},
		{
			Name:   "R2 the same over a directory of the parents",
			Layers: over(base(), layer(Dir("d"), File("d/a", "a"), Symlink("d", "e"), Dir("d"), File("d/b", "b"))),
			Tree:   []string{"d/", "d/b:b", "e/", "e/f:old f", "f:old", "l->e"},
		},
		{
			Name:   "R2 while the symlink is there it is followed",
			Layers: over(base(), layer(Symlink("n", "e"), File("n/a", "a"), Dir("n"), File("n/b", "b"))),
			Tree:   []string{"d/", "d/x:old x", "d/y:old y", "e/", "e/a:a", "e/f:old f", "f:old", "l->e", "n/", "n/b:b"},
		},
		{
			Name:   "R4 of duplicates the last wins",
			Layers: over(layer(File("a", "1"), File("a", "22").WithMode(0o600), Dir("d").WithMode(0o700), File("d/x", "x"), Dir("d"))),
			Tree:   []string{"a:22", "d/", "d/x:x"}, Attrs: map[string]string{"a": "0600 0:0 1000000000.123456789", "d": dirAttrs},
			Changes: []string{"A a", "A d", "A d/x"},
		},
		{
			Name:   "R4 a duplicate of one of several hard links replaces that name only",
			Layers: over(layer(File("a", "1"), Link("b", "a"), File("a", "2"), Link("c", "b"))),
			Tree:   []string{"a:2", "b:1", "c==b"},
		},
		{
			Name:   "R4 a duplicate of another type wins, whatever was below",
			Layers: over(layer(Dir("d"), Dir("d/s"), File("d/s/x", "x"), Symlink("d", "nowhere"), File("d", "file"))),
			Tree:   []string{"d:file"},
		},
		{
			Name:   "R4 names that are spelled differently are the same",
			Layers: over(layer(Dir("./d"), File("./d//x", "1"), File("/d/./x", "2"), File("d/../d/y", "3"))),
			Tree:   []string{"d/", "d/x:2", "d/y:3"},
		},
	}
}

func usrMerge() []Entry {
	return layer(Dir("usr"), Dir("usr/lib").WithMode(0o711).WithMtime(6, 6), File("usr/lib/a", "a"), Symlink("lib", "usr/lib"))
}

func parentSymlinks() []Case {
	return []Case{
		{
			Name:   "R3 an entry below a symlink of the parents follows it",
			Layers: over(usrMerge(), layer(File("lib/x", "x"), File("lib/sub/y", "y"))),
			Tree:   []string{"lib->usr/lib", "usr/", "usr/lib/", "usr/lib/a:a", "usr/lib/sub/", "usr/lib/sub/y:y", "usr/lib/x:x"},
			Attrs: map[string]string{
				"usr": dirAttrs, "usr/lib": "0711 0:0 6.000000006", "usr/lib/sub": impliedAttrs,
			},
			Changes: []string{"A usr/lib/sub", "A usr/lib/sub/y", "A usr/lib/x"},
		},
		{
			Name:   "R3 with an entry for the directory the symlink is replaced",
			Layers: over(usrMerge(), layer(Dir("lib"), File("lib/x", "x"))),
			Tree:   []string{"lib/", "lib/x:x", "usr/", "usr/lib/", "usr/lib/a:a"}, Changes: []string{"M lib", "A lib/x"},
		},
		{
			Name:   "R3 an entry before the directory's own still follows the symlink",
			Layers: over(usrMerge(), layer(File("lib/x", "x"), Dir("lib"), File("lib/y", "y"))),
			Tree:   []string{"lib/", "lib/y:y", "usr/", "usr/lib/", "usr/lib/a:a", "usr/lib/x:x"},
		},
		{
			Name:   "R3 a symlink that a marker removes is not followed",
			Layers: over(usrMerge(), layer(File("lib/x", "x"), Whiteout("lib"))),
			Tree:   []string{"lib/", "lib/x:x", "usr/", "usr/lib/", "usr/lib/a:a"}, Attrs: map[string]string{"lib": impliedAttrs},
		},
		{
			Name:   "R3 a symlink that an opaque mark hides is not followed",
			Layers: over(usrMerge(), layer(File("lib/x", "x"), Opaque(""))),
			Tree:   []string{"lib/", "lib/x:x"},
		},
		{
			Name: "R3 chains and absolute targets are followed inside the root",
			Layers: over(layer(Dir("a"), Dir("a/b"), Symlink("s1", "/a"), Symlink("s2", "s1/b"), Symlink("a/b/up", "../../../../a")),
				layer(File("s2/x", "x"), File("s2/up/y", "y"))),
			Tree: []string{"a/", "a/b/", "a/b/up->../../../../a", "a/b/x:x", "a/y:y", "s1->/a", "s2->s1/b"},
		},
		{
			Name:   "R3 a dangling symlink of the parents implies its target",
			Layers: over(layer(Symlink("s", "/opt/x")), layer(File("s/f", "f"))),
			Tree:   []string{"opt/", "opt/x/", "opt/x/f:f", "s->/opt/x"}, Attrs: map[string]string{"opt": impliedAttrs, "opt/x": impliedAttrs},
		},
		{
			Name:   "R3 the target of the symlink may be removed and made anew",
			Layers: over(usrMerge(), layer(Whiteout("usr/lib"), File("lib/x", "x"))),
			Tree:   []string{"lib->usr/lib", "usr/", "usr/lib/", "usr/lib/x:x"}, Attrs: map[string]string{"usr/lib": impliedAttrs},
		},
		{
			Name:   "R3 a symlink to a file of the parents as a directory is refused",
			Layers: over(layer(File("f", "f"), Symlink("s", "f")), layer(File("s/x", "x"))), Invalid: true, Tree: []string{"f:f", "s->f"},
		},
		{
			Name:   "R3 a symlink in the middle layer over a directory of the lowest is followed",
			Layers: over(layer(Dir("lib"), File("lib/old", "o"), Dir("usr"), Dir("usr/lib")), layer(Symlink("lib", "usr/lib")), layer(File("lib/x", "x"))),
			Tree:   []string{"lib->usr/lib", "usr/", "usr/lib/", "usr/lib/x:x"},
		},
		{
			Name:   "R3 a hard link's target is found through symlinks of the parents",
			Layers: over(usrMerge(), layer(Link("b", "lib/a"), Link("lib/c", "/lib/a"))),
			Tree:   []string{"b:a", "lib->usr/lib", "usr/", "usr/lib/", "usr/lib/a==b", "usr/lib/c==b"},
		},
	}
}

func links() []Case {
	return []Case{
		{
			Name:   "H1 names linked within a layer share an inode, and the diff links each to the first",
			Layers: over(layer(Dir("z"), File("z/a", "1"), Link("m", "z/a"), Link("b", "m"), Dir("c"), Link("c/d", "z/a"))),
			Tree:   []string{"b:1", "c/", "c/d==b", "m==b", "z/", "z/a==b"},
			Changes: []string{
				"A b", "A c", "A c/d = b", "A m = b", "A z", "A z/a = b",
			},
		},
		{
			Name:   "H2 a hard link to a file of the parents copies it up and shares the inode",
			Layers: over(layer(File("a", "body").WithMode(0o640).WithOwner(1, 2).WithXattr("user.k", "v")), layer(Link("b", "a"))),
			Tree:   []string{"a:body", "b==a"}, Attrs: map[string]string{"a": "0640 1:2 1000000000.123456789 user.k=v"},
			Changes: []string{"M a", "A b = a"},
		},
		{
			Name:   "H2 several links to one file of the parents share one inode",
			Layers: over(layer(Dir("d"), File("d/a", "body")), layer(Link("b", "d/a"), Link("d/c", "d/a"), Link("e", "b"))),
			Tree:   []string{"b:body", "d/", "d/a==b", "d/c==b", "e==b"}, Attrs: map[string]string{"d": dirAttrs},
		},
		{
			Name:   "H2 the names that stay with the parents keep their inode",
			Layers: over(layer(File("a", "1"), Link("b", "a"), Link("c", "a")), layer(Link("d", "a"))),
			Tree:   []string{"a:1", "b:1", "c==b", "d==a"}, Changes: []string{"M a", "A d = a"},
		},
		{
			Name:   "H3 a hard link to a symlink links the symlink",
			Layers: over(layer(File("f", "f"), Symlink("s", "f"), Link("t", "s")), layer(Link("u", "s"))),
			Tree:   []string{"f:f", "s->f", "t->f", "u==s"},
		},
		{
			Name:   "H3 an absolute link target resolves inside the root",
			Layers: over(layer(Dir("d"), File("d/f", "f"), Link("a", "/d/f"), Link("b", "./d/../d/f"))),
			Tree:   []string{"a:f", "b==a", "d/", "d/f==a"},
		},
		{
			Name:   "H3 a hard link to a fifo links the fifo",
			Layers: over(layer(Fifo("p"), Link("q", "p"))), Tree: []string{"p|", "q==p"},
		},
		{
			Name:   "H4 a link target that does not exist is refused, naming both paths",
			Layers: over(base(), layer(File("n", "n"), Link("linkname", "d/nothing"))), Invalid: true, Tree: baseTree(),
			ErrorNames: []string{"linkname", "d/nothing"},
		},
		{
			Name:   "H4 a link target that comes later is refused",
			Layers: over(base(), layer(Link("linkname", "late"), File("late", ""))), Invalid: true, Tree: baseTree(),
			ErrorNames: []string{"linkname", "late"},
		},
		{
			Name:   "H4 a link target that a marker removes is refused, wherever the marker stands",
			Layers: over(base(), layer(Link("linkname", "f"), Whiteout("f"))), Invalid: true, Tree: baseTree(),
			ErrorNames: []string{"linkname", "f"},
		},
		{
			Name:   "H4 a link target below an opaque directory is refused",
			Layers: over(base(), layer(Link("linkname", "d/x"), Opaque("d"))), Invalid: true, Tree: baseTree(),
		},
		{
			Name:   "H4 a link to a directory is refused",
			Layers: over(base(), layer(Link("linkname", "d"))), Invalid: true, Tree: baseTree(),
		},
		{
			Name:   "H4 a link into the pseudo-link directory that leads nowhere is refused",
			Layers: over(base(), layer(Link("linkname", ".wh..wh.plnk/1.2"))), Invalid: true, Tree: baseTree(),
		},
	}
}
