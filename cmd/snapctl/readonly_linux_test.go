package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/driver/all"
	"github.com/layerkeep/layerkeep/driver/all/alltest"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

const demoImageName = "layerkeep.dev/demo:1"

// A readStore is a store with an image, and "active", "committed" and "view" on
// it, which is read while nothing in it may change.
type readStore struct {
	t    *testing.T
	root string
	// out is a directory elsewhere, with the mount point "m".
	out   string
	flags []string
	// writable: "active" can be mounted.
	writable bool
}

// newReadStore makes the store in a directory.
func newReadStore(t *testing.T, dir, driverName string) *readStore {
	t.Helper()
	if err := alltest.Works(t, dir, driverName); err != nil {
		t.Skipf("backend %s does not work there: %v", driverName, err)
	}
	s := &readStore{t: t, root: filepath.Join(dir, "store"), out: t.TempDir()}
	t.Cleanup(func() { unmountBelow(s.out) })
	archive, err := demoImage(runtime.GOARCH)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(s.in("demo.tar"), archive, 0o600))
	layer := fstest.Layer(t, fstest.File("etc/mine", "mine").WithMtime(1_700_000_000, 0), fstest.Whiteout("etc/motd"))
	require.NoError(t, os.WriteFile(s.in("layer.tar"), layer, 0o600))
	require.NoError(t, os.Mkdir(s.in("m"), 0o700))
	s.must("--driver", driverName, "import", "--name", demoImageName, s.in("demo.tar"))
	for _, key := range []string{"active", "key"} {
		s.must("prepare", key, demoImageName)
		s.must("apply", key, s.in("layer.tar"))
	}
	s.must("commit", "committed", "key")
	s.must("view", "view", "committed")
	// What aufs needs without its kernel module is made at the first mount.
	s.must("mount", "committed", s.in("m"))
	s.must("umount", s.in("m"))
	if code, _, errs := s.run("mount", "active", s.in("m")); code == exitDone {
		s.writable = true
		s.must("umount", s.in("m"))
	} else {
		require.Equal(t, exitUnsupported, code, errs)
	}
	return s
}

func (s *readStore) in(name string) string { return filepath.Join(s.out, name) }

// run runs a command line and returns its exit code and outputs.
func (s *readStore) run(args ...string) (code int, out, errs string) {
	var stdout, stderr strings.Builder
	args = append(append([]string{"--root", s.root}, s.flags...), args...)
	code = run(s.t.Context(), streams{In: strings.NewReader(""), Out: &stdout, Err: &stderr}, args)
	return code, stdout.String(), stderr.String()
}

func (s *readStore) must(args ...string) string {
	s.t.Helper()
	code, out, errs := s.run(args...)
	require.Equal(s.t, exitDone, code, "%v: %s", args, errs)
	return out
}

// reading are the command lines that read, and give the same whether or not the
// store can be written to.
func (s *readStore) reading() [][]string {
	list := [][]string{
		{"ls"}, {"ls", "--json"}, {"tree"}, {"images"}, {"images", "--json"}, {"usage"},
		{"mounts", "view"}, {"mounts", "committed"}, {"export", demoImageName, "-"},
	}
	for _, key := range []string{"active", "committed", "view", demoImageName} {
		list = append(list, []string{"info", key}, []string{"changes", key}, []string{"diff", key})
	}
	return list
}

