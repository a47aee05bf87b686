package vfs

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// layered returns a driver with two layers: the sealed layer "a", whose tree
// fill makes, and "b", a copy of it. tree is the path of the tree of "b".
func layered(t *testing.T, root string, opts driver.Options, fill func(tree string)) (d *vfs, tree string) {
	t.Helper()
	opened, err := New(t.Context(), root, opts)
	if errors.Is(err, driver.ErrUnsupported) {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, opened.Close()) })
	d = opened.(*vfs)
	require.NoError(t, d.Create(t.Context(), "a", nil, driver.CreateOptions{}))
	fill(d.store.Path("a", treeDir))
	require.NoError(t, d.Seal(t.Context(), "a"))
	require.NoError(t, d.Create(t.Context(), "b", []driver.ID{"a"}, driver.CreateOptions{}))
	return d, d.store.Path("b", treeDir)
}

func write(t *testing.T, path, body string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(body), 0o644))
}

// sameTime gives files the same time, so that files of one size differ only in
// content.
func sameTime(t *testing.T, paths ...string) {
	t.Helper()
	for _, p := range paths {
		require.NoError(t, os.Chtimes(p, time.Unix(1, 0), time.Unix(1, 0)))
	}
}

// changesOf lists the changes found by change times. They must be the same as
// the changes found by comparing everything.
func changesOf(t *testing.T, d *vfs, id driver.ID) []string {
	t.Helper()
	old, updated, err := d.Sides(t.Context(), id)
	require.NoError(t, err)
	defer old.Close()
	defer updated.Close()
	require.NotNil(t, updated.(*tree).manifest, "ctimes can be trusted")
	hinted := list(t, old, updated)
	updated.(*tree).manifest = nil
	require.Equal(t, list(t, old, updated), hinted)
	return hinted
}

func list(t *testing.T, old, updated diff.View) (all []string) {
	t.Helper()
	for c, err := range diff.Compare(t.Context(), old, updated, diff.Options{}) {
		require.NoError(t, err)
		all = append(all, fmt.Sprint(c.Kind, " ", c.Path, c.Hardlink))
	}
	return all
}

func TestTwoDirectoriesThatSwappedPlacesAreComparedToTheLastByte(t *testing.T) {
	d, tree := layered(t, t.TempDir(), driver.Options{}, func(tree string) {
		write(t, tree+"/x/sub/f", "one")
		write(t, tree+"/y/sub/f", "two")
		sameTime(t, tree+"/x/sub/f", tree+"/y/sub/f", tree+"/x/sub", tree+"/y/sub", tree+"/x", tree+"/y", tree)
	})
	require.Empty(t, changesOf(t, d, "b"))
	require.NoError(t, unix.Renameat2(unix.AT_FDCWD, tree+"/x", unix.AT_FDCWD, tree+"/y", unix.RENAME_EXCHANGE))
	sameTime(t, tree)
	require.Equal(t, []string{"M x/sub/f", "M y/sub/f"}, changesOf(t, d, "b"))
	require.NoError(t, unix.Renameat2(unix.AT_FDCWD, tree+"/x/sub", unix.AT_FDCWD, tree+"/y/sub", unix.RENAME_EXCHANGE))
	sameTime(t, tree+"/x", tree+"/y")
	require.Empty(t, changesOf(t, d, "b"))
}

func TestADirectoryMovedToAnotherPathIsNewThereWithAllThatIsInIt(t *testing.T) {
	d, tree := layered(t, t.TempDir(), driver.Options{}, func(tree string) {
		write(t, tree+"/x/deep/f", "f")
		write(t, tree+"/keep", "k")
		require.NoError(t, os.Mkdir(tree+"/z", 0o755))
		sameTime(t, tree, tree+"/x", tree+"/z")
	})
	require.NoError(t, os.Rename(tree+"/x", tree+"/z/x"))
	sameTime(t, tree, tree+"/z")
	require.Equal(t, []string{"D x", "A z/x", "A z/x/deep", "A z/x/deep/f"}, changesOf(t, d, "b"))
}

func TestEveryKindOfChangeIsFoundByCtime(t *testing.T) {
	d, tree := layered(t, t.TempDir(), driver.Options{}, func(tree string) {
		for _, name := range []string{"attr", "body", "gone", "linked", "moved", "same"} {
			write(t, tree+"/d/"+name, "1")
			sameTime(t, tree+"/d/"+name)
		}
		require.NoError(t, os.Symlink("to", tree+"/d/link"))
		sameTime(t, tree+"/d", tree)
	})
	write(t, tree+"/d/body", "2")
	sameTime(t, tree+"/d/body")
	require.NoError(t, unix.Setxattr(tree+"/d/attr", "user.k", []byte("v"), 0))
	require.NoError(t, os.Remove(tree+"/d/gone"))
	require.NoError(t, os.Link(tree+"/d/linked", tree+"/d/linked2"))
	require.NoError(t, os.Rename(tree+"/d/moved", tree+"/d/moved2"))
	require.NoError(t, os.Remove(tree+"/d/link"))
	require.NoError(t, os.Symlink("from", tree+"/d/link"))
	sameTime(t, tree+"/d", tree)
	require.Equal(t, []string{
		"D d/gone", "D d/moved", "M d/attr", "M d/body", "M d/link", "M d/linked", "A d/linked2d/linked", "A d/moved2",
	}, changesOf(t, d, "b"))
}

