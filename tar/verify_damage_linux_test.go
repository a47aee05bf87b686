package tar

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// damagedBase and damagedLayer have files of every kind, so that a test can
// provoke every kind of finding.
func damagedBase() []fstest.Entry {
	return []fstest.Entry{
		fstest.Dir("etc").WithMode(0o750), fstest.File("etc/old", "old"), fstest.File("etc/gone", "gone"), fstest.File("etc/kept", "kept"),
		fstest.Dir("opaque"), fstest.File("opaque/a", "a"), fstest.Dir("implied").WithMode(0o711).WithOwner(7, 8),
		fstest.File("shared", "shared"), fstest.Link("shared2", "shared"), fstest.Symlink("lib", "usr/lib"),
		fstest.Dir("whole"), fstest.File("whole/f", "f"), fstest.File("sub", "a file"),
	}
}

// Entries below a symbolic link or a file of the parents make Verify read
// ahead. From then on it compares bodies by digest.
var readsAhead = []fstest.Entry{fstest.File("lib/x", "x"), fstest.File("sub/f", "f"), fstest.Whiteout("sub")}

func damagedLayer() []fstest.Entry {
	// Two bodies of the same path that differ in their second block.
	start := strings.Repeat("start", 60<<10)
	const acl = "\x02\x00\x00\x00" + "\x01\x00\x07\x00\xff\xff\xff\xff" + "\x02\x00\x06\x00\x05\x00\x00\x00" +
		"\x04\x00\x05\x00\xff\xff\xff\xff" + "\x10\x00\x07\x00\xff\xff\xff\xff" + "\x20\x00\x05\x00\xff\xff\xff\xff"
	return []fstest.Entry{
		fstest.File("big", strings.Repeat("0123456789abcdef", 40<<10)), fstest.File("etc/new", "new!").WithXattr("user.a", "1").WithXattr("user.empty", ""),
		fstest.File("etc/old", "newer"), fstest.Whiteout("etc/gone"), fstest.Opaque("opaque"), fstest.File("opaque/b", "b"),
		fstest.File("implied/f", "f"), fstest.File("fresh/f", "f").WithXattr(accessACL, acl).WithMode(0o640), fstest.Dir("dir").WithXattr("user.d", "d"),
		fstest.Symlink("link", "target"), fstest.Char("char", 1, 3), fstest.Block("block", 7, 1), fstest.Fifo("fifo"),
		fstest.File("one", "one"), fstest.Link("two", "one"), fstest.Link("three", "one"), fstest.Link("joined", "shared"),
		fstest.File("twice", "first"), fstest.Link("kept-first", "twice"), fstest.File("twice", "again"),
		fstest.File("grown", start+"first"), fstest.Link("grown-first", "grown"), fstest.File("grown", start+"again"),
		fstest.File("same1", "s"), fstest.File("same2", "s"), fstest.File("empty", ""), fstest.Whiteout("whole"),
		fstest.File("suid", "s").WithMode(0o4755), fstest.File("long", "l").WithXattr("user.long", strings.Repeat("v", 2000)),
		fstest.Symlink("sl", "x").WithXattr("user.none", "v").WithXattr("trusted.t", "v"), fstest.File("plainacl", "p").WithMode(0o604).WithXattr(accessACL,
			"\x02\x00\x00\x00"+"\x01\x00\x06\x00\xff\xff\xff\xff"+"\x04\x00\x04\x00\xff\xff\xff\xff"+"\x20\x00\x04\x00\xff\xff\xff\xff"),
	}
}

// A damage is one change of a layer on disk.
type damage struct {
	name string
	do   func(dir string) error
	kind FindingKind
	path string
	// data: the damage can only be found by reading the content.
	data bool
	// text is a part of the finding's text.
	text string
}