// answers are the outputs of all reading commands, long ones as a digest.
func (s *readStore) answers() map[string]string {
	s.t.Helper()
	all := map[string]string{}
	for _, args := range s.reading() {
		out := s.must(args...)
		if len(out) > 4<<10 {
			out = digestOf([]byte(out))
		}
		all[strings.Join(args, " ")] = out
	}
	return all
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// changing are the command lines that change something.
func (s *readStore) changing() [][]string {
	return [][]string{
		{"prepare", "new", demoImageName}, {"view", "new", demoImageName}, {"commit", "new", "active"},
		{"rename", "active", "new"}, {"rm", "view"}, {"rmi", demoImageName}, {"apply", "active", s.in("layer.tar")},
		{"import", "--name", "other:1", s.in("demo.tar")}, {"gc"}, {"mount", "--rw", "new", demoImageName, s.in("m")},
		{"mount", "--uidmap", "0:100000:1000", "--gidmap", "0:100000:1000", demoImageName, s.in("m")},
	}
}

func (s *readStore) requireUnchangeable() {
	s.t.Helper()
	for _, args := range s.changing() {
		code, out, errs := s.run(append([]string{"--log-level", "error"}, args...)...)
		require.Equal(s.t, exitState, code, "%v: %s", args, errs)
		require.Empty(s.t, out)
		require.Contains(s.t, errs, "the store is read-only", "%v", args)
		require.Equal(s.t, 1, strings.Count(errs, "\n"), "%v: %s", args, errs)
	}
}

// requireMounts mounts what can be mounted, compares it and unmounts it by its
// target.
func (s *readStore) requireMounts(want map[string]fstest.Tree) {
	s.t.Helper()
	for _, name := range s.mountable() {
		s.must("mount", name, s.in("m"))
		fstest.RequireEqual(s.t, want[name], fstest.FromPath(s.t, s.in("m")), name)
		require.ErrorIs(s.t, os.WriteFile(s.in("m/new"), nil, 0o600), unix.EROFS)
		code, _, errs := s.run("mount", "view", s.in("m"))
		require.Equal(s.t, exitState, code, errs)
		s.must("umount", s.in("m"))
		code, _, errs = s.run("umount", s.in("m"))
		require.Equal(s.t, exitNotFound, code, errs)
	}
}

// mountable are those that can be mounted from a store that is read-only.
func (s *readStore) mountable() []string {
	names := []string{"committed", "view", demoImageName}
	if s.writable {
		names = append(names, "active")
	}
	return names
}

// shown are the trees of what is mounted while the store is writable.
func (s *readStore) shown() map[string]fstest.Tree {
	s.t.Helper()
	trees := map[string]fstest.Tree{}
	for _, name := range s.mountable() {
		s.must("mount", name, s.in("m"))
		trees[name] = fstest.FromPath(s.t, s.in("m"))
		s.must("umount", s.in("m"))
	}
	return trees
}

func TestAReadOnlyDiskGivesNothingBackAndAllAnswers(t *testing.T) {
	for _, c := range []struct {
		driver string
		fs     fstest.FS
		frozen bool
	}{
		{"overlay2", fstest.Ext4, false}, {"overlay2", fstest.Ext4, true}, {"overlay2", fstest.XFS, false},
		{"vfs", fstest.Ext4, false}, {"vfs", fstest.XFS, true},
		{"btrfs", fstest.Btrfs, false}, {"btrfs", fstest.Btrfs, true},
		{"aufs", fstest.Ext4, false},
	} {
		t.Run(fmt.Sprintf("%s/%s/frozen=%v", c.driver, c.fs, c.frozen), func(t *testing.T) {
			dir := fstest.Scratch(t, c.fs)
			s := newReadStore(t, dir, c.driver)
			trees, want := s.shown(), s.answers()
			if c.frozen {
				fstest.MountFrozen(t, dir, c.fs)
			} else {
				fstest.Remount(t, dir, true)
			}
			_, _, errs := s.run("ls")
			require.Equal(t, 1, strings.Count(errs, "\n"), errs)
			require.Contains(t, errs, "level=WARN", "it says once that it has found that out")
			require.Contains(t, errs, "read-only")

			require.Equal(t, want, s.answers())
			s.requireUnchangeable()
			s.requireMounts(trees)
			require.Contains(t, s.must("version"), "the store is read-only")
			code, _, errs := s.run("serve", "--address", s.in("socket"))
			require.Equal(t, exitState, code, errs)
			archive := s.must("export", "committed", "-")
			if c.frozen {
				return
			}
			fstest.Remount(t, dir, false)
			require.Equal(t, digestOf([]byte(archive)), digestOf([]byte(s.must("export", "committed", "-"))),
				"a layer that cannot be kept is packed as one that can")
		})
	}
}

// A file system that is made of a list of files keeps no change times and other
// inode numbers, and says what files take in its own way. Squashfs keeps no
// fractions of seconds either; here there are none.
func TestAStoreInAnImageOfAFileSystemIsRead(t *testing.T) {
	for _, name := range []string{"overlay2", "vfs", "aufs"} {
		for _, kind := range []fstest.FS{fstest.Squashfs, fstest.Erofs} {
			t.Run(name+"/"+string(kind), func(t *testing.T) {
				alltest.SkipInShort(t, name)
				s := newReadStore(t, fstest.Scratch(t, fstest.Ext4), name)
				trees, want := s.shown(), s.answers()
				s.root = fstest.Packed(t, kind, s.root)
				got := s.answers()
				for command := range want {
					word, _, _ := strings.Cut(command, " ")
					if word != "info" && word != "usage" && word != "mounts" {
						require.Equal(t, want[command], got[command], command)
					}
				}
				s.requireUnchangeable()
				s.requireMounts(trees)
			})
		}
	}
}

func TestADiskThatHasMadeItselfReadOnlyAfterAnErrorIsRead(t *testing.T) {
	dir := fstest.Scratch(t, fstest.Ext4)
	s := newReadStore(t, dir, "overlay2")
	trees, want := s.shown(), s.answers()
	fstest.FailExt4(t, dir)
	require.ErrorIs(t, os.WriteFile(filepath.Join(dir, "new"), nil, 0o600), unix.EROFS)
	require.Equal(t, want, s.answers())
	s.requireUnchangeable()
	s.requireMounts(trees)
}

func TestAMountThatIsRecordedIsUnmountedAndForgottenLater(t *testing.T) {
	dir := fstest.Scratch(t, fstest.Ext4)
	s := newReadStore(t, dir, "overlay2")
	s.must("mount", demoImageName, s.in("m"))
	listed := s.must("ls")
	require.Contains(t, listed, s.in("m"))
	fstest.Remount(t, dir, true)
	require.Equal(t, listed, s.must("ls"))
	s.must("umount", s.in("m"))
	require.NotContains(t, s.must("ls"), s.in("m"))
	fstest.Remount(t, dir, false)
	require.Contains(t, s.must("gc"), "forgot 1 mount")
}

func TestAskedToReadAloneNotATimeInTheStoreChanges(t *testing.T) {
	for _, name := range all.Names() {
		t.Run(name, func(t *testing.T) {
			alltest.SkipInShort(t, name)
			dir := alltest.Place(t, t.TempDir(), name)
			s := newReadStore(t, dir, name)
			trees, want := s.shown(), s.answers()
			s.leavePending("killed")
			before := fstest.Inventory(t, s.root)
			s.flags = []string{"--read-only"}

			require.Equal(t, want, s.answers(), "what a killed process was making is not shown")
			code, _, errs := s.run("info", "killed")
			require.Equal(t, exitNotFound, code, errs)
			s.requireUnchangeable()
			s.requireMounts(trees)
			s.must("export", "committed", "-")
			s.must("version")
			s.must("__complete", "info", "")
			code, _, errs = s.run("serve")
			require.Equal(t, exitUsage, code, errs)
			require.Equal(t, before, fstest.Inventory(t, s.root))
		})
	}
}

// A check, and a repair that is only tried, change nothing, also where there is
// something to repair and what a killed process has left.
func TestWhatOnlyLooksForDamageChangesNothing(t *testing.T) {
	for _, name := range all.Names() {
		t.Run(name, func(t *testing.T) {
			alltest.SkipInShort(t, name)
			dir := alltest.Place(t, t.TempDir(), name)
			s := newReadStore(t, dir, name)
			s.leavePending("killed")
			records, err := filepath.Glob(filepath.Join(s.root, name, "*/layer.json"))
			require.NoError(t, err)
			blobs, err := filepath.Glob(filepath.Join(s.root, "content/blobs/sha256/*"))
			require.NoError(t, err)
			if len(records) > 0 { // aufs keeps them elsewhere
				require.NoError(t, os.Remove(records[0]))
			}
			require.NoError(t, os.Remove(blobs[0]))
			require.NoError(t, os.WriteFile(filepath.Join(s.root, ".tmp-1"), nil, 0o600))
			tries := func(want int, lines ...[]string) {
				t.Helper()
				before := fstest.Inventory(t, s.root)
				for _, args := range lines {
					code, out, errs := s.run(args...)
					require.Equal(t, want, code, "%v: %s%s", args, out, errs)
					require.Equal(t, before, fstest.Inventory(t, s.root), "%v", args)
				}
			}
			tries(exitDamaged, []string{"check"}, []string{"check", "--read-data"})
			code, out, errs := s.run("repair", "--dry-run")
			require.NotEmpty(t, out, errs)
			tries(code, []string{"repair", "--dry-run"}, []string{"repair", "--dry-run", "--read-data"})
			tries(exitState, []string{"repair", "--rebuild", "--dry-run"})
			require.NoError(t, os.Truncate(filepath.Join(s.root, "meta.db"), 0))
			tries(exitDamaged, []string{"check"}, []string{"repair", "--dry-run"})
			code, _, errs = s.run("repair", "--rebuild", "--dry-run")
			require.Contains(t, []int{exitDone, exitDamaged}, code, errs)
			tries(code, []string{"repair", "--rebuild", "--dry-run"})
			require.NoError(t, os.Remove(filepath.Join(s.root, "layerkeep.json")))
			require.NoError(t, os.Remove(filepath.Join(s.root, "lock")))
			tries(code, []string{"repair", "--rebuild", "--dry-run"})
		})
	}
}

// leavePending writes the row of a snapshot that is being made.
func (s *readStore) leavePending(key string) {
	s.t.Helper()
	db, err := meta.Open(filepath.Join(s.root, "meta.db"))
	require.NoError(s.t, err)
	require.NoError(s.t, db.Update(func(tx *meta.Tx) error {
		_, err := tx.CreateSnapshot(meta.Snapshot{Name: key, Kind: meta.Active, State: meta.Pending})
		return err
	}))
	require.NoError(s.t, db.Close())
}

func TestAReadOnlyBindOfAWritableStoreIsReadBesideNobody(t *testing.T) {
	dir := demoStore(t)
	target := t.TempDir()
	require.NoError(t, unix.Mount(dir, target, "", unix.MS_BIND, ""))
	t.Cleanup(func() { require.NoError(t, unix.Unmount(target, 0)) })
	require.NoError(t, unix.Mount("", target, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))
	require.Equal(t, mustRun(t, dir, "ls"), mustRun(t, target, "ls"))

	a := &app{streams: streams{Err: os.Stderr}}
	a.global.root = filepath.Join(dir, "store")
	require.NoError(t, a.setUpForTest())
	held, err := a.openHere(t.Context(), lockTimeout)
	require.NoError(t, err)
	defer func() { require.NoError(t, held.Close()) }()
	code, _, errs := runStory(t.Context(), target, nil, "ls")
	require.Equal(t, exitState, code, errs)
	require.Contains(t, errs, "locked by process")
}

func TestThroughAServiceNothingIsChangedEither(t *testing.T) {
	dir := demoStore(t)
	s := &readStore{t: t, root: filepath.Join(dir, "store"), out: dir}
	require.NoError(t, os.WriteFile(s.in("layer.tar"), fstest.Layer(t, fstest.File("etc/mine", "mine")), 0o600))
	name := strings.Fields(strings.Split(s.must("images"), "\n")[1])[0]
	s.must("prepare", "active", name)
	s.must("apply", "active", s.in("layer.tar"))
	s.must("prepare", "key", name)
	s.must("commit", "committed", "key")
	serveStore(t, dir)
	want := s.must("ls")
	s.flags = []string{"--read-only"}
	require.Equal(t, want, s.must("ls"))
	for _, args := range [][]string{
		{"prepare", "new", name}, {"rm", "active"}, {"gc"}, {"export", "committed", "-"}, {"mount", "active", s.in("m")},
		{"apply", "active", s.in("layer.tar")}, {"commit", "new", "active"},
	} {
		code, _, errs := s.run(args...)
		require.Equal(t, exitState, code, "%v: %s", args, errs)
		require.Contains(t, errs, "the store is read-only")
	}
	s.must("export", name, "-")
	s.must("mount", name, s.in("m"))
	require.Equal(t, want, s.must("ls"), "there is no view and no record")
	s.must("umount", s.in("m"))
}

func TestAStoreIsNotMadeToBeReadAlone(t *testing.T) {
	dir := t.TempDir()
	code, _, errs := runStory(t.Context(), dir, nil, "--read-only", "ls")
	require.Equal(t, exitNotFound, code, errs)
	require.NoDirExists(t, filepath.Join(dir, "store"))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "store"), 0o755))
	code, _, errs = runStory(t.Context(), dir, nil, "--read-only", "ls")
	require.Equal(t, exitState, code, errs)
	require.Empty(t, inventoryBelow(t, filepath.Join(dir, "store")))
}

func inventoryBelow(t *testing.T, root string) map[string]string {
	t.Helper()
	list := fstest.Inventory(t, root)
	delete(list, root)
	return list
}

func TestReadOnlyIsAState(t *testing.T) {
	require.Equal(t, exitState, exitCode(fmt.Errorf("x: %w", driver.ErrReadOnly)))
	require.ErrorIs(t, driver.ErrReadOnly, unix.EROFS)
}
