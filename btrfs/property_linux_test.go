package btrfs

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
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/diff/difftest"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// Edits that [fstest.Edit] does not have.
const (
	opExchange = fstest.OpCopyUp + 1 + iota
	opClone
	opPunch
	opMapped
	opPoke // a write in the middle
	opTruncate
	opRead
	opSwapAway // renames away and back
	lastOp
)

var (
	longBody = strings.Repeat("abcdefgh", 4096) // 32 KiB
	bodies   = rapid.SampledFrom([]string{"", "x", "y", longBody, longBody[1:] + "z"})
	times    = rapid.SampledFrom([]time.Time{fstest.EditTime, time.Unix(-5, 7)})
	paths    = rapid.Custom(func(t *rapid.T) string {
		parts := make([]string, rapid.IntRange(1, 4).Draw(t, "depth"))
		for i := range parts {
			parts[i] = rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name")
		}
		return path.Join(parts...)
	})
)

func drawEdit(t *rapid.T) fstest.Edit {
	e := fstest.Edit{
		Op:    fstest.Op(rapid.IntRange(int(fstest.OpCreate), int(lastOp)-1).Draw(t, "op")),
		Path:  paths.Draw(t, "path"),
		To:    paths.Draw(t, "to"),
		Name:  rapid.SampledFrom([]string{"user.x", "user.y"}).Draw(t, "xattr"),
		Body:  bodies.Draw(t, "body"),
		Mode:  rapid.SampledFrom([]uint32{0o644, 0o755}).Draw(t, "mode"),
		Mtime: times.Draw(t, "mtime"),
		// Directories that keep their times are the harder case.
		TouchParents: rapid.IntRange(0, 9).Draw(t, "touch") == 0,
	}
	switch e.Op {
	case fstest.OpMknod:
		e.Mode = 0o600 | rapid.SampledFrom([]uint32{diff.TypeFifo, diff.TypeChar}).Draw(t, "type")
		e.Rdev = rapid.SampledFrom([]uint64{0, 0x103}).Draw(t, "rdev")
	case fstest.OpChown:
		e.UID = uint32(rapid.IntRange(0, 2).Draw(t, "uid"))
	case fstest.OpSetXattr:
		e.Body = e.Body[:min(1, len(e.Body))]
	}
	return e
}

// try makes an edit if it is possible. The same edit succeeds or fails every
// time.
func try(fs string, e fstest.Edit) {
	full := filepath.Join(fs, e.Path)
	if in, err := os.Lstat(filepath.Dir(full)); err != nil || !in.IsDir() {
		return // removing the content of a pipe would open the pipe, and wait
	}
	fi, err := os.Lstat(full)
	regular := err == nil && fi.Mode().IsRegular()
	switch e.Op {
	case fstest.OpWrite, fstest.OpAppend, fstest.OpCopyUp:
		if regular {
			_ = e.Apply(fs)
		}
	case opExchange:
		_ = unix.Renameat2(unix.AT_FDCWD, full, unix.AT_FDCWD, filepath.Join(fs, e.To), unix.RENAME_EXCHANGE)
	case opSwapAway:
		if os.Rename(full, filepath.Join(fs, "away")) == nil {
			_ = os.Rename(filepath.Join(fs, "away"), full)
		}
	case opRead:
		times := []unix.Timespec{{Sec: time.Now().Unix() + 1}, {Nsec: unix.UTIME_OMIT}}
		_ = unix.UtimesNanoAt(unix.AT_FDCWD, full, times, unix.AT_SYMLINK_NOFOLLOW)
	case opClone, opPunch, opMapped, opPoke, opTruncate:
		if regular {
			_ = rewrite(fs, full, fi, e)
		}
	default:
		_ = e.Apply(fs)
	}
}

