package overlay2

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/layerlife"
	"github.com/layerkeep/layerkeep/mount"
)

func open(t *testing.T, opts driver.Options) *overlay {
	t.Helper()
	if !fstest.CanMount(t) {
		t.Skip("no permission to mount")
	}
	d, err := New(t.Context(), t.TempDir(), opts)
	if opts.Fallbacks.UserXattr && errors.Is(err, driver.ErrUnsupported) {
		t.Skipf("no overlay with user attributes (Linux 5.11; on tmpfs 6.6): %v", err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d.(*overlay)
}

func (d *overlay) sealed(t *testing.T, id driver.ID, parents []driver.ID, entries ...fstest.Entry) {
	t.Helper()
	require.NoError(t, d.Create(t.Context(), id, parents, driver.CreateOptions{}))
	_, err := d.ApplyDiff(t.Context(), id, bytes.NewReader(fstest.Layer(t, entries...)), driver.ApplyOptions{})
	require.NoError(t, err)
	require.NoError(t, d.Seal(t.Context(), id))
}

func (d *overlay) mounted(t *testing.T, id driver.ID, opts driver.MountOptions, fn func(root string)) {
	t.Helper()
	m, err := d.Mount(t.Context(), id, opts)
	require.NoError(t, err)
	mr := mount.Mounter{First: d.opts.Fallbacks.MountWay}
	require.NoError(t, mr.WithTemp(t.Context(), m, func(root string) error {
		fn(root)
		return nil
	}))
}

func (d *overlay) shows(t *testing.T, id driver.ID) fstest.Tree {
	t.Helper()
	v, err := d.View(t.Context(), id)
	require.NoError(t, err)
	defer v.Close()
	return fstest.FromView(t, v)
}

func TestFiveHundredLayersMountInEveryWay(t *testing.T) {
	d := open(t, driver.Options{})
	var parents []driver.ID
	for i := range mount.MaxLower {
		id := driver.ID(fmt.Sprint(i))
		require.NoError(t, os.Mkdir(d.store.Path(id), 0o700))
		write(t, d.store.Path(id, fsDir, "d", fmt.Sprint("f", i)), "x")
		// The result of Seal, without 500 syncs of the disk.
		require.NoError(t, os.WriteFile(d.store.Path(id, "layer.json"), []byte(`{"version":1,"sealed":true}`), 0o600))
		parents = append([]driver.ID{id}, parents...)
	}
	require.NoError(t, d.Create(t.Context(), "view", parents, driver.CreateOptions{View: true}))
	require.NoError(t, d.Create(t.Context(), "rw", parents, driver.CreateOptions{}))
	for _, way := range []mount.Way{mount.WayDescriptors, mount.WayStrings, mount.WayMount2} {
		d.opts.Fallbacks.MountWay = way
		for _, id := range []driver.ID{"view", "rw"} {
			d.mounted(t, id, driver.MountOptions{}, func(root string) {
				names, err := os.ReadDir(root + "/d")
				require.NoError(t, err)
				require.Len(t, names, mount.MaxLower)
			})
			require.Len(t, d.shows(t, id), mount.MaxLower+2)
		}
	}
	require.ErrorIs(t, d.Create(t.Context(), "more", append(parents, "0"), driver.CreateOptions{}), driver.ErrUnsupported)
}

func TestAMountedLayerIsBusy(t *testing.T) {
	for _, way := range []mount.Way{mount.WayDescriptors, mount.WayStrings, mount.WayMount2} {
		d := open(t, driver.Options{Fallbacks: driver.Fallbacks{MountWay: way}})
		d.sealed(t, "a", nil, fstest.File("f", "1"))
		require.NoError(t, d.Create(t.Context(), "overlay", []driver.ID{"a"}, driver.CreateOptions{}))
		require.NoError(t, d.Create(t.Context(), "bind", nil, driver.CreateOptions{}))
		for _, id := range []driver.ID{"overlay", "bind"} {
			d.mounted(t, id, driver.MountOptions{}, func(string) {
				_, err := d.ApplyDiff(t.Context(), id, bytes.NewReader(nil), driver.ApplyOptions{})
				require.ErrorIs(t, err, driver.ErrBusy)
				require.ErrorIs(t, d.Seal(t.Context(), id), driver.ErrBusy)
				require.ErrorIs(t, d.Remove(t.Context(), id), driver.ErrBusy)
			})
			d.mounted(t, id, driver.MountOptions{ReadOnly: true}, func(root string) {
				require.ErrorIs(t, os.WriteFile(root+"/x", nil, 0o644), unix.EROFS)
				require.NoError(t, d.Seal(t.Context(), id))
			})
			require.NoError(t, d.Remove(t.Context(), id))
		}
	}
}

func TestAContainerOnALayerWithoutParentsCannotWriteAnActiveAttribute(t *testing.T) {
	for name, user := range map[string]bool{"trusted.": false, "user.": true} {
		t.Run(name, func(t *testing.T) {
			d := open(t, driver.Options{Fallbacks: driver.Fallbacks{UserXattr: user}})
			require.NoError(t, d.Create(t.Context(), "a", nil, driver.CreateOptions{}))
			d.mounted(t, "a", driver.MountOptions{}, func(root string) {
				require.NoError(t, os.Mkdir(root+"/d", 0o755))
				err := unix.Setxattr(root+"/d", name+"overlay.redirect", []byte("/elsewhere"), 0)
				require.Equal(t, d.features.Escapes, err == nil, "only a kernel that escapes it takes it: %v", err)
			})
			onDisk := d.store.Path("a", fsDir) + "/d"
			_, err := unix.Getxattr(onDisk, name+"overlay.redirect", nil)
			require.ErrorIs(t, err, unix.ENODATA, "overlay would follow it")
			if d.features.Escapes {
				value := make([]byte, 64)
				n, err := unix.Getxattr(onDisk, name+"overlay.overlay.redirect", value)
				require.NoError(t, err)
				require.Equal(t, "/elsewhere", string(value[:n]))
			}
			require.NoError(t, d.Seal(t.Context(), "a"))
		})
	}
}

func TestAVolatileMountDoesNotPreventTheNext(t *testing.T) {
	d := open(t, driver.Options{})
	d.sealed(t, "a", nil, fstest.File("f", "1"))
	require.NoError(t, d.Create(t.Context(), "b", []driver.ID{"a"}, driver.CreateOptions{}))
	m, err := d.Mount(t.Context(), "b", driver.MountOptions{Volatile: true})
	require.NoError(t, err)
	require.Contains(t, m[0].Options, "volatile")
	for range 2 {
		d.mounted(t, "b", driver.MountOptions{Volatile: true}, func(root string) { write(t, root+"/n", "n") })
	}
	d.mounted(t, "b", driver.MountOptions{}, func(root string) { write(t, root+"/n", "n") })
	require.NoError(t, d.Seal(t.Context(), "b"))
}

func TestMetacopyOnRequestIsFoundAgainByAllThatStandsOnIt(t *testing.T) {
	d := open(t, driver.Options{Metacopy: true})
	if !d.features.Metacopy {
		t.Skip("no metacopy in this kernel")
	}
	d.sealed(t, "a", nil, fstest.File("f", "the body"), fstest.Dir("d"), fstest.File("d/g", "g"))
	require.NoError(t, d.Create(t.Context(), "b", []driver.ID{"a"}, driver.CreateOptions{}))
	d.mounted(t, "b", driver.MountOptions{}, func(root string) {
		require.NoError(t, os.Chmod(root+"/f", 0o600))
		require.NoError(t, os.Rename(root+"/d", root+"/e"))
	})
	require.NoError(t, d.Seal(t.Context(), "b"))
	_, err := unix.Getxattr(d.store.Path("b", fsDir, "f"), "trusted.overlay.metacopy", nil)
	require.NoError(t, err, "only the attributes were copied up")

	var layer bytes.Buffer
	_, err = driver.Diff(t.Context(), d, "b", &layer, driver.DiffOptions{})
	require.NoError(t, err)
	require.Contains(t, layer.String(), "the body")
	plain := open(t, driver.Options{})
	plain.store = d.store
	plain.Driver = layerlife.New(d.store, plain.backend)
	require.NoError(t, plain.Create(t.Context(), "c", []driver.ID{"b", "a"}, driver.CreateOptions{View: true}))
	plain.mounted(t, "c", driver.MountOptions{}, func(root string) {
		fstest.RequireEqual(t, fstest.FromPath(t, root), plain.shows(t, "c"), "the view")
	})
	from, err := plain.Provider(t.Context(), "c", "e/g")
	require.NoError(t, err)
	require.Equal(t, driver.ID("a"), from)
}

func TestRebaseGivesWhatApplyingInSequenceGives(t *testing.T) {
	d := open(t, driver.Options{})
	d.sealed(t, "a", nil, fstest.Dir(".").WithMode(0o711), fstest.Dir("d").WithMode(0o750), fstest.File("d/x", "1"), fstest.Dir("o"), fstest.File("o/gone", "1"))
	above := []fstest.Entry{fstest.File("d/y", "2"), fstest.Whiteout("d/x"), fstest.Whiteout("d/never"), fstest.Opaque("o"), fstest.File("new/z", "3")}
	d.sealed(t, "sequence", []driver.ID{"a"}, above...)
	require.NoError(t, d.Create(t.Context(), "later", nil, driver.CreateOptions{}))
	_, err := d.ApplyDiff(t.Context(), "later", bytes.NewReader(fstest.Layer(t, above...)), driver.ApplyOptions{Detached: true})
	require.NoError(t, err)
	_, err = d.Mount(t.Context(), "later", driver.MountOptions{})
	require.ErrorIs(t, err, driver.ErrUnsupported, "not before it has its parents")
	require.NoError(t, d.Rebase(t.Context(), "later", []driver.ID{"a"}))
	require.NoError(t, d.Seal(t.Context(), "later"))
	fstest.RequireEqual(t, d.shows(t, "sequence"), d.shows(t, "later"), "the view")
	require.Equal(t, fstest.FromPath(t, d.store.Path("sequence", fsDir)).Paths(), fstest.FromPath(t, d.store.Path("later", fsDir)).Paths(), "the layer's own files")
	entries, err := os.ReadDir(d.store.Path("later"))
	require.NoError(t, err)
	require.Len(t, entries, 2, "fs and layer.json")
}

func TestARebaseThatFailedInTheMiddleIsNotTriedAgainWithWhatIsLeft(t *testing.T) {
	d := open(t, driver.Options{})
	d.sealed(t, "a", nil, fstest.Dir("d"), fstest.File("d/x", "1"))
	require.NoError(t, d.Create(t.Context(), "later", nil, driver.CreateOptions{}))
	layer := fstest.Layer(t, fstest.File("f", "1"), fstest.Whiteout("d/x"))
	_, err := d.ApplyDiff(t.Context(), "later", bytes.NewReader(layer), driver.ApplyOptions{Detached: true})
	require.NoError(t, err)
	damaged, redirect := d.store.Path("a", fsDir, "d"), d.marks.redirect()
	require.NoError(t, unix.Setxattr(damaged, redirect, []byte("not/valid"), 0))
	require.ErrorIs(t, d.Rebase(t.Context(), "later", []driver.ID{"a"}), unix.EIO)
	require.NoError(t, unix.Removexattr(damaged, redirect))
	require.ErrorIs(t, d.Rebase(t.Context(), "later", []driver.ID{"a"}), driver.ErrNeedsParents)
	require.ErrorIs(t, d.Seal(t.Context(), "later"), driver.ErrNeedsParents)
	require.NoError(t, d.Remove(t.Context(), "later"))
}

// The layer has a "redirect" attribute, and the kernel writes marks of its own.
// The mount shows neither of them, with or without parents.
func TestOverlaysOwnAttributesDoNotShowInAMountedLayer(t *testing.T) {
	for name, fb := range map[string]driver.Fallbacks{"trusted": {}, "user": {UserXattr: true}} {
		t.Run(name, func(t *testing.T) {
			d := open(t, driver.Options{Fallbacks: fb})
			d.needEscapes(t)
			said := d.marks.redirect()
			require.NoError(t, d.Create(t.Context(), "a", nil, driver.CreateOptions{}))
			layer := fstest.Layer(t, fstest.Dir("d").WithXattr(said, "/etc"))
			_, err := d.ApplyDiff(t.Context(), "a", bytes.NewReader(layer), driver.ApplyOptions{})
			require.NoError(t, err)
			d.mounted(t, "a", driver.MountOptions{}, func(root string) {
				require.NoError(t, os.Mkdir(root+"/made", 0o755))
			})
			require.NoError(t, d.Seal(t.Context(), "a"))
			d.sealed(t, "b", []driver.ID{"a"}, fstest.File("f", ""))
			require.NoError(t, d.Create(t.Context(), "v", []driver.ID{"a"}, driver.CreateOptions{View: true}))
			for _, id := range []driver.ID{"a", "v", "b"} {
				d.mounted(t, id, driver.MountOptions{}, func(root string) {
					got := fstest.FromPath(t, root)
					require.Empty(t, got["made"].Xattrs, id)
					require.Equal(t, map[string]string{said: "/etc"}, got["d"].Xattrs, id)
				})
			}
		})
	}
}

func TestDeepDirectoriesOfManyLayersNeedFewDescriptors(t *testing.T) {
	d := open(t, driver.Options{})
	var deep []fstest.Entry
	for path := "x"; len(path) < 60; path += "/x" {
		deep = append(deep, fstest.Dir(path))
	}
	var parents []driver.ID
	for i := range 12 {
		id := driver.ID(fmt.Sprint("l", i))
		d.sealed(t, id, parents, append(deep, fstest.File(deep[len(deep)-1].Name+"/f", fmt.Sprint(i)))...)
		parents = append([]driver.ID{id}, parents...)
	}
	var before unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &before))
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 256, Max: before.Max}))
	defer func() { require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &before)) }()
	var paths []string
	for c, err := range driver.Changes(t.Context(), d, parents[0], nil) {
		require.NoError(t, err)
		paths = append(paths, c.Path)
	}
	require.Len(t, paths, 1)
}

// view opens the merged tree of a layer after reading its record.
func (d *backend) view(id driver.ID) (*stack, error) {
	m, err := d.store.Load(id)
	if err != nil {
		return nil, err
	}
	return d.open(layerlife.Layer{ID: id, Meta: m})
}
