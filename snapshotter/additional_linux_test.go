package snapshotter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/driver/all"
	"github.com/layerkeep/layerkeep/driver/all/alltest"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/mount"
)

// eachBorrower runs a test for every backend that is a [driver.Borrower]. For
// the other backends it tests that Open refuses an additional store and advises
// to import the image.
func eachBorrower(t *testing.T, test func(t *testing.T, dir, name string)) {
	for _, name := range all.Names() {
		t.Run(name, func(t *testing.T) {
			alltest.SkipInShort(t, name)
			dir := alltest.Place(t, memDir(t), name)
			root := filepath.Join(dir, "probe")
			s, err := Open(t.Context(), root, Options{Driver: name})
			require.NoError(t, err)
			_, can := s.driver.(driver.Borrower)
			require.NoError(t, s.Close())
			if can {
				test(t, dir, name)
				return
			}
			_, err = Open(t.Context(), root, Options{Additional: []string{filepath.Join(dir, "other")}})
			require.ErrorIs(t, err, driver.ErrUnsupported)
			require.ErrorContains(t, err, "import the image")
		})
	}
}

// layerIn commits a snapshot with one file over its parent.
func layerIn(t testing.TB, s *Snapshotter, name, parent string, labels map[string]string) {
	t.Helper()
	key := name + " key"
	require.NoError(t, s.Create(t.Context(), key, parent))
	layer := fstest.Layer(t, fstest.File("from "+strings.ReplaceAll(name, "/", "-"), name), fstest.File("shared", "of "+name))
	_, err := s.Apply(t.Context(), key, bytes.NewReader(layer), driver.ApplyOptions{})
	require.NoError(t, err)
	require.NoError(t, s.Commit(t.Context(), name, key, snapshots.WithLabels(labels)))
}

// chainIn makes a new store, commits "base", and "top" over it, and closes the
// store.
func chainIn(t *testing.T, dir, name, root string) string {
	t.Helper()
	root = filepath.Join(dir, root)
	s, err := Open(t.Context(), root, Options{Driver: name})
	require.NoError(t, err)
	layerIn(t, s, "base", "", map[string]string{"l": "of base", LabelForeign: "x"})
	layerIn(t, s, "top", "base", nil)
	require.NoError(t, s.Close())
	return root
}

func treeIn(t testing.TB, s *Snapshotter, key string) fstest.Tree {
	t.Helper()
	v, err := s.OpenView(t.Context(), key)
	require.NoError(t, err)
	defer v.Close()
	return fstest.FromView(t, v)
}

