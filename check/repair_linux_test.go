package check_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/check"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/driver/all/alltest"
	"github.com/layerkeep/layerkeep/image"
	. "github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/mount"
	"github.com/layerkeep/layerkeep/repair"
	"github.com/layerkeep/layerkeep/snapshotter"
)

// repair opens the store and repairs it.
func (p place) repair(t *testing.T, opts repair.Options) (all []repair.Outcome) {
	t.Helper()
	snaps, images := p.open(t)
	require.NoError(t, repair.Run(t.Context(), snaps, images, opts, func(o repair.Outcome) { all = append(all, o) }))
	require.NoError(t, snaps.Close())
	return all
}

// trees returns the merged trees of all snapshots of the store.
func (p place) trees(t *testing.T) map[string]Tree {
	t.Helper()
	keys := append(p.keys(t), "done", "work", "loose")
	snaps, _ := p.open(t)
	trees := map[string]Tree{}
	for _, key := range keys {
		v, err := snaps.OpenView(t.Context(), key)
		require.NoError(t, err, key)
		trees[key] = FromView(t, v)
		require.NoError(t, v.Close())
	}
	require.NoError(t, snaps.Close())
	return trees
}

var repairs = map[string]struct {
	harm func(t *testing.T, p place)
	// reading: only a check that reads all data finds it.
	reading bool
	// repaired has the layers of the image, counted from 0, that are made again.
	repaired []int
	// copied has the additional layers for drivers whose layers are copies.
	copied []int
}{
	"the directory of the lowest layer is missing": {
		harm:     func(t *testing.T, p place) { t.Helper(); require.NoError(t, RemoveAll(p.layer(t, p.keys(t)[0]))) },
		repaired: []int{0},
	},
	"all directories are missing": {
		harm: func(t *testing.T, p place) {
			t.Helper()
			for _, key := range p.keys(t) {
				require.NoError(t, RemoveAll(p.layer(t, key)))
			}
		},
		repaired: []int{0, 1, 2},
	},
	"a record is damaged": {
		harm: func(t *testing.T, p place) {
			t.Helper()
			require.NoError(t, os.WriteFile(filepath.Join(p.layer(t, p.keys(t)[1]), "layer.json"), []byte("{"), 0o600))
		},
		repaired: []int{1},
	},
	"a byte of a file of the top layer": {
		harm:     func(t *testing.T, p place) { t.Helper(); flip(t, p.file(t, p.keys(t)[2], "d/y")) },
		reading:  true,
		repaired: []int{2},
	},
	"a file is missing": {
		harm:     func(t *testing.T, p place) { t.Helper(); require.NoError(t, os.Remove(p.file(t, p.keys(t)[2], "d/y"))) },
		reading:  true,
		repaired: []int{2},
	},
	"a byte of a file, which copies have as well": {
		harm: func(t *testing.T, p place) {
			t.Helper()
			keys := p.keys(t)
			flip(t, p.file(t, keys[1], "base/c"))
			if p.copies() {
				flip(t, p.file(t, keys[2], "base/c"))
			}
		},
		reading:  true,
		repaired: []int{1},
		copied:   []int{2},
	},
}