// damageFile changes a file of the layer and restores its mtime.
func damageFile(name string, do func(p string) error) func(string) error {
	return func(dir string) error {
		p := filepath.Join(dir, name)
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		if err := do(p); err != nil {
			return err
		}
		return unix.UtimesNanoAt(unix.AT_FDCWD, p, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
	}
}

// damageName changes a directory of the layer and restores its mtime.
func damageName(name string, do func(p string) error) func(string) error {
	return func(dir string) error {
		return damageFile(filepath.Dir(name), func(string) error { return do(filepath.Join(dir, name)) })(dir)
	}
}

// keepTime gives the replacement of a file the mtime of the file.
func keepTime(do func(p string) error) func(string) error {
	return func(p string) error { return damageFile("", do)(p) }
}

func flip(offset int64) func(p string) error {
	return func(p string) error {
		f, err := os.OpenFile(p, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		var b [1]byte
		if _, err := f.ReadAt(b[:], offset); err != nil {
			return err
		}
		b[0] ^= 1
		_, err = f.WriteAt(b[:], offset)
		return err
	}
}

func write(body string) func(p string) error {
	return func(p string) error { return os.WriteFile(p, []byte(body), 0o600) }
}

// replace replaces a file.
func replace(make func(p string) error) func(p string) error {
	return func(p string) error {
		if err := os.RemoveAll(p); err != nil {
			return err
		}
		return make(p)
	}
}

// part makes a name a separate file that is otherwise the same.
func part(p string) error {
	fi, err := os.Lstat(p)
	if err != nil {
		return err
	}
	body, err := os.ReadFile(p)
	if err != nil {
		return err
	}
	if err := os.Remove(p); err != nil {
		return err
	}
	if err := os.WriteFile(p, body, fi.Mode()); err != nil {
		return err
	}
	if err := os.Chmod(p, fi.Mode()); err != nil {
		return err
	}
	return os.Chtimes(p, time.Time{}, fi.ModTime())
}

func setXattr(name, value string) func(p string) error {
	return func(p string) error { return unix.Lsetxattr(p, name, []byte(value), 0) }
}

func damages() []damage {
	return []damage{
		{"a byte at the start", damageFile("etc/new", flip(0)), FindingContent, "etc/new", true, "from byte 0 on"},
		{"a byte in a later block", damageFile("big", flip(300<<10)), FindingContent, "big", true, "from byte 307200 on"},
		{"the last byte", damageFile("big", flip(640<<10-1)), FindingContent, "big", true, "from byte 655359 on"},
		{"a body that a link keeps", damageFile("kept-first", flip(0)), FindingContent, "kept-first", true, ""},
		{"a body that came again", damageFile("twice", flip(0)), FindingContent, "twice", true, ""},
		{"a body that a link keeps, past its first block", damageFile("grown-first", flip(300<<10)), FindingContent, "grown-first", true, ""},
		{"the first block of a body that a link keeps", damageFile("grown-first", flip(1)), FindingContent, "grown-first", true, ""},
		{"a body copied from the parents", damageFile("shared", flip(0)), FindingContent, "joined", true, ""},
		{"a body through a symbolic link", damageFile("usr/lib/x", flip(0)), FindingContent, "usr/lib/x", true, ""},
		{"chmod", damageFile("etc/new", func(p string) error { return os.Chmod(p, 0o600) }), FindingMode, "etc/new", false, "is 0600; the tar: 0644"},
		{"no setuid", damageFile("suid", func(p string) error { return os.Chmod(p, 0o755) }), FindingMode, "suid", false, "the tar: 4755"},
		{"chmod of a directory", damageFile("dir", func(p string) error { return os.Chmod(p, 0o700) }), FindingMode, "dir", false, ""},
		{"chmod of a directory of the parents", damageFile("implied", func(p string) error { return os.Chmod(p, 0o700) }), FindingMode, "implied", false, "the layers below: 0711"},
		{"chmod of a directory without an entry", damageFile("fresh", func(p string) error { return os.Chmod(p, 0o700) }), FindingMode, "fresh", false, ""},
		{"chmod of the root", func(d string) error { return os.Chmod(d, 0o700) }, FindingMode, ".", false, ""},
		{"chown", damageFile("etc/new", func(p string) error { return os.Lchown(p, 1, 0) }), FindingOwner, "etc/new", false, "is 1:0; the tar: 0:0"},
		{"chgrp of a link", damageFile("link", func(p string) error { return os.Lchown(p, 0, 1) }), FindingOwner, "link", false, ""},
		{"mtime", func(d string) error { return os.Chtimes(d+"/etc/new", time.Time{}, fstest.Epoch.Add(1)) }, FindingMtime, "etc/new", false, ""},
		{"mtime in seconds", func(d string) error { return os.Chtimes(d+"/etc/new", time.Time{}, fstest.Epoch.Truncate(time.Second)) }, FindingMtime, "etc/new", false, ""},
		{"mtime of a directory", func(d string) error { return os.Chtimes(d+"/dir", time.Time{}, time.Unix(5, 5)) }, FindingMtime, "dir", false, ""},
		{"removed", damageName("etc/new", os.Remove), FindingMissing, "etc/new", false, "is missing; the tar: regular file"},
		{"a directory removed", damageName("dir", os.RemoveAll), FindingMissing, "dir", false, ""},
		{"added", damageName("etc/extra", write("x")), FindingExtra, "etc/extra", false, "a regular file that the tar does not have"},
		{"added to the root", damageName("extra", func(p string) error { return os.Mkdir(p, 0o755) }), FindingExtra, "extra", false, ""},
		{"added to an opaque directory", damageName("opaque/a", write("a")), FindingExtra, "opaque/a", false, ""},
		{"retargeted", damageName("link", keepTime(replace(func(p string) error { return os.Symlink("tarGet", p) }))), FindingTarget, "link", false, `"tarGet"; the tar: "target"`},
		{"an attribute changed", damageFile("etc/new", setXattr("user.a", "2")), FindingXattrs, "etc/new", false, "user.a has another value"},
		{"an attribute added", damageFile("etc/new", setXattr("user.b", "2")), FindingXattrs, "etc/new", false, "user.b should not be there"},
		{"an attribute removed", damageFile("etc/new", func(p string) error { return unix.Lremovexattr(p, "user.empty") }), FindingXattrs, "etc/new", false, "user.empty is missing"},
		{"an attribute of a directory", damageFile("dir", setXattr("user.d", "e")), FindingXattrs, "dir", false, ""},
		{"an attribute of a link", damageFile("sl", func(p string) error { return unix.Lremovexattr(p, "trusted.t") }), FindingXattrs, "sl", false, ""},
		{"a long attribute", damageFile("long", setXattr("user.long", strings.Repeat("v", 1999)+"w")), FindingXattrs, "long", false, ""},
		{"an ACL removed", damageFile("fresh/f", func(p string) error {
			if err := unix.Lremovexattr(p, accessACL); err != nil {
				return err
			}
			return os.Chmod(p, 0o640)
		}), FindingXattrs, "fresh/f", false, "posix_acl_access is missing"},
		{"a link parted", damageName("two", part), FindingHardlink, "two", false, "is a file of its own; the tar: one file with"},
		{"a link to the parents' file parted", damageName("shared", part), FindingHardlink, "shared", false, ""},
		{"two files made one", damageName("same2", replace(func(p string) error { return os.Link(strings.TrimSuffix(p, "2")+"1", p) })), FindingHardlink, "same2", false, `is a name of "same1"; the tar: another file`},
		{"a directory for a file", damageName("etc/new", replace(func(p string) error { return os.Mkdir(p, 0o755) })), FindingType, "etc/new", false, "is a directory; the tar: regular file"},
		{"a file for a directory", damageName("dir", replace(write("x"))), FindingType, "dir", false, ""},
		{"truncated", damageFile("big", func(p string) error { return os.Truncate(p, 1000) }), FindingSize, "big", false, "is 1000 bytes; the tar: 655360 bytes"},
		{"emptied", damageFile("etc/new", func(p string) error { return os.Truncate(p, 0) }), FindingSize, "etc/new", false, ""},
		{"another device", damageName("char", keepTime(replace(func(p string) error { return unix.Mknod(p, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 5))) }))), FindingDevice, "char", false, "is 1:5; the tar: 1:3"},
		{"a block device for a pipe", damageName("fifo", replace(func(p string) error { return unix.Mknod(p, unix.S_IFBLK|0o644, 3) })), FindingType, "fifo", false, ""},
	}
}

