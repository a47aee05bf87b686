package overlay2

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// fill unpacks a layer tar into the upper directory, as containerd does for a
// mount that is one overlay.
func (d *overlay) fill(t *testing.T, id driver.ID, lower []string, entries ...fstest.Entry) {
	t.Helper()
	opts := []archive.ApplyOpt{archive.WithConvertWhiteout(archive.OverlayConvertWhiteout)}
	if len(lower) > 0 {
		opts = append(opts, archive.WithParents(lower))
	}
	layer := bytes.NewReader(fstest.Layer(t, entries...))
	_, err := archive.Apply(context.Background(), d.store.Path(id, fsDir), layer, opts...)
	require.NoError(t, err)
}

// filledCases are layer tars for layers over the base of the test below.
func filledCases() map[string][]fstest.Entry {
	return map[string][]fstest.Entry{
		"a file in a directory without an entry": {fstest.File("d/new", "1")},
		"deeper":                                 {fstest.File("d/e/new", "1")},
		"only a whiteout in it":                  {fstest.Whiteout("d/x")},
		"an opaque directory without an entry":   {fstest.Opaque("d"), fstest.File("d/y", "2")},
		"only the mark in it":                    {fstest.Opaque("d/e")},
		"an entry with the attributes that are made otherwise": {
			fstest.Dir("d").WithMode(0o755), fstest.File("d/new", "1"),
		},
		"an entry with others":                   {fstest.Dir("d").WithMode(0o2711), fstest.File("d/new", "1")},
		"a directory that the parents lack":      {fstest.File("n/m/new", "1")},
		onlyEngine:                               {fstest.File("f/new", "1")},
		onlyOurs:                                 {fstest.Opaque("d"), fstest.File("d/e/new", "1")},
		"a whiteout and the name again":          {fstest.Whiteout("d/x"), fstest.File("d/x", "2")},
		"an entry for the root, which it passes": {fstest.File("new", "1")},
		"nothing":                                {},
	}
}

// Differences between the two ways of unpacking.
const (
	onlyEngine = "a directory over a file, which we refuse"
	onlyOurs   = "a directory below an opaque one, to which the engine gives the attributes of what that hides"
)

func TestALayerThatAnEngineFilledIsOnItsParentsWhatItIsInSequence(t *testing.T) {
	for name, layer := range filledCases() {
		t.Run(name, func(t *testing.T) {
			d := open(t, driver.Options{})
			d.sealed(t, "base", nil, fstest.Dir(".").WithMode(0o711), fstest.Dir("d").WithMode(0o1750).WithXattr("user.k", "v"),
				fstest.File("d/x", "1"), fstest.Dir("d/e").WithMode(0o700), fstest.File("d/e/x", "1"), fstest.File("f", "1"))
			chain := []driver.ID{"base"}
			require.NoError(t, d.Create(t.Context(), "later", nil, driver.CreateOptions{}))
			d.fill(t, "later", nil, layer...)
			require.NoError(t, d.Rebase(t.Context(), "later", chain))
			require.NoError(t, d.Rebase(t.Context(), "later", chain), "twice")
			require.NoError(t, d.Settle(t.Context(), "later"))
			require.NoError(t, d.Seal(t.Context(), "later"))
			require.NoError(t, d.Settle(t.Context(), "later"), "of a sealed one")
			if name != onlyEngine {
				d.sealed(t, "ours", chain, layer...)
				fstest.RequireEqual(t, d.shows(t, "ours"), d.shows(t, "later"), "as we apply it in sequence")
			}
			if name == onlyOurs {
				return
			}

			require.NoError(t, d.Create(t.Context(), "engine", chain, driver.CreateOptions{}))
			d.fill(t, "engine", []string{d.store.Path("base", fsDir)}, layer...)
			require.NoError(t, d.Settle(t.Context(), "engine"))
			require.NoError(t, d.Seal(t.Context(), "engine"))
			fstest.RequireEqual(t, timeless(d.shows(t, "engine")), timeless(d.shows(t, "later")), "as the engine applies it in sequence")
		})
	}
}