func TestAWriteThroughAMappingThatWasReadBeforeIsFound(t *testing.T) {
	for _, fs := range fstest.All() {
		t.Run(string(fs), func(t *testing.T) {
			d, tree := layered(t, fstest.Scratch(t, fs), driver.Options{}, func(tree string) {
				write(t, tree+"/d/f", "before")
				write(t, tree+"/d/same", "before")
			})
			f, err := os.OpenFile(tree+"/d/f", os.O_RDWR, 0)
			require.NoError(t, err)
			defer f.Close()
			mapped, err := unix.Mmap(int(f.Fd()), 0, len("before"), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
			require.NoError(t, err)
			require.Equal(t, "before", string(mapped))
			copy(mapped, "behind")
			require.NoError(t, unix.Munmap(mapped))
			var paths []string
			for c, err := range driver.Changes(t.Context(), d, "b", nil) {
				require.NoError(t, err)
				paths = append(paths, c.Path)
			}
			require.Equal(t, []string{"d/f"}, paths)
		})
	}
}

func TestRandomMovesAreFoundByCtime(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	for round := range uint64(10) {
		rnd := rand.New(rand.NewPCG(seed, round))
		name := func() string { return string(rune('a' + rnd.IntN(3))) }
		d, tree := layered(t, t.TempDir(), driver.Options{}, func(tree string) {
			for range 20 {
				p := filepath.Join(tree, name(), name(), name())
				write(t, filepath.Join(p, name()+".txt"), name())
				sameTime(t, filepath.Join(p))
			}
		})
		for range 15 {
			p, q := filepath.Join(tree, name(), name()), filepath.Join(tree, name(), name())
			switch rnd.IntN(4) {
			case 0:
				_ = unix.Renameat2(unix.AT_FDCWD, p, unix.AT_FDCWD, q, unix.RENAME_EXCHANGE)
			case 1:
				_ = os.RemoveAll(p)
			case 2:
				_ = os.Rename(p, q)
			case 3:
				_ = os.MkdirAll(p+"/"+name(), 0o755)
			}
		}
		t.Logf("seed %d, round %d: %d changes", seed, round, len(changesOf(t, d, "b")))
	}
}

func TestAClockThatWentBackOrABadManifestOnlyCostsTime(t *testing.T) {
	d, tree := layered(t, t.TempDir(), driver.Options{}, func(tree string) { write(t, tree+"/f", "1") })
	write(t, tree+"/f", "2")
	m, err := d.manifest("b")
	require.NoError(t, err)
	require.NotNil(t, m)
	var st unix.Stat_t
	require.NoError(t, unix.Stat(tree, &st))
	require.True(t, m.has(".", st.Ino))
	require.NoError(t, new(recording).save(d.store.Path("b", manifestFile), time.Now().Add(time.Hour)))
	for _, spoil := range []func(){
		func() {},
		func() { require.NoError(t, os.Truncate(d.store.Path("b", manifestFile), 30)) },
		func() { require.NoError(t, os.Remove(d.store.Path("b", manifestFile))) },
	} {
		spoil()
		m, err := d.manifest("b")
		require.NoError(t, err)
		require.Nil(t, m)
		var paths []string
		for c, err := range driver.Changes(t.Context(), d, "b", nil) {
			require.NoError(t, err)
			paths = append(paths, c.Path)
		}
		require.Equal(t, []string{"f"}, paths)
	}
}

// A bad manifest is found before a diff warns of it. A new, empty manifest
// causes no warning.
func TestABadManifestIsFoundAndWrittenAnew(t *testing.T) {
	var log bytes.Buffer
	d, copied := layered(t, filepath.Join(t.TempDir(), "vfs"), driver.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}, func(root string) {
		write(t, root+"/d/f", "f")
		write(t, root+"/d/g", "g")
	})
	write(t, copied+"/d/f", "changed")
	want := changesOf(t, d, "b")
	path := d.store.Path("b", manifestFile)
	sound, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, d.RenewHints(t.Context(), "b"))
	same, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, sound, same, "a sound one stays")
	for what, harm := range map[string]func() error{
		"lost":    func() error { return os.Remove(path) },
		"empty":   func() error { return os.Truncate(path, 0) },
		"cut":     func() error { return os.Truncate(path, int64(len(sound)-1)) },
		"flipped": func() error { return os.WriteFile(path, append([]byte("L"), sound[1:]...), 0o600) },
		"longer":  func() error { return os.WriteFile(path, append(bytes.Clone(sound), 0), 0o600) },
	} {
		require.NoError(t, os.WriteFile(path, sound, 0o600))
		require.NoError(t, d.CheckHints(t.Context(), "b"))
		require.NoError(t, harm())
		require.ErrorContains(t, d.CheckHints(t.Context(), "b"), "vfs: hints of layer b: ", what)
		require.NoError(t, d.RenewHints(t.Context(), "b"))
		require.NoError(t, d.CheckHints(t.Context(), "b"))
		log.Reset()
		require.Equal(t, want, changesOf(t, d, "b"), what)
		require.Empty(t, log.String(), what)
	}
	require.NoError(t, d.Create(t.Context(), "v", []driver.ID{"a"}, driver.CreateOptions{View: true}))
	for _, none := range []driver.ID{"a", "v"} {
		require.NoError(t, d.CheckHints(t.Context(), none), "it has none")
		require.NoError(t, d.RenewHints(t.Context(), none))
		require.NoFileExists(t, d.store.Path(none, manifestFile))
	}
	require.ErrorIs(t, d.CheckHints(t.Context(), "nobody"), driver.ErrNotFound)
	require.ErrorIs(t, d.RenewHints(t.Context(), "nobody"), driver.ErrNotFound)
}