func TestASnapshotOfAnAdditionalStoreIsUsedWithoutACopy(t *testing.T) {
	eachBorrower(t, func(t *testing.T, dir, name string) {
		other := chainIn(t, dir, name, "other")
		lender, err := Open(t.Context(), other, Options{ReadOnly: true})
		require.NoError(t, err)
		want, changes := treeIn(t, lender, "top"), diffOf(t, lender, "top")
		id := lender.ID()
		require.NoError(t, lender.Close())
		before := fstest.Inventory(t, other)

		root := filepath.Join(dir, "own")
		s, err := Open(t.Context(), root, Options{Driver: name, Additional: []string{other}})
		require.NoError(t, err)
		require.Empty(t, namesOf(t, s), "nothing is borrowed before it is named")
		_, err = s.Stat(t.Context(), "nothing")
		require.True(t, errdefs.IsNotFound(err))
		require.Empty(t, namesOf(t, s))
		require.NoError(t, s.Create(t.Context(), "work", "top"))
		require.Equal(t, []string{"base", "top", "work"}, namesOf(t, s))
		rows := rowsOf(t, s)
		require.Equal(t, [3]string{id, "base", id + ".1"}, [3]string{rows["base"].Store, rows["base"].Origin, rows["base"].Layer})
		require.Equal(t, map[string]string{"l": "of base"}, rows["base"].Labels)
		require.Equal(t, "base", rows["top"].Parent)
		usage, err := s.Usage(t.Context(), "top")
		require.NoError(t, err)
		require.Zero(t, usage)

		fstest.RequireEqual(t, want, treeIn(t, s, "work"), "what stands on it")
		fstest.RequireEqual(t, want, treeIn(t, s, "top"), "itself")
		require.Equal(t, changes, diffOf(t, s, "top"))
		_, err = s.Apply(t.Context(), "work", bytes.NewReader(fstest.Layer(t, fstest.Whiteout("shared"), fstest.File("mine", ""))), driver.ApplyOptions{})
		require.NoError(t, err)
		require.NoError(t, s.Commit(t.Context(), "mine", "work"))
		_, err = s.View(t.Context(), "look", "base")
		require.NoError(t, err)
		_, err = s.MountValues(t.Context(), "top", driver.MountOptions{})
		require.NoError(t, err)
		if s.driver.Properties().Rebase {
			require.NoError(t, s.Create(t.Context(), "alone", ""))
			_, err = s.Apply(t.Context(), "alone", bytes.NewReader(fstest.Layer(t, fstest.File("x", ""))), driver.ApplyOptions{Detached: true})
			require.NoError(t, err)
			require.NoError(t, s.Commit(t.Context(), "rebased", "alone", func(i *snapshots.Info) error { i.Parent = "top"; return nil }))
			require.Contains(t, treeIn(t, s, "rebased"), "from base")
			require.NoError(t, s.Remove(t.Context(), "rebased"))
		}
		layers, err := s.Inspect(t.Context())
		require.NoError(t, err)
		for _, l := range layers {
			require.Empty(t, l.Faults, l.Name)
		}
		require.True(t, errdefs.IsFailedPrecondition(s.Remove(t.Context(), "top")), "something stands on it")
		for _, key := range []string{"look", "mine", "top", "base"} {
			require.NoError(t, s.Remove(t.Context(), key))
		}
		require.NoError(t, s.Cleanup(t.Context()))
		require.Empty(t, namesOf(t, s))
		_, err = s.Stat(t.Context(), "top")
		require.NoError(t, err, "what was only forgotten is borrowed again")
		require.NoError(t, s.Close())
		require.Equal(t, before, fstest.Inventory(t, other), "every name, attribute and time of the other store")
	})
}

// requireElsewhere requires that an error names the additional store that is
// missing.
func requireElsewhere(t *testing.T, err error, id, what string) {
	t.Helper()
	require.ErrorIs(t, err, ErrElsewhere, what)
	require.ErrorIs(t, err, ErrLayerDamaged, what)
	require.True(t, errdefs.IsDataLoss(err), what)
	require.False(t, errdefs.IsNotFound(err), "%s: an engine would take the snapshot for missing", what)
	require.ErrorContains(t, err, id, what)
	require.ErrorContains(t, err, "--additional", what)
}