func TestVerifyFindsEveryKindOfDamage(t *testing.T) {
	requireRoot(t)
	for name, layer := range map[string][]fstest.Entry{
		"plain": slices.Concat(damagedLayer(), readsAhead), "overlay": slices.Concat(readsAhead, damagedLayer()),
	} {
		for _, d := range damages() {
			t.Run(name+" "+d.name, func(t *testing.T) {
				b := beds[name](t).(checkedBed)
				parents, layer := damagedStack(t, b, layer)
				requireVerified(t, layer, parents, b.merged(t), VerifyOptions{ReadData: true})
				require.NoError(t, d.do(b.disk()))
				if name == "overlay" && d.kind == FindingContent {
					d.text = "" // a digest does not say where the difference is
				}
				requireFound(t, layer, parents, b.merged(t), d)
			})
		}
	}
}

// damagedStack applies the two layers to a bed.
func damagedStack(t *testing.T, b checkedBed, entries []fstest.Entry) (parents diff.View, layer []byte) {
	t.Helper()
	_, err := b.apply(t, fstest.Layer(t, damagedBase()...), UnpackOptions{})
	require.NoError(t, err)
	b.push(t)
	parents, layer = b.before(t), fstest.Layer(t, entries...)
	_, err = b.apply(t, layer, UnpackOptions{})
	require.NoError(t, err)
	return parents, layer
}

func requireFound(t *testing.T, layer []byte, parents, merged diff.View, d damage) {
	t.Helper()
	v, err := Verify(t.Context(), bytes.NewReader(layer), parents, merged, VerifyOptions{ReadData: true})
	require.NoError(t, err)
	require.Len(t, v.Findings, 1, "%v", texts(v.Findings))
	require.Equal(t, fmt.Sprint(d.kind, " ", d.path), fmt.Sprint(v.Findings[0].Kind, " ", v.Findings[0].Path), v.Findings[0].String())
	require.Contains(t, v.Findings[0].String(), d.text)

	v, err = Verify(t.Context(), bytes.NewReader(layer), parents, merged, VerifyOptions{})
	require.NoError(t, err)
	require.Equal(t, !d.data, slices.ContainsFunc(v.Findings, func(f Finding) bool { return f.Kind == d.kind && f.Path == d.path }), "without data")
}
