package semantics

import (
	"fmt"
	"strings"

	. "github.com/layerkeep/layerkeep/internal/fstest"
)

const (
	// highestID is the highest owner there is; one more means "do not change".
	highestID = 1<<32 - 2
	// accessACL is a POSIX ACL: user::rw-, user:1:r--, group::r--, mask::r--,
	// other::---.
	accessACL = "\x02\x00\x00\x00" + "\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x04\x00\x01\x00\x00\x00" +
		"\x04\x00\x04\x00\xff\xff\xff\xff" + "\x10\x00\x04\x00\xff\xff\xff\xff" + "\x20\x00\x00\x00\xff\xff\xff\xff"
)

func metadata() []Case {
	return []Case{
		{
			Name: "A1 setuid and capabilities survive a change of owner",
			Layers: over(layer(
				File("s", "x").WithMode(0o6755).WithOwner(12, 34),
				File("c", "x").WithMode(0o755).WithOwner(12, 34).WithXattr("security.capability", capability),
				Dir("d").WithMode(0o7777).WithOwner(12, 34).WithMtime(1, 2), File("d/x", ""),
				File("ro", "body").WithMode(0o000).WithXattr("user.k", "v"))),
			Tree: []string{"c:x", "d/", "d/x:", "ro:body", "s:x"},
			Attrs: map[string]string{
				"s":  "6755 12:34 1000000000.123456789",
				"c":  "0755 12:34 1000000000.123456789 security.capability=" + capability,
				"d":  "7777 12:34 1.000000002",
				"ro": "0000 0:0 1000000000.123456789 user.k=v",
			},
		},
		{
			Name: "A1 directory times are set last, the deepest first",
			Layers: over(layer(Dir("a").WithMtime(1, 1), Dir("a/b").WithMtime(2, 2), Dir("a/b/c").WithMtime(3, 3),
				File("a/b/c/x", ""), Symlink("a/b/l", "c").WithMtime(4, 4), File("a/y", ""))),
			Tree: []string{"a/", "a/b/", "a/b/c/", "a/b/c/x:", "a/b/l->c", "a/y:"},
			Attrs: map[string]string{
				"a": "0755 0:0 1.000000001", "a/b": "0755 0:0 2.000000002", "a/b/c": "0755 0:0 3.000000003",
				"a/b/l": "0777 0:0 4.000000004",
			},
		},
		{
			Name: "A1 a directory nobody may enter is filled all the same",
			Layers: over(layer(Dir("d").WithMode(0), File("d/x", "x"), Dir("d/s").WithMode(0), File("d/s/y", "y")),
				layer(File("d/s/z", "z"), Whiteout("d/x"))),
			Tree: []string{"d/", "d/s/", "d/s/y:y", "d/s/z:z"}, Attrs: map[string]string{"d": "0000 0:0 1000000000.123456789"},
		},
		{
			Name: "A2 parents without an entry take what the parent layers say",
			Layers: over(layer(Dir("a").WithMode(0o1700).WithOwner(1, 2).WithMtime(5, 5).WithXattr("user.k", "v"),
				Dir("a/b").WithMode(0o2750).WithMtime(6, 6)), layer(File("a/b/c/x", "x")), layer(File("a/b/c/y", "y"))),
			Tree: []string{"a/", "a/b/", "a/b/c/", "a/b/c/x:x", "a/b/c/y:y"},
			Attrs: map[string]string{
				"a": "1700 1:2 5.000000005 user.k=v", "a/b": "2750 0:0 6.000000006", "a/b/c": impliedAttrs,
			},
			Changes: []string{"A a/b/c/y"},
		},
		{
			Name:   "A2 an own entry that comes after its children counts",
			Layers: over(layer(File("a/x", "x"), Dir("a").WithMode(0o700).WithMtime(3, 3))),
			Tree:   []string{"a/", "a/x:x"}, Attrs: map[string]string{"a": "0700 0:0 3.000000003"},
		},
		{
			Name:   "A3 the entry ./ sets the attributes of the root",
			Layers: over(layer(Dir(".").WithMode(0o751).WithOwner(5, 6).WithMtime(7, 8).WithXattr("user.r", "root"), File("x", ""))),
			Tree:   []string{"x:"}, Attrs: map[string]string{".": "0751 5:6 7.000000008 user.r=root"}, Changes: []string{"M .", "A x"},
		},
		{
			Name:   "A3 the root's attributes last over later layers",
			Layers: over(layer(Dir("./").WithMode(0o700).WithMtime(7, 8)), layer(File("x", "")), layer(Whiteout("x"), File("y", ""))),
			Tree:   []string{"y:"}, Attrs: map[string]string{".": "0700 0:0 7.000000008"}, Changes: []string{"D x", "A y"},
		},
		{
			Name:   "A3 a later entry for the root replaces the attributes",
			Layers: over(layer(Dir("/").WithMode(0o700).WithXattr("user.r", "1"), File("x", "")), layer(Dir(".").WithMtime(9, 9))),
			Tree:   []string{"x:"}, Attrs: map[string]string{".": "0755 0:0 9.000000009"}, Changes: []string{"M ."},
		},
		{
			Name:   "A3 a root that is no directory is refused",
			Layers: over(base(), layer(File("n", ""), Symlink(".", "/tmp"))), Invalid: true, Tree: baseTree(),
		},
		{
			Name: "A4 nanoseconds, times before 1970 and the highest ids survive",
			Layers: over(layer(File("n", "").WithMtime(1, 999_999_999), File("neg", "").WithMtime(-5, 250_000_000),
				Dir("d").WithMtime(-1, 0), Symlink("l", "x").WithMtime(-2, 1).WithOwner(highestID, 1),
				File("id", "").WithOwner(highestID, highestID), File("zero", "").WithMtime(0, 0))),
			Tree: []string{"d/", "id:", "l->x", "n:", "neg:", "zero:"},
			Attrs: map[string]string{
				"n": "0644 0:0 1.999999999", "neg": "0644 0:0 -5.250000000", "d": "0755 0:0 -1.000000000",
				"l": "0777 4294967294:1 -2.000000001", "id": "0644 4294967294:4294967294 1000000000.123456789",
				"zero": "0644 0:0 0.000000000",
			},
		},
		{
			Name:   "A4 a user id beyond the highest is refused, not wrapped",
			Layers: over(base(), layer(File("n", ""), File("big", "").WithOwner(highestID+1, 0))), Invalid: true, Tree: baseTree(),
			ErrorNames: []string{"big"},
		},
		{
			Name:   "A4 a group id beyond 32 bits is refused, not wrapped",
			Layers: over(base(), layer(Dir("d").WithOwner(0, 1<<32))), Invalid: true, Tree: baseTree(),
		},
		{
			Name: "A5 xattrs of all namespaces survive, empty values too",
			Layers: over(layer(
				File("f", "").WithXattr("user.a", "1").WithXattr("user.empty", "").WithXattr("trusted.t", "\x00\xff\n=").
					WithXattr("security.capability", capability).WithXattr("security.other", "o"),
				Dir("d").WithXattr("user.d", strings.Repeat("x", 300)).WithXattr("trusted.t", ""),
				Symlink("l", "f").WithXattr("trusted.l", "1"))),
			Tree: []string{"d/", "f:", "l->f"},
			Attrs: map[string]string{
				"f": fileAttrs + " security.capability=" + capability + " security.other=o trusted.t=\x00\xff\n= user.a=1 user.empty=",
				"d": dirAttrs + " trusted.t= user.d=" + strings.Repeat("x", 300),
				"l": "0777 0:0 1000000000.123456789 trusted.l=1",
			},
		},
		{
			Name:   "A5 POSIX ACLs survive",
			Layers: over(layer(File("f", "").WithMode(0o640).WithXattr("system.posix_acl_access", accessACL))),
			Tree:   []string{"f:"}, Attrs: map[string]string{"f": "0640 0:0 1000000000.123456789 system.posix_acl_access=" + accessACL},
		},
		{
			Name:   "A5 security.selinux is not carried",
			Layers: over(layer(File("f", "").WithXattr("security.selinux", "system_u:object_r:etc_t:s0\x00").WithXattr("user.k", "v"))),
			Tree:   []string{"f:"}, Attrs: map[string]string{"f": fileAttrs + " user.k=v"},
		},
		{
			Name:   "A5 the properties of btrfs are not carried",
			Layers: over(layer(File("f", "").WithXattr("btrfs.compression", "zstd").WithXattr("user.k", "v"))),
			Tree:   []string{"f:"}, Attrs: map[string]string{"f": fileAttrs + " user.k=v"},
		},
		{
			Name:   "A5 attributes that Linux does not have are left out with a warning",
			Layers: over(layer(File("f", "").WithXattr("com.apple.quarantine", "0081").WithXattr("user.k", "v"), Dir("d").WithXattr("org.example", ""))),
			Tree:   []string{"d/", "f:"}, Attrs: map[string]string{"f": fileAttrs + " user.k=v"},
			Warns: []string{"d", "f"},
		},
		{
			Name:   "A5 an attribute that is larger than Linux takes is refused",
			Layers: over(base(), layer(File("n", ""), File("big", "").WithXattr("user.k", strings.Repeat("v", 1<<16+1)))), Invalid: true, Tree: baseTree(),
			ErrorNames: []string{"big", "user.k", "65537"},
		},
		{
			Name:   "A5 an attribute with a longer name than Linux takes is refused",
			Layers: over(base(), layer(Dir("long").WithXattr("user."+strings.Repeat("k", 251), ""))), Invalid: true, Tree: baseTree(),
			ErrorNames: []string{"long", "user.kkk", "256"},
		},
		{
			Name:   "A5 more names of attributes than Linux lists are refused",
			Layers: over(base(), layer(WithXattrs(File("many", ""), 323, 203))), Invalid: true, Tree: baseTree(),
			ErrorNames: []string{"many", "323"},
		},
		{
			Name: "A5 access control lists written as text are left out with one warning",
			Layers: over(base(), layer(
				File("f", "").WithPAX("SCHILY.acl.access", "user::rw-,user:1:r--,group::r--,mask::r--,other::r--").WithXattr("user.k", "v"),
				Dir("d").WithPAX("SCHILY.acl.default", "user::rwx,user:lisa:r-x,group::r-x,mask::r-x,other::r-x"),
				File("e/g", "").WithPAX("SCHILY.acl.access", "user::rw-,group::r--,other::r--"))),
			Tree:  []string{"d/", "d/x:old x", "d/y:old y", "e/", "e/f:old f", "e/g:", "f:", "l->e"},
			Attrs: map[string]string{"f": fileAttrs + " user.k=v", "d": dirAttrs, "e/g": fileAttrs},
			Warns: []string{"f"},
		},
		{
			Name: "A5 flags, labels and attributes that only some programs write are left out with a warning for each kind",
			Layers: over(layer(
				File("f", "").WithPAX("SCHILY.fflags", "nodump"),
				Dir("d").WithPAX("SCHILY.fflags", "uchg").WithPAX("RHT.security.selinux", "system_u:object_r:etc_t:s0"),
				File("twice", "").WithXattr("user.a b", "v").WithPAX("LIBARCHIVE.xattr.user.a%20b", "dg"),
				File("once", "").WithPAX("LIBARCHIVE.xattr.user.a", "dg"))),
			Tree:  []string{"d/", "f:", "once:", "twice:"},
			Attrs: map[string]string{"f": fileAttrs, "d": dirAttrs, "once": fileAttrs, "twice": fileAttrs + " user.a b=v"},
			Warns: []string{"f", "d", "once"},
		},
		{
			Name:   "A5 a user attribute on a symlink or fifo is left out with a warning",
			Layers: over(layer(Symlink("l", "x").WithXattr("user.k", "v"), Fifo("p").WithXattr("user.k", "v"))),
			Tree:   []string{"l->x", "p|"}, Attrs: map[string]string{"l": "0777 0:0 1000000000.123456789", "p": fileAttrs},
			Warns: []string{"l", "p"},
		},
		{
			Name: "A6 overlay's own attributes from a layer are data, never instructions",
			Layers: over(
				layer(Dir("private"), File("private/key", "secret"), Dir("d"), File("d/x", "x"), File("f", "old")),
				layer(Whiteout("private")),
				layer(
					Dir("d").WithXattr("trusted.overlay.redirect", "/private").WithXattr("trusted.overlay.opaque", "y"),
					Dir("n").WithXattr("trusted.overlay.redirect", "/private"),
					File("f", "").WithXattr("trusted.overlay.metacopy", "").WithXattr("trusted.overlay.redirect", "/private/key"),
					File("w", "").WithXattr("trusted.overlay.whiteout", "y"))),
			Tree: []string{"d/", "d/x:x", "f:", "n/", "w:"},
			Attrs: map[string]string{
				"d": dirAttrs + " trusted.overlay.opaque=y trusted.overlay.redirect=/private",
				"n": dirAttrs + " trusted.overlay.redirect=/private",
				"f": fileAttrs + " trusted.overlay.metacopy= trusted.overlay.redirect=/private/key",
				"w": fileAttrs + " trusted.overlay.whiteout=y",
			},
		},
		{
			Name: "A6 the same in the namespace of unprivileged mounts",
			Layers: over(
				layer(Dir("private"), File("private/key", "secret"), Dir("d"), File("d/x", "x")),
				layer(Whiteout("private")),
				layer(Dir("d").WithXattr("user.overlay.opaque", "y"), Dir("n").WithXattr("user.overlay.redirect", "/private"))),
			Tree: []string{"d/", "d/x:x", "n/"},
			Attrs: map[string]string{
				"d": dirAttrs + " user.overlay.opaque=y", "n": dirAttrs + " user.overlay.redirect=/private",
			},
		},
		{
			Name:   "A7 devices and fifos are created",
			Layers: over(layer(Dir("dev"), Char("dev/null", 1, 3).WithMode(0o666), Block("dev/sda", 8, 300), Fifo("p").WithOwner(1, 1))),
			Tree:   []string{"dev/", "dev/null:char 1:3", "dev/sda:block 8:300", "p|"},
			Attrs: map[string]string{
				"dev/null": "0666 0:0 1000000000.123456789", "p": "0644 1:1 1000000000.123456789",
			},
		},
	}
}