func TestWhatStandsOnAStoreThatIsNotGivenWaitsForIt(t *testing.T) {
	eachBorrower(t, func(t *testing.T, dir, name string) {
		other, root := chainIn(t, dir, name, "other"), filepath.Join(dir, "own")
		s, err := Open(t.Context(), root, Options{Driver: name, Additional: []string{other}})
		require.NoError(t, err)
		id := s.Additional()[0].ID()
		require.NoError(t, s.Create(t.Context(), "box", "top"))
		_, err = s.View(t.Context(), "look", "top")
		require.NoError(t, err)
		layerIn(t, s, "own", "", nil)
		want := treeIn(t, s, "box")
		require.NoError(t, s.Close())

		gone := other + "-gone"
		var log bytes.Buffer
		for what, opts := range map[string]Options{
			"not given": {}, "gone": {Additional: []string{gone}}, "empty": {Additional: []string{t.TempDir()}}, "another": {Additional: []string{chainIn(t, dir, name, "another")}},
		} {
			opts.Logger = slog.New(slog.NewTextHandler(&log, nil))
			s, err := Open(t.Context(), root, opts)
			require.NoError(t, err, what)
			for call, fn := range callsOn(s) {
				requireElsewhere(t, fn(t.Context()), id, what+": "+call)
			}
			_, err = s.MountValues(t.Context(), "box", driver.MountOptions{})
			requireElsewhere(t, err, id, what)
			_, err = s.Mounts(t.Context(), "look")
			requireElsewhere(t, err, id, what)
			requireElsewhere(t, s.Usable(t.Context(), "top"), id, what)
			err = s.Renew(t.Context(), "top", strings.NewReader(""), driver.ApplyOptions{DiffID: "sha256:x"})
			require.ErrorIs(t, err, ErrReadOnly, what)
			require.ErrorContains(t, err, id, what)
			require.ErrorIs(t, s.Reinscribe(t.Context(), "top", false), ErrReadOnly, what)
			layers, err := s.Inspect(t.Context())
			require.NoError(t, err)
			faults := 0
			for _, l := range layers {
				if len(l.Faults) > 0 {
					faults++
					requireElsewhere(t, l.Faults[0], id, what+": check of "+l.Name)
				}
			}
			require.Equal(t, 2, faults, "base and top")
			for _, key := range []string{"box", "look", "top", "base", "own"} {
				_, err := s.Stat(t.Context(), key)
				require.NoError(t, err, what)
				_, err = s.Usage(t.Context(), key)
				require.NoError(t, err, what)
			}
			layerIn(t, s, "more "+what, "own", nil)
			require.NoError(t, s.Remove(t.Context(), "more "+what))
			require.NoError(t, s.Cleanup(t.Context()))
			require.NoError(t, s.Close())
			require.Equal(t, what == "gone" || what == "empty", strings.Contains(log.String(), "cannot be used now"), what+log.String())
			require.NotContains(t, log.String(), "missing", what)
			log.Reset()
		}
		s = openAt(t, root, Options{Additional: []string{other}})
		fstest.RequireEqual(t, want, treeIn(t, s, "box"), "when it is given again")
		require.NoError(t, s.Create(t.Context(), "box2", "top"))
	})
}

func TestWhatStandsOnAMissingStoreCanBeRemoved(t *testing.T) {
	eachBorrower(t, func(t *testing.T, dir, name string) {
		other, root := chainIn(t, dir, name, "other"), filepath.Join(dir, "own")
		s, err := Open(t.Context(), root, Options{Driver: name, Additional: []string{other}})
		require.NoError(t, err)
		require.NoError(t, s.Create(t.Context(), "box", "top"))
		require.NoError(t, s.Close())
		s = openAt(t, root, Options{})
		for _, key := range []string{"box", "top", "base"} {
			require.NoError(t, s.Remove(t.Context(), key))
		}
		require.Empty(t, namesOf(t, s))
		layers, err := s.driver.Layers(t.Context())
		require.NoError(t, err)
		require.Empty(t, layers)
	})
}

func TestAnotherLayerInThePlaceOfABorrowedOneIsNotTakenForIt(t *testing.T) {
	eachBorrower(t, func(t *testing.T, dir, name string) {
		other, root := chainIn(t, dir, name, "other"), filepath.Join(dir, "own")
		s, err := Open(t.Context(), root, Options{Driver: name, Additional: []string{other}})
		require.NoError(t, err)
		id := s.Additional()[0].ID()
		require.NoError(t, s.Create(t.Context(), "box", "top"))
		_, err = s.Stat(t.Context(), "base")
		require.NoError(t, err)
		require.NoError(t, s.Close())

		lender, err := Open(t.Context(), other, Options{})
		require.NoError(t, err)
		require.NoError(t, lender.Remove(t.Context(), "top"))
		layerIn(t, lender, "top", "base", nil)
		require.NoError(t, lender.Close())
		s = openAt(t, root, Options{Additional: []string{other}})
		requireElsewhere(t, s.Create(t.Context(), "on", "top"), id, "its layer has another number")
		_, err = s.OpenView(t.Context(), "box")
		requireElsewhere(t, err, id, "its layer has another number")
		require.NoError(t, s.Create(t.Context(), "fine", "base"))
		require.NoError(t, s.Remove(t.Context(), "box"))
		require.NoError(t, s.Create(t.Context(), "on", "top"), "nothing stands on the old one any more")
		require.Contains(t, treeIn(t, s, "on"), "from top")
	})
}

