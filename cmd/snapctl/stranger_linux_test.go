package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver/all"
	"github.com/layerkeep/layerkeep/driver/all/alltest"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// A trap is what somebody has put in the place of a file or directory of a
// store, which is at moved now.
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

// canary is in the directories that links lead to: it must never be read as if
// it were the store's.
const canary = "outside-of-the-store"

// A store on a disk that a stranger has prepared leads nowhere else, nothing
// waits for ever, and what is refused is named.
func TestAStoreThatAStrangerHasPreparedLeadsNowhere(t *testing.T) {
	for _, name := range all.Names() {
		t.Run(name, func(t *testing.T) {
			alltest.SkipInShort(t, name)
			dir := alltest.Place(t, t.TempDir(), name)
			s := newReadStore(t, dir, name)
			s.must("prepare", "bare")
			s.must("prepare", "key")
			s.must("commit", "single", "key") // its mount needs an empty directory below it
			s.must("mount", "single", s.in("m"))
			s.must("umount", s.in("m"))
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

// ownPlaces are the store's own files and directories: all that is no file of a
// layer or blob, and one blob.
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
	if errors.Is(err, unix.EROFS) || errors.Is(err, unix.EXDEV) || // a subvolume of a sealed layer, or in it: see package layerdir
		errors.Is(err, fs.ErrNotExist) { // a translation, which a command before has thrown away
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
		if strings.Contains(errs, "not safe to use") {
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

// tryingAll are command lines that leave the store as it was, and use
// everything in it.
func (s *readStore) tryingAll() [][]string {
	list := [][]string{{"--read-only", "ls"}, {"ls"}, {"images"}, {"check", "--read-data"}, {"repair", "--dry-run"}, {"repair", "--rebuild", "--dry-run"}}
	for _, key := range []string{"active", "committed", "bare", "single", "view", demoImageName} {
		list = append(list, []string{"info", key}, []string{"diff", key}, []string{"changes", key},
			[]string{"mount", key, s.in("m")}, []string{"umount", s.in("m")})
	}
	return append(list,
		[]string{"prepare", "new", demoImageName}, []string{"rm", "new"}, []string{"export", demoImageName, "-"}, []string{"gc"})
}

// Nothing that is made or removed goes where somebody else's links lead.
func TestMakingAndRemovingLayersFollowsNoLink(t *testing.T) {
	for _, name := range all.Names() {
		t.Run(name, func(t *testing.T) {
			alltest.SkipInShort(t, name)
			dir := alltest.Place(t, t.TempDir(), name)
			if err := alltest.Works(t, dir, name); err != nil {
				t.Skipf("backend %s does not work there: %v", name, err)
			}
			s := &readStore{t: t, root: filepath.Join(dir, "store"), out: t.TempDir()}
			elsewhere := filepath.Join(dir, "elsewhere")
			require.NoError(t, os.MkdirAll(elsewhere+"/fs", 0o700))
			for _, file := range []string{"incomplete", "layer.json", "merging", "torn", "diff"} { // as a layer has them
				require.NoError(t, os.WriteFile(filepath.Join(elsewhere, file), []byte("precious"), 0o600))
			}
			s.must("--driver", name, "prepare", "mine")
			layers := filepath.Join(s.root, name)
			if name == "aufs" {
				layers = filepath.Join(layers, ".layerkeep/layers")
			}
			var made []string
			for n := range 20 { // of the next layers, and one that is there
				path := filepath.Join(layers, strconv.Itoa(n))
				if _, err := os.Lstat(path); err == nil {
					require.NoError(t, os.Rename(path, path+".old"))
				}
				require.NoError(t, os.Symlink(elsewhere, path))
				made = append(made, path)
			}
			before := fstest.Inventory(t, elsewhere)
			for _, args := range [][]string{
				{"prepare", "new"}, {"view", "v"}, {"rm", "mine"}, {"rm", "new"}, {"commit", "c", "mine"}, {"rename", "mine", "yours"}, {"rename", "yours", "mine"}, {"gc"}, {"ls"}, {"repair"}, {"repair", "--rebuild"},
			} {
				code, _, errs := s.run(args...)
				require.Less(t, code, 128, errs)
				require.Equal(t, before, fstest.Inventory(t, elsewhere), "%v: %s", args, errs)
			}
			for _, path := range made {
				if info, err := os.Lstat(path); err == nil && info.Mode().Type() == fs.ModeSymlink {
					require.NoError(t, os.Remove(path))
				}
			}
		})
	}
}

// A store of somebody else is refused, but to be read, and left as it is.
func TestAStoreThatBelongsToSomebodyElseIsRefused(t *testing.T) {
	s := newReadStore(t, alltest.Place(t, t.TempDir(), "overlay2"), "overlay2")
	if err := os.Lchown(s.root, 4711, 0); err != nil {
		t.Skipf("nothing can be given away here: %v", err)
	}
	require.NoError(t, os.Chmod(s.root, 0o755))
	before := fstest.Inventory(t, s.root)
	for _, args := range [][]string{{"ls"}, {"prepare", "new", demoImageName}, {"gc"}, {"repair", "--rebuild"}} {
		code, _, errs := s.run(args...)
		require.Equal(t, exitState, code, "%v: %s", args, errs)
		require.Contains(t, errs, s.root+" belongs to user 4711", "%v", args)
	}
	s.must("--read-only", "ls")
	require.Equal(t, before, fstest.Inventory(t, s.root))
	require.NoError(t, os.Lchown(s.root, 0, 0))
	s.must("ls")
}