// timeless removes the times of directories from the tree. The engine's applier
// sets them to the current time if a directory has no entry.
func timeless(tree fstest.Tree) fstest.Tree {
	for path, n := range tree {
		if n.Mode&unix.S_IFMT == unix.S_IFDIR {
			n.Mtime = time.Time{}
			tree[path] = n
		}
	}
	return tree
}

func TestAFilledLayerIsOnlyPutOnParentsWhenItIsWhole(t *testing.T) {
	d := open(t, driver.Options{})
	d.sealed(t, "base", nil, fstest.Dir("d").WithMode(0o700))
	d.sealed(t, "other", nil)
	require.NoError(t, d.Create(t.Context(), "open", nil, driver.CreateOptions{}))
	require.NoError(t, d.Create(t.Context(), "child", []driver.ID{"base"}, driver.CreateOptions{}))
	require.NoError(t, d.Create(t.Context(), "later", nil, driver.CreateOptions{}))
	d.fill(t, "later", nil, fstest.File("d/new", "1"))

	require.ErrorIs(t, d.Rebase(t.Context(), "later", []driver.ID{"open"}), driver.ErrNotSealed)
	require.ErrorIs(t, d.Rebase(t.Context(), "later", []driver.ID{"none"}), driver.ErrNotFound)
	require.ErrorIs(t, d.Rebase(t.Context(), "child", []driver.ID{"other"}), driver.ErrUnsupported)
	d.mounted(t, "later", driver.MountOptions{}, func(string) {
		require.ErrorIs(t, d.Rebase(t.Context(), "later", []driver.ID{"base"}), driver.ErrBusy)
		require.ErrorIs(t, d.Settle(t.Context(), "later"), driver.ErrBusy)
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, d.Rebase(ctx, "later", []driver.ID{"base"}), context.Canceled)
	require.Equal(t, uint32(0o755), d.shows(t, "later")["d"].Mode&0o7777, "as it was")
	require.NoError(t, d.Rebase(t.Context(), "later", []driver.ID{"base"}))
	require.Equal(t, uint32(0o700), d.shows(t, "later")["d"].Mode&0o7777)
}

func TestAttributesOfOverlayThatAStrangerPutIntoALayerAreNotActive(t *testing.T) {
	d := open(t, driver.Options{})
	d.needEscapes(t)
	d.sealed(t, "base", nil, fstest.Dir("secret").WithMode(0o700), fstest.File("secret/key", "1"), fstest.File("file", "body"), fstest.Dir("e"), fstest.File("e/kept", "1"))
	require.NoError(t, d.Create(t.Context(), "later", nil, driver.CreateOptions{}))
	d.fill(t, "later", nil, fstest.Dir("moved"), fstest.File("file", ""), fstest.Dir("e"), fstest.File("e/kept", ""), fstest.Dir("whole"), fstest.File("plain", ""))
	// containerd's applier omits trusted attributes. Other appliers may not.
	x := "trusted.overlay."
	for _, attr := range [][3]string{
		{"moved", x + "redirect", "/secret"},
		{"file", x + "metacopy", ""},
		{"file", x + "redirect", "/secret/key"},
		{"e", x + "opaque", "x"},
		{"e", x + "impure", "y"},
		{"e/kept", x + "whiteout", "y"},
		{"e/kept", x + "origin", "bad"},
		{"whole", x + "opaque", "y"},
		{"plain", "user.overlay.redirect", "r"},
		{"plain", "trusted.other", "o"},
	} {
		require.NoError(t, unix.Lsetxattr(d.store.Path("later", fsDir, attr[0]), attr[1], []byte(attr[2]), 0))
	}
	require.NoError(t, d.Rebase(t.Context(), "later", []driver.ID{"base"}))
	require.NoError(t, d.Settle(t.Context(), "later"))
	require.NoError(t, d.Settle(t.Context(), "later"), "twice")
	require.NoError(t, d.Seal(t.Context(), "later"))

	check := func(tree fstest.Tree) {
		require.NotContains(t, tree, "moved/key")
		require.Empty(t, tree["file"].Body)
		require.Contains(t, tree, "e/kept")
		require.Equal(t, map[string]string{x + "redirect": "/secret"}, tree["moved"].Xattrs)
		require.Equal(t, map[string]string{x + "metacopy": "", x + "redirect": "/secret/key"}, tree["file"].Xattrs)
		require.Equal(t, map[string]string{x + "opaque": "x"}, tree["e"].Xattrs)
		require.Equal(t, map[string]string{x + "whiteout": "y"}, tree["e/kept"].Xattrs)
		require.Empty(t, tree["whole"].Xattrs)
		require.Equal(t, map[string]string{"user.overlay.redirect": "r", "trusted.other": "o"}, tree["plain"].Xattrs)
	}
	check(d.shows(t, "later"))
	d.mounted(t, "later", driver.MountOptions{}, func(root string) { check(fstest.FromPath(t, root)) })
}

func TestWhiteoutsThatHideNothingDoNotShow(t *testing.T) {
	d := open(t, driver.Options{})
	layer := []fstest.Entry{
		fstest.Whiteout("never"), fstest.Dir("d"), fstest.Whiteout("d/never"), fstest.File("d/f", "1"),
		fstest.Opaque("o"), fstest.Whiteout("o/never"), fstest.File("o/f", "1"),
	}
	require.NoError(t, d.Create(t.Context(), "a", nil, driver.CreateOptions{}))
	d.fill(t, "a", nil, layer...)
	require.NoError(t, d.Settle(t.Context(), "a"))
	require.NoError(t, d.Seal(t.Context(), "a"))
	require.NoError(t, d.Create(t.Context(), "b", []driver.ID{"a"}, driver.CreateOptions{}))
	require.NoError(t, unix.Mknod(d.store.Path("b", fsDir, "never"), unix.S_IFCHR, 0))
	require.NoError(t, d.Settle(t.Context(), "b"))
	require.NoError(t, unix.Unlink(d.store.Path("b", fsDir, "never")), "where it merges it stays")
	for _, id := range []driver.ID{"a", "b"} {
		d.mounted(t, id, driver.MountOptions{}, func(root string) {
			for _, dir := range []string{"", "/d", "/o"} {
				names, err := os.ReadDir(root + dir)
				require.NoError(t, err)
				for _, n := range names {
					require.NotEqual(t, "never", n.Name(), fmt.Sprint(id, dir))
				}
			}
		})
	}
}

func TestAFilledLayerThatIsHalfOnItsParentsCanOnlyBeRemoved(t *testing.T) {
	d := open(t, driver.Options{})
	d.sealed(t, "base", nil, fstest.Dir("d"), fstest.File("d/x", "1"))
	require.NoError(t, d.Create(t.Context(), "later", nil, driver.CreateOptions{}))
	d.fill(t, "later", nil, fstest.File("d/new", "1"))
	damaged, redirect := d.store.Path("base", fsDir, "d"), d.marks.redirect()
	require.NoError(t, unix.Setxattr(damaged, redirect, []byte("not/valid"), 0))
	require.ErrorIs(t, d.Rebase(t.Context(), "later", []driver.ID{"base"}), unix.EIO)
	require.NoError(t, unix.Removexattr(damaged, redirect))

	for _, err := range []error{
		d.Rebase(t.Context(), "later", []driver.ID{"base"}), d.Settle(t.Context(), "later"), d.Seal(t.Context(), "later"),
	} {
		require.ErrorIs(t, err, driver.ErrTorn)
	}
	require.NoError(t, d.Remove(t.Context(), "later"))
}