func TestWhatIsDamagedIsRepairedFromItsBlob(t *testing.T) {
	for name, c := range repairs {
		for _, backend := range []string{"overlay2", "vfs", "btrfs", "aufs"} {
			t.Run(name+"/"+backend, func(t *testing.T) {
				alltest.SkipInShort(t, backend)
				p := newPlace(t, backend)
				before := p.trees(t)
				if backend == "btrfs" {
					thaw(t, p)
				}
				c.harm(t, p)
				var want []string
				keys := p.keys(t)
				for _, i := range c.repaired {
					want = append(want, keys[i])
				}
				if p.copies() {
					for _, i := range c.copied {
						want = append(want, keys[i])
					}
				}
				if c.reading {
					require.Empty(t, p.repair(t, repair.Options{}), "nothing is seen without reading the data")
				}
				for _, o := range p.repair(t, repair.Options{ReadData: c.reading, DryRun: true}) {
					require.NoError(t, o.Err)
				}
				found, _ := p.check(t, check.Options{ReadData: c.reading})
				require.NotEmpty(t, found, "a dry run changes nothing")

				var got []string
				for _, o := range p.repair(t, repair.Options{ReadData: c.reading}) {
					require.NoError(t, o.Err, o.What)
					require.Equal(t, check.Snapshot, o.Part)
					require.NotEmpty(t, o.What)
					got = append(got, o.Name)
					if !p.copies() || !c.reading {
						require.Empty(t, o.Doubtful)
					} else {
						require.Equal(t, []string{"done", "work"}, o.Doubtful)
					}
				}
				require.Equal(t, want, got)
				found, _ = p.check(t, check.Options{ReadData: true})
				require.Empty(t, found)
				require.Equal(t, before, p.trees(t))
				require.Empty(t, p.repair(t, repair.Options{ReadData: true}))
				old, err := filepath.Glob(filepath.Join(p.root, backend, ".*-*"))
				require.NoError(t, err)
				require.Empty(t, old, "nothing is left beside the layers")
			})
		}
	}
}

func TestARecordIsWrittenAgainFromTheDatabase(t *testing.T) {
	p := newPlace(t, "overlay2")
	for _, name := range []string{"a record that says another name", "a record of another store"} {
		damages[name].harm(t, p)
		for _, dryRun := range []bool{true, false} {
			all := p.repair(t, repair.Options{DryRun: dryRun})
			require.Len(t, all, 1, name)
			require.Equal(t, "loose", all[0].Name)
			require.NoError(t, all[0].Err)
		}
		found, _ := p.check(t, check.Options{ReadData: true})
		require.Empty(t, found, name)
	}
}

// A snapshot that was not imported has no blob. So only the row tells what the
// record said.
func TestALostRecordIsWrittenFromItsRow(t *testing.T) {
	for name, harm := range map[string]func(t *testing.T, record string){
		"missing": func(t *testing.T, record string) { t.Helper(); require.NoError(t, os.Remove(record)) },
		"empty":   func(t *testing.T, record string) { t.Helper(); require.NoError(t, os.Truncate(record, 0)) },
		"of other parents": func(t *testing.T, record string) {
			t.Helper()
			edit(t, filepath.Dir(record), func(r map[string]any) { delete(r, "parents") })
		},
		"of a layer that is not sealed": func(t *testing.T, record string) {
			t.Helper()
			edit(t, filepath.Dir(record), func(r map[string]any) { delete(r, "sealed") })
		},
		"with a flipped bit": func(t *testing.T, record string) { t.Helper(); flip(t, record) },
	} {
		for _, backend := range []string{"overlay2", "vfs", "btrfs", "aufs"} {
			t.Run(name+"/"+backend, func(t *testing.T) {
				alltest.SkipInShort(t, backend)
				p := newPlace(t, backend)
				before := p.trees(t)
				keys := []string{"done", "work"}
				if strings.HasSuffix(name, "not sealed") {
					keys = keys[:1]
				}
				for _, key := range keys {
					harm(t, filepath.Join(p.layer(t, key), "layer.json"))
				}
				for _, dryRun := range []bool{true, false} {
					for _, o := range p.repair(t, repair.Options{DryRun: dryRun}) {
						require.NoError(t, o.Err, "%s: %s", o.Name, o.What)
					}
				}
				found, _ := p.check(t, check.Options{ReadData: true})
				require.Empty(t, found)
				require.Equal(t, before, p.trees(t))
				snaps, _ := p.open(t)
				defer func() { require.NoError(t, snaps.Close()) }()
				require.NoError(t, snaps.Commit(t.Context(), "kept", "work"))
				require.NoError(t, snaps.Create(t.Context(), "new", "kept"))
			})
		}
	}
}