// WithXattrs gives an entry n extended attributes without values, with names of
// so many bytes.
func WithXattrs(e Entry, n, length int) Entry {
	e.Xattrs = make(map[string]string, n)
	for i := range n {
		name := fmt.Sprintf("user.%d.", i)
		e.Xattrs[name+strings.Repeat("k", length-len(name))] = ""
	}
	return e
}

// longName is the longest name that every backend takes; see
// Properties.MaxName.
const longName = 242

func special() []Case {
	var cases []Case
	for _, name := range []string{"/../a", "../a", "d/../../d/a", "./..", "d/../../.wh.f", ".wh..wh.plnk/../../a"} {
		cases = append(cases, Case{
			Name:   "S0 " + name + " leaves the root and is refused, though it may come back",
			Layers: over(base(), layer(File("new", ""), Whiteout("d"), File(name, ""))), Invalid: true, Tree: baseTree(),
			ErrorNames: []string{name},
		})
	}
	return append(cases, []Case{
		{
			Name: "S1 names of all bytes survive",
			Layers: over(layer(Dir("a b"), File("a b/\n\t\"'\\", "1"), File("ü€😀", "2"), File("\xff\xfe", "3"),
				File(strings.Repeat("n", longName), "4"), File("..x", "5"), File("...", "6"), File("-rf", "7"), File("wh.x", "8"),
				Symlink("l", strings.Repeat("t/", 500)+"t"), File("a:b,c=d%e", "9"))),
		},
		{
			Name: "S2 deep paths survive",
			Layers: over(layer(File(strings.Repeat("d/", 80)+"f", "deep")), layer(File(strings.Repeat("d/", 80)+"g", "deep"),
				Whiteout(strings.Repeat("d/", 80)+"f"))),
		},
		{
			Name:   "S3 a sibling sorts after the subtree of a name that is its prefix",
			Layers: over(layer(Dir("a"), File("a/b", ""), File("a-b", ""), File("a.b", ""), File("ab", ""), Dir("A"))),
			Tree:   []string{"A/", "a/", "a/b:", "a-b:", "a.b:", "ab:"},
			Changes: []string{
				"A A", "A a", "A a/b", "A a-b", "A a.b", "A ab",
			},
		},
		{
			Name:   "T2 an empty layer changes nothing",
			Layers: over(base(), layer()), Tree: baseTree(), Changes: []string{},
		},
	}...)
}
