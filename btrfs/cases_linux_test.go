package btrfs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

// A change of a tree. It is a function, because [fstest.Edit] does not have all
// changes.
type change func(t testing.TB, fs string)

func edits(list ...fstest.Edit) change {
	return func(t testing.TB, fs string) {
		for _, e := range list {
			require.NoError(t, e.Apply(fs))
		}
	}
}

func all(list ...change) change {
	return func(t testing.TB, fs string) {
		for _, c := range list {
			c(t, fs)
		}
	}
}

var big = strings.Repeat("0123456789abcdef", 20_000) // 320,000 bytes: several extents

// some is a small tree with a file of every kind.
var some = edits(
	fstest.Mkdir("a"), fstest.Mkdir("a/b"), fstest.Mkdir("a/b/c"), fstest.Mkdir("d"), fstest.Mkdir("e"),
	fstest.Create("a/f", "one"), fstest.Create("a/g", big), fstest.Create("a/b/f", "two"), fstest.Create("a/b/c/f", "three"),
	fstest.Create("d/f", "four"), fstest.Create("d/big", big), fstest.Create("e/f", "five"), fstest.MakeSymlink("e/l", "f"),
	fstest.MakeLink("e/hard", "a/f"), fstest.MakeLink("d/hard", "a/f"), fstest.SetXattr("a/b/f", "user.x", "1"),
	fstest.Create("top", "six"),
)