// The list of copied files only saves time. It is written again without making
// the layer again, and is then empty.
func TestWhatTellsWhichFilesWereCopiedIsWrittenAnew(t *testing.T) {
	for name, harm := range map[string]func(t *testing.T, dir string){
		"flipped": func(t *testing.T, dir string) { t.Helper(); flip(t, filepath.Join(dir, "manifest")) },
		"cut": func(t *testing.T, dir string) {
			t.Helper()
			require.NoError(t, os.Truncate(filepath.Join(dir, "manifest"), 9))
		},
		"lost": func(t *testing.T, dir string) {
			t.Helper()
			require.NoError(t, os.Remove(filepath.Join(dir, "manifest")))
		},
		"lost with the record": func(t *testing.T, dir string) {
			t.Helper()
			require.NoError(t, os.Remove(filepath.Join(dir, "manifest")))
			require.NoError(t, os.Remove(filepath.Join(dir, "layer.json")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t, "vfs")
			before := p.trees(t)
			keys := []string{p.keys(t)[1], "done", "work"}
			for _, key := range keys {
				harm(t, p.layer(t, key))
			}
			for _, dryRun := range []bool{true, false} {
				var got []string
				for _, o := range p.repair(t, repair.Options{DryRun: dryRun}) {
					require.NoError(t, o.Err, "%s: %s", o.Name, o.What)
					got = append(got, o.Name)
				}
				if !dryRun {
					require.Equal(t, keys, got)
				}
			}
			found, _ := p.check(t, check.Options{ReadData: true})
			require.Empty(t, found)
			require.Equal(t, before, p.trees(t))
			require.Empty(t, p.repair(t, repair.Options{ReadData: true}))
		})
	}
}

// Writing a record again must not turn a committed layer into something else.
func TestALayerWithoutARecordThatHasChangedIsBeyondHelp(t *testing.T) {
	p := newPlace(t, "overlay2")
	flip(t, p.file(t, "done", "d/done"))
	require.NoError(t, os.Remove(filepath.Join(p.layer(t, "done"), "layer.json")))
	all := p.repair(t, repair.Options{})
	require.NotEmpty(t, all)
	require.Equal(t, "done", all[0].Name)
	require.ErrorIs(t, all[0].Err, repair.ErrBeyondHelp)
	require.ErrorContains(t, all[0].Err, "not what was committed")
}

func TestABlobIsRepairedFromItsLayerOrNamed(t *testing.T) {
	p := newPlace(t, "overlay2")
	snaps, images := p.open(t)
	out, err := os.Create(filepath.Join(t.TempDir(), "out.tar"))
	require.NoError(t, err)
	e, err := images.Export(t.Context(), "done", out, image.ExportOptions{Name: "mine:1"})
	require.NoError(t, err)
	require.NoError(t, out.Close())
	require.NoError(t, snaps.Close())
	blob := func(d digest.Digest) string { return filepath.Join(p.root, "content/blobs/sha256", d.Encoded()) }
	ours := e.Layers[3].Blob.Digest
	flip(t, blob(ours))
	flip(t, p.blob(t, 1))

	for _, dryRun := range []bool{true, false} {
		all := p.repair(t, repair.Options{ReadData: true, DryRun: dryRun})
		require.Len(t, all, 2)
		for _, o := range all {
			require.Equal(t, check.Blob, o.Part)
			if o.Name == ours.String() {
				require.NoError(t, o.Err)
				continue
			}
			require.ErrorIs(t, o.Err, image.ErrNoSource)
			require.ErrorContains(t, o.Err, "import the image again")
			require.Equal(t, []string{"test:1"}, o.Images)
		}
	}
	found, _ := p.check(t, check.Options{ReadData: true})
	require.Len(t, found, 1, "the blob of another tool")

	// The repair said to import the image again, so that must help.
	snaps, images = p.open(t)
	_, err = images.Import(t.Context(), source(t), image.ImportOptions{Name: "test:1"})
	require.NoError(t, err)
	require.NoError(t, snaps.Close())
	found, _ = p.check(t, check.Options{ReadData: true})
	require.Empty(t, found)
}