func TestTheStoreItselfAndThenTheFirstAdditionalOneWin(t *testing.T) {
	eachBorrower(t, func(t *testing.T, dir, name string) {
		chainID := "sha256:" + strings.Repeat("a", 64)
		verified := map[string]string{LabelChainID: chainID}
		build := func(root string, fill func(s *Snapshotter)) string {
			s, err := Open(t.Context(), filepath.Join(dir, root), Options{Driver: name})
			require.NoError(t, err)
			fill(s)
			require.NoError(t, s.Close())
			return s.Root()
		}
		first := build("first", func(s *Snapshotter) {
			layerIn(t, s, "user", "", nil)
			layerIn(t, s, "on user", "user", nil)
			layerIn(t, s, chainID, "", verified)
			layerIn(t, s, "on chain", chainID, nil)
			layerIn(t, s, "both", "", map[string]string{"is": "first"})
			layerIn(t, s, "@engine/x", "", nil)
			layerIn(t, s, "on engine", "@engine/x", nil)
			require.NoError(t, s.Create(t.Context(), "active", ""))
		})
		second := build("second", func(s *Snapshotter) {
			layerIn(t, s, "both", "", map[string]string{"is": "second"})
			layerIn(t, s, "second", "both", nil)
		})
		own := build("own", func(s *Snapshotter) {
			layerIn(t, s, "user", "", map[string]string{"is": "own"})
			layerIn(t, s, chainID, "", verified)
		})
		s := openAt(t, own, Options{Additional: []string{first, second}})
		for _, key := range []string{"on user", "on chain", "both", "second", "on engine"} {
			require.NoError(t, s.Create(t.Context(), "on "+key, key))
		}
		rows := rowsOf(t, s)
		ids := [2]string{s.Additional()[0].ID(), s.Additional()[1].ID()}
		require.Empty(t, rows["user"].Store, "ours")
		require.Equal(t, "@/additional/"+ids[0]+"/1", rows["on user"].Parent, "not on ours of that name")
		require.Equal(t, chainID, rows["on chain"].Parent, "on ours, which holds the same")
		require.Empty(t, rows[chainID].Store)
		require.Equal(t, "first", rows["both"].Labels["is"])
		require.Equal(t, "@/additional/"+ids[1]+"/1", rows["second"].Parent)
		require.Equal(t, "@/additional/"+ids[0]+"/6", rows["on engine"].Parent, "it is in no scope of ours")
		_, err := s.Stat(t.Context(), "active")
		require.True(t, errdefs.IsNotFound(err), "only what is committed is borrowed")
		_, err = s.Stat(t.Context(), "@engine/x")
		require.True(t, errdefs.IsNotFound(err), "what is an engine's is nobody else's")
		for _, key := range []string{"on on user", "on second", "on on chain", "on on engine"} {
			require.Contains(t, treeIn(t, s, key), "shared")
		}
		require.Equal(t, "of on user", string(bodyOf(t, s, "on on user", "shared")))
		require.Contains(t, treeIn(t, s, "on on user"), "from user")
	})
}

func bodyOf(t *testing.T, s *Snapshotter, key, path string) []byte {
	t.Helper()
	v, err := s.OpenView(t.Context(), key)
	require.NoError(t, err)
	defer v.Close()
	root, err := v.Root()
	require.NoError(t, err)
	defer root.Close()
	f, err := root.Open(path)
	require.NoError(t, err)
	defer f.Close()
	raw, err := io.ReadAll(f)
	require.NoError(t, err)
	return raw
}