// rewrite changes the content of a file in an unusual way, and then often
// restores its time.
func rewrite(fs, full string, fi os.FileInfo, e fstest.Edit) error {
	f, err := os.OpenFile(full, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	fd := int(f.Fd())
	switch e.Op {
	case opClone:
		from := filepath.Join(fs, e.To)
		if fi, err = os.Lstat(from); err != nil || !fi.Mode().IsRegular() {
			return err
		}
		src, err := os.Open(from)
		if err != nil {
			return err
		}
		defer src.Close()
		if err := unix.IoctlFileClone(fd, int(src.Fd())); err != nil {
			return err
		}
	case opPunch:
		err = unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 4096, 8192)
	case opTruncate:
		err = f.Truncate(int64(len(e.Body) / 2))
	case opPoke:
		_, err = f.WriteAt([]byte(e.Body[:min(3, len(e.Body))]), 5000)
	case opMapped:
		if fi.Size() > 0 {
			var m []byte
			if m, err = unix.Mmap(fd, 0, int(fi.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err == nil {
				m[len(m)/2] = 'M'
				err = unix.Munmap(m)
			}
		}
	}
	if err != nil {
		return err
	}
	return fstest.Touch(".", e.Mtime).Apply(full)
}

// Each layer of a chain with random edits is compared with the layer below it
// in three ways: by search, by a full walk, and by the oracle.
func TestASearchFindsWhatAFullWalkFindsAfterRandomEdits(t *testing.T) {
	root := scratch(t)
	run := 0
	rapid.Check(t, func(r *rapid.T) {
		run++
		old := newVolume(t, root, fmt.Sprint(run, "-0"))
		defer old.destroy(t)
		for _, e := range rapid.SliceOfN(rapid.Custom(drawEdit), 0, 40).Draw(r, "base") {
			try(old.fs(), e)
		}
		for i := range rapid.IntRange(1, 3).Draw(r, "layers") {
			new := old.snapshot(t, fmt.Sprint(run, "-", i+1))
			defer new.destroy(t)
			for _, e := range rapid.SliceOfN(rapid.Custom(drawEdit), 0, 12).Draw(r, "edits") {
				try(new.fs(), e)
			}
			compareSides(t, r, old, new)
			old = new
		}
	})
}

func compareSides(t *testing.T, r *rapid.T, old, new volume) {
	o, n := changed(t, old, new)
	defer o.Close()
	defer n.Close()
	before, after := fstest.FromPath(t, old.fs()), fstest.FromPath(t, new.fs())
	want := difftest.Lines(difftest.Changes(before, after))
	require.Equal(r, want, lines(t, o, n))
	require.Equal(r, want, walked(t, old, new))
	checkLinks(r, n)
	checkBodies(r, o, n, before, after)
}

// checkLinks compares the result of Links for every file with the names that a
// walk finds.
func checkLinks(r require.TestingT, v *tree) {
	names, nodes := map[uint64][]string{}, map[uint64]diff.Node{}
	walk(r, v, func(p string, n diff.Node) {
		names[n.Ino] = append(names[n.Ino], p)
		nodes[n.Ino] = n
	})
	for ino, n := range nodes {
		got, ok, err := v.Links(n)
		require.NoError(r, err)
		require.True(r, ok)
		slices.Sort(got)
		slices.Sort(names[ino])
		require.Equal(r, names[ino], got)
	}
}

// walk visits all files of a tree except directories.
func walk(r require.TestingT, v *tree, visit func(p string, n diff.Node)) {
	root, err := v.Root()
	require.NoError(r, err)
	walkDir(r, root, "", visit)
}

func walkDir(r require.TestingT, d diff.Dir, prefix string, visit func(p string, n diff.Node)) {
	defer d.Close()
	names, err := d.Names()
	require.NoError(r, err)
	for _, name := range names {
		n, err := d.Lookup(name)
		require.NoError(r, err)
		if !n.IsDir() {
			visit(prefix+name, n)
			continue
		}
		sub, err := d.OpenDir(name)
		require.NoError(r, err)
		walkDir(r, sub, prefix+name+"/", visit)
	}
}

// checkBodies checks that files at the same path on both sides have equal
// content if SameBody says so.
func checkBodies(r require.TestingT, o, n *tree, before, after fstest.Tree) {
	for p, node := range after {
		if node.Type() != diff.TypeRegular || before[p].Type() != diff.TypeRegular {
			continue
		}
		if same := sameBody(r, o, n, p); same {
			require.Equal(r, before[p].Body, node.Body, p)
			require.Equal(r, before[p].Size, node.Size, p)
		}
	}
}

func sameBody(r require.TestingT, o, n *tree, p string) bool {
	dirOf := func(v *tree) diff.Dir {
		d, err := v.Root()
		require.NoError(r, err)
		for _, name := range strings.Split(path.Dir(p), "/") {
			if name == "." {
				break
			}
			sub, err := d.OpenDir(name)
			require.NoError(r, err)
			_ = d.Close()
			d = sub
		}
		return d
	}
	was, now := dirOf(o), dirOf(n)
	defer was.Close()
	defer now.Close()
	same, err := now.(diff.BodyMatcher).SameBody(path.Base(p), was)
	require.NoError(r, err)
	return same
}