func TestWhatIsBeyondHelpIsNamedWithAllThatStandsOnIt(t *testing.T) {
	for name, c := range map[string]struct {
		harm              func(t *testing.T, p place)
		key               func(p place) string
		snapshots, images []string
		says              string
		err               error
		quarantined       bool
	}{
		"a committed layer": {
			harm:      func(t *testing.T, p place) { t.Helper(); flip(t, p.file(t, "done", "d/done")) },
			key:       func(place) string { return "done" },
			snapshots: []string{"work"},
			says:      "take what is still good out of it",
			err:       repair.ErrBeyondHelp,

			quarantined: true,
		},
		"an imported layer and its blob": {
			harm: func(t *testing.T, p place) {
				t.Helper()
				require.NoError(t, RemoveAll(p.layer(t, p.keys(t)[2])))
				require.NoError(t, os.Remove(p.blob(t, 2)))
			},
			key:       func(p place) string { return p.keys(t)[2] },
			snapshots: []string{"done", "work"},
			images:    []string{"test:1"},
			says:      "import the image again",
			err:       repair.ErrBeyondHelp,
		},
		"a torn active layer": {
			harm: func(t *testing.T, p place) {
				t.Helper()
				require.NoError(t, os.WriteFile(filepath.Join(p.layer(t, "work"), "torn"), nil, 0o600))
			},
			key: func(place) string { return "work" },
			err: repair.ErrBeyondHelp,
		},
	} {
		for _, backend := range []string{"overlay2", "vfs"} {
			t.Run(name+"/"+backend, func(t *testing.T) {
				alltest.SkipInShort(t, backend)
				p := newPlace(t, backend)
				c.harm(t, p)
				key := c.key(p)
				before := files(t, p)
				all := p.repair(t, repair.Options{ReadData: true})
				require.Equal(t, before, files(t, p), "nothing was changed or removed")
				require.NotEmpty(t, all)
				require.Equal(t, key, all[0].Name)
				require.ErrorIs(t, all[0].Err, c.err)
				require.ErrorContains(t, all[0].Err, c.says)
				require.Equal(t, c.snapshots, all[0].Snapshots)
				require.Equal(t, c.images, all[0].Images)
				require.Equal(t, c.quarantined, all[0].Quarantined)
				for _, o := range all[1:] {
					require.Error(t, o.Err)
					require.False(t, o.Quarantined, "what stands on it is not damaged itself")
					require.True(t, errors.Is(o.Err, repair.ErrStandsOn) || o.Part == check.Blob, "%s: %v", o.Name, o.Err)
				}
			})
		}
	}
}

// No new snapshot is made on a layer that cannot be repaired, until the layer
// is put right.
func TestWhatIsBeyondHelpIsInQuarantineUntilItIsSound(t *testing.T) {
	p := newPlace(t, "overlay2")
	refused := func() error {
		snaps, _ := p.open(t)
		defer func() { require.NoError(t, snaps.Close()) }()
		_, err := snaps.Prepare(t.Context(), "new", "done")
		if err == nil {
			require.NoError(t, snaps.Remove(t.Context(), "new"))
		}
		_, mountErr := snaps.Mounts(t.Context(), "work")
		require.Equal(t, err == nil, mountErr == nil, "%v, %v", err, mountErr)
		v, err2 := snaps.OpenView(t.Context(), "done")
		require.NoError(t, err2, "what is still good can be taken out")
		require.NoError(t, v.Close())
		return err
	}
	path := p.file(t, "done", "d/done")
	flip(t, path)
	require.NoError(t, refused(), "nobody knows yet")
	for _, dry := range []bool{true, false} {
		all := p.repair(t, repair.Options{ReadData: true, DryRun: dry})
		require.True(t, all[0].Quarantined)
		if dry {
			require.NoError(t, refused())
		}
	}
	for range 2 {
		err := refused()
		require.ErrorIs(t, err, snapshotter.ErrLayerDamaged)
		require.ErrorIs(t, err, errdefs.ErrDataLoss)
		require.ErrorContains(t, err, "quarantine")
		all := p.repair(t, repair.Options{})
		require.NotEmpty(t, all, "it is not let go by who looks less closely")
		require.ErrorIs(t, all[0].Err, repair.ErrBeyondHelp)
		require.True(t, all[0].Quarantined)
		found, _ := p.check(t, check.Options{})
		require.NotEmpty(t, found)
		require.Contains(t, found[0].What, "it is in quarantine: ")
	}
	flip(t, path) // restores the byte
	for _, dry := range []bool{true, false} {
		all := p.repair(t, repair.Options{ReadData: true, DryRun: dry})
		require.Len(t, all, 1)
		require.NoError(t, all[0].Err)
		require.Contains(t, all[0].What, "sound now")
		require.Equal(t, dry, refused() != nil)
	}
	require.Empty(t, p.repair(t, repair.Options{ReadData: true}))
}