func TestAdditionalStoresThatCannotBeAreRefusedByName(t *testing.T) {
	eachBorrower(t, func(t *testing.T, dir, name string) {
		other, root := chainIn(t, dir, name, "other"), chainIn(t, dir, name, "own")
		link := filepath.Join(dir, "link")
		require.NoError(t, os.Symlink(other, link))
		copied := filepath.Join(dir, "copy")
		require.NoError(t, os.CopyFS(copied, os.DirFS(other)))
		own := filepath.Join(dir, "own copy")
		require.NoError(t, os.CopyFS(own, os.DirFS(root)))
		refused := func(kind error, text string, additional ...string) {
			t.Helper()
			_, err := Open(t.Context(), root, Options{Additional: additional})
			require.ErrorIs(t, err, kind)
			require.ErrorContains(t, err, text)
		}
		refused(errdefs.ErrInvalidArgument, "itself", root)
		refused(errdefs.ErrInvalidArgument, "itself", own)
		refused(errdefs.ErrInvalidArgument, "twice", other, link)
		refused(errdefs.ErrInvalidArgument, "copy", other, copied)
		refused(errdefs.ErrInvalidArgument, "at most 16", make([]string, 17)...)

		head, err := readHeader(other)
		require.NoError(t, err)
		change := func(fn func(*header)) {
			changed := head
			fn(&changed)
			require.NoError(t, writeHeader(other, changed))
		}
		change(func(h *header) { h.Driver = "another" })
		refused(ErrOtherDriver, "import the image", other)
		change(func(*header) {})
		s := openAt(t, root, Options{Additional: []string{other}})
		require.Len(t, s.Additional(), 1, "after all that it can be opened")
	})
}

// TestADamagedBorrowedLayerIsToldByItsStore removes the record of a borrowed
// layer.
func TestADamagedBorrowedLayerIsToldByItsStore(t *testing.T) {
	eachBorrower(t, func(t *testing.T, dir, name string) {
		other, root := chainIn(t, dir, name, "other"), filepath.Join(dir, "own")
		s := openAt(t, root, Options{Driver: name, Additional: []string{other}})
		require.NoError(t, s.Create(t.Context(), "box", "top"))
		require.NoError(t, os.Remove(filepath.Join(other, name, "1", "layer.json")))
		err := s.Create(t.Context(), "on", "top")
		require.ErrorIs(t, err, ErrElsewhere)
		require.ErrorContains(t, err, s.Additional()[0].ID())
		require.ErrorContains(t, err, "repair that store")
		layers, err := s.Inspect(t.Context())
		require.NoError(t, err)
		require.ErrorIs(t, layers[0].Faults[0], ErrLayerMissing)
	})
}

// TestAKillAroundABorrowLeavesAllOrNothing ends the process at each
// transaction.
func TestAKillAroundABorrowLeavesAllOrNothing(t *testing.T) {
	eachBorrower(t, func(t *testing.T, dir, name string) {
		other := chainIn(t, dir, name, "other")
		killed := errors.New("killed")
		for i, point := range []string{"borrow before", "borrow after", "announce before", "announce after", "activate before"} {
			root := filepath.Join(dir, fmt.Sprint("own-", i))
			opts := Options{Driver: name, Additional: []string{other}}
			crash := opts
			dead := false
			crash.hook = func(at string) error {
				if dead = dead || at == point; dead {
					return killed
				}
				return nil
			}
			s, err := Open(t.Context(), root, crash)
			require.NoError(t, err)
			call := func(s *Snapshotter) error { return s.Create(t.Context(), "box", "top") }
			if strings.HasPrefix(point, "borrow") {
				call = func(s *Snapshotter) error { _, err := s.OpenView(t.Context(), "top"); return err }
			}
			require.ErrorIs(t, call(s), killed, point)
			require.NoError(t, s.Close())

			s = openAt(t, root, Options{Additional: []string{other}})
			names := strings.Join(namesOf(t, s), " ")
			require.Contains(t, []string{"", "base top", "base box top"}, names, point)
			if !strings.Contains(names, "box") {
				require.NoError(t, s.Create(t.Context(), "box", "top"), point)
			}
			require.Contains(t, treeIn(t, s, "box"), "from base", point)
		}
	})
}