var cases = []struct {
	name   string
	before change // applied to the tree some
	after  change
	want   []string // such as "M path"; nil if only the oracle is compared
}{
	{name: "nothing", after: all(), want: []string{}},
	{name: "a file is written to deep down", after: edits(fstest.Write("a/b/c/f", "changed")), want: []string{`M "a/b/c/f"`}},
	{name: "only an attribute in an extended namespace", after: edits(fstest.SetXattr("a/b/f", "user.x", "2"), fstest.SetXattr("d", "user.y", "3")), want: []string{`M "a/b/f"`, `M "d"`}},
	{name: "only a mode", after: edits(fstest.Chmod("a/b/c/f", 0o600), fstest.Chmod("a/b", 0o700)), want: []string{`M "a/b"`, `M "a/b/c/f"`}},
	{name: "only an owner", after: edits(fstest.Chown("e/l", 5, 6))},
	{name: "a file is truncated and keeps its time", after: func(t testing.TB, fs string) {
		require.NoError(t, os.Truncate(fs+"/a/g", 4096))
		require.NoError(t, fstest.Touch("a/g", fstest.EditTime).Apply(fs))
	}, want: []string{`M "a/g"`}},
	{name: "a hole is punched and the time kept", after: all(fallocate("a/g", unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 8192, 8192), kept("a/g")), want: []string{`M "a/g"`}},
	{
		name: "a hole at the end is filled and the time kept", before: all(edits(fstest.Create("a/tail", big[:4096])), opened("a/tail", os.O_RDWR, truncate(12288)), kept("a/tail")),
		after: all(pwrite("a/tail", 8192, "data"), kept("a/tail")), want: []string{`M "a/tail"`},
	},
	{name: "a range is zeroed and the time kept", after: all(fallocate("a/g", unix.FALLOC_FL_ZERO_RANGE, 4096, 4096), kept("a/g")), want: []string{`M "a/g"`}},
	{name: "space is reserved past the end, which changes nothing", after: all(fallocate("a/g", unix.FALLOC_FL_KEEP_SIZE, 1<<20, 4096), kept("a/g")), want: []string{}},
	{name: "a range of a file of the base is cloned into another", after: all(cloneRange("d/big", "a/g", 4096, 4096, 8192), kept("a/g")), want: []string{}},
	{name: "a range is cloned to another place", after: all(cloneRange("d/big", "a/g", 0, 4096, 12288), edits(fstest.Touch("a/g", time.Unix(7, 7)))), want: []string{`M "a/g"`}},
	{name: "a new file is a clone of one of the base", after: all(edits(fstest.Create("new", "")), cloneRange("d/big", "new", 0, 0, 0), kept("new")), want: []string{`A "new"`}},
	{name: "a write through a mapping, and the time kept", after: all(mapped("d/big", 5000, 'X'), kept("d/big")), want: []string{`M "d/big"`}},
	{name: "a write through a mapping of what is there already", after: all(mapped("d/big", 16, '0'), kept("d/big")), want: []string{}},
	{name: "a file without copy on write is written to", before: noCOW("a/plain", big), after: all(pwrite("a/plain", 70_000, "Z"), kept("a/plain")), want: []string{`M "a/plain"`}},
	{name: "a file without copy on write is only read", before: noCOW("a/plain", big), after: read("a/plain"), want: []string{}},
	{name: "only a property of btrfs", after: edits(fstest.SetXattr("a/g", "btrfs.compression", "zstd")), want: []string{}},
	{name: "only a flag of chattr", after: flag("a/g", 0x40), want: []string{}}, // FS_NODUMP_FL
	{name: "files are only read", after: all(read("a/g"), read("d/big"), read("a/b/f")), want: []string{}},
	{name: "a file is removed", after: edits(fstest.Remove("a/b/f")), want: []string{`D "a/b/f"`}},
	{name: "a tree is removed", after: edits(fstest.Remove("a"))},
	{name: "a file is removed and made again just the same", after: edits(fstest.Remove("a/b/c/f"), fstest.Create("a/b/c/f", "three")), want: []string{}},
	{name: "a file becomes a directory, a directory a file", after: edits(fstest.Remove("a/b/f"), fstest.Mkdir("a/b/f"), fstest.Create("a/b/f/x", ""), fstest.Remove("e"), fstest.Create("e", ""))},
	{name: "a directory is moved", after: edits(fstest.Rename("a/b", "d/b"))},
	{name: "a directory is moved away and back", after: edits(fstest.Rename("a/b", "x"), fstest.Rename("x", "a/b")), want: []string{}},
	{name: "a directory is moved away, changed, and back", after: edits(fstest.Rename("a", "x"), fstest.Write("x/b/f", "n"), fstest.Rename("x", "a")), want: []string{`M "a/b/f"`}},
	{name: "two directories are exchanged", after: swapped("a/b", "d")},
	{name: "two files are exchanged", after: swapped("a/g", "a/b/f")},
	{name: "a directory and a file are exchanged", after: swapped("a/b", "top")},
	{name: "a directory takes the place of another", after: edits(fstest.Remove("d"), fstest.Rename("a", "d"))},
	{name: "a new directory takes the place of an old one", after: edits(fstest.Remove("a/b"), fstest.Mkdir("a/b"), fstest.Create("a/b/f", "two"), fstest.Mkdir("a/b/c"))},
	{name: "an old directory in a new one in its place", after: edits(fstest.Rename("a/b", "x"), fstest.Remove("a"), fstest.Mkdir("a"), fstest.Rename("x", "a/b"))},
	{name: "a directory moves into one that moves", after: edits(fstest.Rename("e", "a/b/e"), fstest.Rename("a", "d/a"), fstest.Write("d/a/b/e/f", "n"))},
	{name: "a parent is moved and its child stays", after: edits(fstest.Rename("a/b/c", "c"), fstest.Remove("a"), fstest.Mkdir("a"), fstest.Mkdir("a/b"), fstest.Rename("c", "a/b/c"))},
	{name: "rename over a file", after: edits(fstest.Rename("a/b/f", "a/f"))},
	{name: "rename within the directory", after: edits(fstest.Rename("a/f", "a/x"))},
	{name: "a name more for a file of the base", after: edits(fstest.MakeLink("top2", "top")), want: []string{`M "top"`, `A "top2" = "top"`}},
	{name: "a name less for a file of the base", after: edits(fstest.Remove("e/hard")), want: []string{`D "e/hard"`}},
	{name: "a write to a file with names all over", after: edits(fstest.Write("d/hard", "n"))},
	{name: "a name is replaced by an equal copy", after: edits(fstest.Remove("d/hard"), fstest.Create("d/hard", "one"))},
	{name: "two names move and stay together", after: edits(fstest.Rename("e/hard", "e/h2"), fstest.Rename("d/hard", "a/b/c/h3"))},
	{name: "a directory with one of the names moves", after: edits(fstest.Rename("e", "x"))},
	{name: "names are linked crosswise", after: edits(fstest.Remove("a/b/c/f"), fstest.MakeLink("a/b/c/f", "top"), fstest.Remove("e/f"), fstest.MakeLink("e/f", "a/b/f"))},
	{name: "devices, fifos and sockets", after: edits(fstest.Mknod("fifo", 0o10644, 0), fstest.Mknod("null", 0o20666, 0x103), fstest.Mknod("white", 0o20666, 0), fstest.Socket("a/sock"))},
	{name: "the root's own attributes", after: edits(fstest.Chmod(".", 0o711), fstest.Touch(".", time.Unix(1, 2))), want: []string{`M "."`}},
	{name: "a file is renamed to what was there before", after: edits(fstest.Rename("top", "x"), fstest.Rename("a/f", "top"), fstest.Rename("x", "a/f"))},
	{name: "what is open and has no name", after: unlinkedOpen, want: []string{}},
}

func TestASearchFindsWhatAFullWalkFinds(t *testing.T) {
	vols := &volumes{root: scratch(t)}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			old := newVolume(t, vols.root, vols.name())
			some(t, old.fs())
			if c.before != nil {
				c.before(t, old.fs())
			}
			new := old.snapshot(t, vols.name())
			c.after(t, new.fs())
			got := check(t, old, new, true)
			if c.want != nil {
				require.Equal(t, c.want, brief(got))
			}
		})
	}
}

