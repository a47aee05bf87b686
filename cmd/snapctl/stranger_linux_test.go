package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver/all"
	"github.com/layerkeep/layerkeep/driver/all/alltest"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// A trap is what somebody has put in the place of a file or directory of a store, which is
// at moved now.
type trap struct {
	name string
	set  func(place, moved string) error
}

func traps() []trap {
	return []trap{
		{"a link to it elsewhere", func(place, moved string) error { return os.Symlink(moved, place) }},
		{"a link to nothing", func(place, moved string) error { return os.Symlink(moved+"-new", place) }},
		{"a fifo", func(place, _ string) error { return unix.Mkfifo(place, 0o600) }},
	}
}

// canary is in the directories that links lead to: it must never be read as if it were the
// store's.
const canary = "outside-of-the-store"

// A store on a disk that a stranger has prepared leads nowhere else, nothing waits for
// ever, and what is refused is named.
func TestAStoreThatAStrangerHasPreparedLeadsNowhere(t *testing.T) {
	for _, name := range all.Names() {
		t.Run(name, func(t *testing.T) {
			alltest.SkipInShort(t, name)
			dir := alltest.Place(t, t.TempDir(), name)
			s := newReadStore(t, dir, name)
			s.must("prepare", "bare")
			answers := s.answers()
			for i, place := range ownPlaces(t, s.root, name) {
				set := traps()
				if strings.Count(place, "/") > 1 || testing.Short() { // there is more than one of the kind
					set = set[i%len(set):][:1]
				}
				for _, trap := range set {
					t.Run(place+"/"+trap.name, func(t *testing.T) { s.spring(t, dir, place, trap) })
				}
			}
			after := s.answers()
			for command := range answers {
				require.True(t, answers[command] == after[command], "%s: not as before", command)
			}
		})
	}
}

// ownPlaces are the store's own files and directories: all that is no file of a layer or
// blob, and one blob.
func ownPlaces(t *testing.T, root, driverName string) (places []string) {
	t.Helper()
	trees := map[string]bool{"fs": true, "tree": true, "work": true}
	blob := false
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(root, path)
		parts := strings.Split(rel, "/")
		switch {
		case err != nil || rel == ".":
			return err
		case parts[0] == "content" && len(parts) == 4:
			if blob {
				return nil
			}
			blob = true
		}
		places = append(places, rel)
		branch := driverName == "aufs" && len(parts) == 3 && parts[1] == "diff"
		if e.IsDir() && (trees[e.Name()] || branch) {
			return fs.SkipDir
		}
		return nil
	})
	require.NoError(t, err)
	require.True(t, blob)
	return places
}

// spring puts the trap in its place, tries everything, and puts things back.
func (s *readStore) spring(t *testing.T, dir, place string, trap trap) {
	elsewhere := filepath.Join(dir, "elsewhere")
	require.NoError(t, os.Mkdir(elsewhere, 0o700))
	path, moved := filepath.Join(s.root, place), filepath.Join(elsewhere, filepath.Base(place))
	err := os.Rename(path, moved)
	if errors.Is(err, unix.EROFS) || errors.Is(err, unix.EXDEV) { // a subvolume of a sealed layer, or in it: see package layerdir
		require.NoError(t, os.Remove(elsewhere))
		return
	}
	require.NoError(t, err)
	info, err := os.Lstat(moved)
	require.NoError(t, err)
	if info.IsDir() {
		require.NoError(t, os.WriteFile(filepath.Join(moved, canary), []byte(canary), 0o600))
	}
	require.NoError(t, trap.set(path, moved))
	before := fstest.Inventory(t, elsewhere)
	defer func() {
		require.NoError(t, os.Remove(path))
		if info.IsDir() {
			require.NoError(t, os.Remove(filepath.Join(moved, canary)))
			require.NoError(t, os.Chtimes(moved, info.ModTime(), info.ModTime()))
		}
		require.NoError(t, os.Rename(moved, path))
		require.NoError(t, os.Remove(elsewhere))
	}()

	refused := 0
	for _, args := range s.tryingAll() {
		code, out, errs := s.run(args...)
		require.NotContains(t, out, canary, "%v", args)
		if args[0] == "mount" {
			_, err := os.Lstat(s.in("m/" + canary))
			require.ErrorIs(t, err, fs.ErrNotExist, "%v", args)
		}
		if code == exitDone {
			continue
		}
		if strings.Contains(errs, "not a store's own file") {
			refused++
			require.Contains(t, errs, path, "%v", args)
		}
		if args[0] == "mount" && code == exitUnsupported { // without aufs in the kernel
			continue
		}
		require.Contains(t, []int{exitState, exitDamaged, exitNotFound, exitFailed}, code, "%v: %s", args, errs)
	}
	require.Positive(t, refused, "nobody has noticed")
	require.Equal(t, before, fstest.Inventory(t, elsewhere), "what is elsewhere was touched")
	_, err = os.Lstat(moved + "-new")
	require.ErrorIs(t, err, fs.ErrNotExist, "something was made elsewhere")
	info2, err := os.Lstat(path)
	require.NoError(t, err, "what was refused stays")
	require.NotZero(t, info2.Mode().Type()&(fs.ModeSymlink|fs.ModeNamedPipe))
}

// tryingAll are command lines that leave the store as it was, and use everything in it.
func (s *readStore) tryingAll() [][]string {
	list := [][]string{{"--read-only", "ls"}, {"ls"}, {"images"}, {"check", "--read-data"}, {"repair", "--dry-run"}, {"repair", "--rebuild", "--dry-run"}}
	for _, key := range []string{"active", "committed", "bare", "view", demoImageName} {
		list = append(list, []string{"info", key}, []string{"diff", key}, []string{"changes", key},
			[]string{"mount", key, s.in("m")}, []string{"umount", s.in("m")})
	}
	return append(list,
		[]string{"prepare", "new", demoImageName}, []string{"rm", "new"}, []string{"export", demoImageName, "-"}, []string{"gc"})
}

// What others can change is refused, but to be read.
func TestAStoreThatOthersCanChangeIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	for _, name := range []string{".", "meta.db", "layerkeep.json", "lock", "content", "content/blobs", "overlay2"} {
		t.Run(name, func(t *testing.T) {
			s := newReadStore(t, alltest.Place(t, t.TempDir(), "overlay2"), "overlay2")
			path := filepath.Join(s.root, name)
			refusing := func(want string) {
				commands := [][]string{{"ls"}, {"prepare", "new", demoImageName}, {"gc"}}
				if !strings.Contains(name, "/") { // it finds first that there is nothing to do
					commands = append(commands, []string{"repair", "--rebuild"})
				}
				for _, args := range commands {
					code, _, errs := s.run(args...)
					require.Equal(t, exitState, code, "%v: %s", args, errs)
					require.Contains(t, errs, want, "%v", args)
				}
				s.must("--read-only", "ls")
			}
			info, err := os.Lstat(path)
			require.NoError(t, err)
			if name != "." { // the mode of the root is set when the store is opened
				require.NoError(t, os.Chmod(path, info.Mode()|0o002))
				refusing(path + " can be written by others")
				require.NoError(t, os.Chmod(path, info.Mode()))
			}
			require.NoError(t, os.Lchown(path, 4711, 0))
			refusing(path + " belongs to user 4711")
			require.NoError(t, os.Lchown(path, 0, 0))
			s.must("ls")
		})
	}
}