func TestACopyIsTheSameByEveryWayOfCopying(t *testing.T) {
	ways := map[string]driver.Fallbacks{
		"the fastest": {}, "without reflink": {NoReflink: true},
		"without copy_file_range": {NoReflink: true, NoCopyRange: true, NoFchmodat2: true},
	}
	for _, fs := range fstest.All() {
		for name, fb := range ways {
			t.Run(string(fs)+", "+name, func(t *testing.T) {
				d, tree := layered(t, fstest.Scratch(t, fs), driver.Options{Fallbacks: fb}, everything(t))
				require.Equal(t, fs.Reflink() && !fb.NoReflink, d.Properties().Reflink)
				fstest.RequireEqual(t, fstest.FromPath(t, d.store.Path("a", treeDir)), fstest.FromPath(t, tree), "the copy")
				require.Empty(t, changesOf(t, d, "b"))
				var st unix.Stat_t
				require.NoError(t, unix.Stat(tree+"/sparse", &st))
				require.Less(t, st.Blocks*512, int64(4<<20), "holes stay holes")
				require.NoError(t, os.Truncate(tree+"/big", 5))
				body, err := os.Stat(d.store.Path("a", treeDir, "big"))
				require.NoError(t, err)
				require.EqualValues(t, 3<<20, body.Size(), "the original stays")
			})
		}
	}
}

func everything(t *testing.T) func(tree string) {
	attr := "user.k"
	if !fstest.TmpfsKeepsUserXattrs(t) {
		attr = "trusted.other"
	}
	return func(tree string) {
		write(t, tree+"/big", string(make([]byte, 3<<20)))
		write(t, tree+"/d/first", "linked")
		require.NoError(t, os.MkdirAll(tree+"/a/b", 0o755))
		require.NoError(t, os.Link(tree+"/d/first", tree+"/a/b/second"))
		require.NoError(t, os.Symlink("first", tree+"/d/symlink"))
		require.NoError(t, os.Link(tree+"/d/symlink", tree+"/d/symlink2"))
		require.NoError(t, unix.Mkfifo(tree+"/fifo", 0o600))
		require.NoError(t, unix.Mknod(tree+"/dev", unix.S_IFCHR|0o622, int(unix.Mkdev(5, 1))))
		require.NoError(t, unix.Setxattr(tree+"/d/first", attr, []byte("v"), 0))
		require.NoError(t, unix.Lsetxattr(tree+"/d/symlink", "trusted.k", []byte("v"), 0))
		require.NoError(t, os.Chmod(tree+"/d/first", 0o4751|os.ModeSetuid))
		require.NoError(t, os.Lchown(tree+"/d/symlink", 7, 8))
		f, err := os.Create(tree + "/sparse")
		require.NoError(t, err)
		for _, at := range []int64{0, 5 << 20, 12<<20 + 77} {
			_, err := f.WriteAt([]byte("data"), at)
			require.NoError(t, err)
		}
		require.NoError(t, f.Truncate(20<<20))
		require.NoError(t, f.Close())
		require.NoError(t, os.Chtimes(tree+"/d", time.Unix(-5, 500), time.Unix(-5, 500)))
	}
}