// brief reduces every line to the kind, the path, and the link target.
func brief(lines []string) []string {
	short := make([]string, len(lines))
	for i, l := range lines {
		parts := strings.Fields(l)
		short[i] = strings.Join(parts[:2], " ")
		if strings.Contains(l, `" = "`) {
			short[i] = l
		}
	}
	return short
}

// kept restores the time of a file.
func kept(path string) change { return edits(fstest.Touch(path, fstest.EditTime)) }

func opened(path string, flags int, f func(t testing.TB, f *os.File)) change {
	return func(t testing.TB, fs string) {
		file, err := os.OpenFile(filepath.Join(fs, path), flags, 0o644)
		require.NoError(t, err)
		defer file.Close()
		f(t, file)
	}
}

func fallocate(path string, mode uint32, off, size int64) change {
	return opened(path, os.O_RDWR, func(t testing.TB, f *os.File) {
		require.NoError(t, unix.Fallocate(int(f.Fd()), mode, off, size))
	})
}

func pwrite(path string, off int64, data string) change {
	return opened(path, os.O_RDWR, func(t testing.TB, f *os.File) {
		_, err := f.WriteAt([]byte(data), off)
		require.NoError(t, err)
	})
}

func cloneRange(from, to string, off, toOff, size uint64) change {
	return func(t testing.TB, fs string) {
		src, err := os.Open(filepath.Join(fs, from))
		require.NoError(t, err)
		defer src.Close()
		opened(to, os.O_RDWR, func(t testing.TB, dst *os.File) {
			require.NoError(t, unix.IoctlFileCloneRange(int(dst.Fd()), &unix.FileCloneRange{
				Src_fd: int64(src.Fd()), Src_offset: off, Src_length: size, Dest_offset: toOff,
			}))
		})(t, fs)
	}
}

func mapped(path string, at int, b byte) change {
	return opened(path, os.O_RDWR, func(t testing.TB, f *os.File) {
		m, err := unix.Mmap(int(f.Fd()), 0, at+1, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		require.NoError(t, err)
		m[at] = b
		require.NoError(t, unix.Munmap(m))
	})
}

// noCOW makes a file with chattr +C.
func noCOW(path, body string) change {
	return all(opened(path, os.O_RDWR|os.O_CREATE, func(t testing.TB, f *os.File) {
		flag(path, 0x800000)(t, fsOf(f.Name(), path)) // FS_NOCOW_FL
		_, err := f.WriteString(body)
		require.NoError(t, err)
		require.NoError(t, f.Sync())
	}), kept(path))
}

// flag sets a flag of ioctl_iflags(2).
func flag(path string, flag int) change {
	return opened(path, os.O_RDONLY, func(t testing.TB, f *os.File) {
		require.NoError(t, unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flag))
	})
}

// fsOf returns the root of the tree in which a file with the full path has the
// relative path.
func fsOf(full, path string) string { return strings.TrimSuffix(full, "/"+path) }

// read reads a file. It also sets the access time as a read would, in case the
// mount does not.
func read(path string) change {
	return opened(path, os.O_RDONLY, func(t testing.TB, f *os.File) {
		_, err := os.ReadFile(f.Name())
		require.NoError(t, err)
		setAtime(t, f.Name())
	})
}

func setAtime(t testing.TB, path string) {
	t.Helper()
	times := []unix.Timespec{{Sec: time.Now().Unix() + 1}, {Nsec: unix.UTIME_OMIT}}
	require.NoError(t, unix.UtimesNanoAt(unix.AT_FDCWD, path, times, 0))
}

func swapped(a, b string) change {
	return func(t testing.TB, fs string) {
		err := unix.Renameat2(unix.AT_FDCWD, filepath.Join(fs, a), unix.AT_FDCWD, filepath.Join(fs, b), unix.RENAME_EXCHANGE)
		require.NoError(t, err)
	}
}

// unlinkedOpen makes an open file and an open directory without a name.
func unlinkedOpen(t testing.TB, fs string) {
	for _, p := range []string{"open", "opendir"} {
		path := filepath.Join(fs, p)
		if p == "open" {
			require.NoError(t, fstest.Create(p, big).Apply(fs))
		} else {
			require.NoError(t, fstest.Mkdir(p).Apply(fs))
		}
		f, err := os.Open(path)
		require.NoError(t, err)
		t.Cleanup(func() { _ = f.Close() })
		require.NoError(t, fstest.Remove(p).Apply(fs))
	}
}

// many makes empty files with numbers as names.
func many(dir string, n int) change {
	return func(t testing.TB, fs string) {
		require.NoError(t, os.MkdirAll(filepath.Join(fs, dir), 0o755))
		d, err := os.Open(filepath.Join(fs, dir))
		require.NoError(t, err)
		defer d.Close()
		for i := range n {
			fd, err := unix.Openat(int(d.Fd()), fmt.Sprint(i), unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, 0o644)
			require.NoError(t, err)
			require.NoError(t, unix.Close(fd))
		}
	}
}