// files returns the files of the layers and blobs of a store, with their
// content.
func files(t *testing.T, p place) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, dir := range []string{p.backend, "content"} {
		err := filepath.WalkDir(filepath.Join(p.root, dir), func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				all[path] = e.Type().String()
				return err
			}
			raw, err := os.ReadFile(path)
			all[path] = string(raw)
			return err
		})
		require.NoError(t, err)
	}
	return all
}

func TestALayerIsRepairedUnderItsMountedChild(t *testing.T) {
	if !CanMount(t) {
		t.Skip("nothing can be mounted")
	}
	p := newPlace(t, "overlay2")
	old := func() []string {
		names, err := filepath.Glob(filepath.Join(p.root, "overlay2", ".old-*"))
		require.NoError(t, err)
		return names
	}
	flip(t, p.file(t, p.keys(t)[1], "base/c"))
	rotten, err := os.ReadFile(p.file(t, p.keys(t)[1], "base/c"))
	require.NoError(t, err)
	snaps, _ := p.open(t)
	mounts, err := snaps.MountValues(t.Context(), "work", driver.MountOptions{})
	require.NoError(t, err)
	require.NoError(t, snaps.Close())
	require.NoError(t, mount.Mounter{}.WithTemp(t.Context(), mounts, func(root string) error {
		all := p.repair(t, repair.Options{ReadData: true})
		require.Len(t, all, 1)
		require.NoError(t, all[0].Err)
		p.trees(t) // opens the store again, which cleans up
		require.Len(t, old(), 1, "what is mounted stays")
		got, err := os.ReadFile(root + "/base/c")
		require.NoError(t, err)
		require.Equal(t, rotten, got, "the mount is as it was")
		return os.WriteFile(root+"/base/new", []byte("n"), 0o600)
	}))
	work := p.trees(t)["work"]
	require.Equal(t, Body(strings.Repeat("c", 10_000)), work["base/c"].Body, "the next mount has the new layer")
	require.Equal(t, Body("n"), work["base/new"].Body)
	// Another process may have a copy of the mount in its own namespace for a
	// while.
	for start := time.Now(); len(old()) > 0 && time.Since(start) < Patience; time.Sleep(20 * time.Millisecond) {
		p.trees(t)
	}
	require.Empty(t, old(), "nothing has it mounted any more")
	found, _ := p.check(t, check.Options{ReadData: true})
	require.Empty(t, found)
}

// After the loss of the database, the store still knows what a committed layer
// must contain.
func TestADatabaseThatWasRebuiltKnowsWhatWasCommitted(t *testing.T) {
	for _, backend := range []string{"overlay2", "vfs"} {
		t.Run(backend, func(t *testing.T) {
			alltest.SkipInShort(t, backend)
			p := newPlace(t, backend)
			require.NoError(t, os.Remove(filepath.Join(p.root, "meta.db")))
			snaps, _, err := snapshotter.Rebuild(t.Context(), p.root, snapshotter.RebuildOptions{Options: snapshotter.Options{Driver: backend}})
			require.NoError(t, err)
			images, err := image.Open(snaps)
			require.NoError(t, err)
			_, err = images.Restore(t.Context(), false, func(string) bool { return false })
			require.NoError(t, err)
			require.NoError(t, snaps.Close())
			found, sum := p.check(t, check.Options{ReadData: true})
			require.Empty(t, found)
			require.Equal(t, 1, sum.Unread, "the active one")

			flip(t, p.file(t, "loose", "loose"))
			found, _ = p.check(t, check.Options{ReadData: true})
			require.Len(t, found, 1)
			require.Equal(t, "loose", found[0].Name)
		})
	}
}