func TestManyCallsBorrowOneSnapshotSideBySide(t *testing.T) {
	eachBorrower(t, func(t *testing.T, dir, name string) {
		other := chainIn(t, dir, name, "other")
		s := openAt(t, filepath.Join(dir, "own"), Options{Driver: name, Additional: []string{other}})
		var wg sync.WaitGroup
		errs := make(chan error, 100)
		for i := range 8 {
			wg.Go(func() {
				for n := range 5 {
					key := fmt.Sprint("box-", i, "-", n)
					errs <- s.Create(context.Background(), key, "top")
					_, err := s.Stat(context.Background(), "base")
					errs <- err
				}
			})
			wg.Go(func() {
				if err := s.Remove(context.Background(), "top"); err != nil && !errdefs.IsNotFound(err) && !errdefs.IsFailedPrecondition(err) {
					errs <- err
				}
			})
		}
		wg.Wait()
		close(errs)
		for err := range errs {
			if !errdefs.IsNotFound(err) { // it was removed after it was found
				require.NoError(t, err)
			}
		}
		rows := rowsOf(t, s)
		require.Contains(t, rows, "top")
		require.NotEmpty(t, rows["top"].Store)
		require.NotContains(t, strings.Join(namesOf(t, s), " "), borrowedPrefix)
	})
}

// TestAnAdditionalStoreOnAReadOnlyDisk has the additional store on a file
// system that is mounted read-only, and on image file systems that cannot be
// written.
func TestAnAdditionalStoreOnAReadOnlyDisk(t *testing.T) {
	requireMount(t)
	eachBorrower(t, func(t *testing.T, dir, name string) {
		other := chainIn(t, dir, name, "other")
		places := map[string]func(t *testing.T) string{
			"a read-only bind": func(t *testing.T) string {
				target := t.TempDir()
				require.NoError(t, unix.Mount(other, target, "", unix.MS_BIND, ""))
				t.Cleanup(func() { require.NoError(t, unix.Unmount(target, 0)) })
				require.NoError(t, unix.Mount("", target, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
				return target
			},
			"squashfs": func(t *testing.T) string { return fstest.Packed(t, fstest.Squashfs, other) },
			"erofs":    func(t *testing.T) string { return fstest.Packed(t, fstest.Erofs, other) },
		}
		for what, place := range places {
			t.Run(what, func(t *testing.T) {
				additional := place(t)
				s, err := Open(t.Context(), filepath.Join(dir, what), Options{Driver: name, Additional: []string{additional}})
				require.NoError(t, err)
				defer func() { require.NoError(t, s.Close()) }()
				require.NoError(t, s.Create(t.Context(), "box", "top"))
				mounts, err := s.MountValues(t.Context(), "box", driver.MountOptions{})
				if errors.Is(err, driver.ErrUnsupported) {
					t.Skipf("a writable layer cannot be mounted here: %v", err)
				}
				require.NoError(t, err)
				require.NoError(t, (mount.Mounter{}).WithTemp(t.Context(), mounts, func(root string) error {
					raw, err := os.ReadFile(root + "/from base")
					require.NoError(t, err)
					require.Equal(t, "base", string(raw))
					return os.WriteFile(root+"/shared", []byte("written"), 0o600)
				}))
				require.NoError(t, s.Commit(t.Context(), "mine", "box"))
				require.Equal(t, "written", string(bodyOf(t, s, "mine", "shared")))
				look, err := s.MountValues(t.Context(), "base", driver.MountOptions{})
				require.NoError(t, err)
				require.NoError(t, (mount.Mounter{}).WithTemp(t.Context(), look, func(root string) error {
					_, err := os.Stat(root + "/from base")
					return err
				}))
			})
		}
	})
}

// A store that is open for reading only uses what it has borrowed before. It
// cannot borrow more, because that would need new rows.
func TestAStoreForReadingAloneUsesWhatItHasBorrowed(t *testing.T) {
	eachBorrower(t, func(t *testing.T, dir, name string) {
		other, root := chainIn(t, dir, name, "other"), filepath.Join(dir, "own")
		opts := Options{Driver: name, Additional: []string{other}}
		s, err := Open(t.Context(), root, opts)
		require.NoError(t, err)
		layerIn(t, s, "mine", "base", nil)
		want := treeIn(t, s, "mine")
		require.NoError(t, s.Close())

		opts.ReadOnly = true
		s, err = Open(t.Context(), root, opts)
		require.NoError(t, err)
		require.Equal(t, want, treeIn(t, s, "mine"))
		require.NoError(t, s.Usable(t.Context(), "base"))
		_, err = s.OpenView(t.Context(), "top")
		require.True(t, errdefs.IsNotFound(err), "%v", err)
		require.NoError(t, s.Close())
	})
}
