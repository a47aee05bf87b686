package btrfs

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// freeze sets flags of chattr(1) on files in a directory.
func freeze(t *testing.T, dir string, flags map[string]int) {
	t.Helper()
	for name, flag := range flags {
		f, err := os.Open(filepath.Join(dir, name))
		require.NoError(t, err)
		err = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flag)
		require.NoError(t, f.Close())
		if err != nil {
			t.Skipf("this process may not make files immutable: %v", err)
		}
	}
}

// Flags of chattr(1).
const (
	immutable  = unix.STATX_ATTR_IMMUTABLE // FS_IMMUTABLE_FL
	appendOnly = unix.STATX_ATTR_APPEND    // FS_APPEND_FL
)

var frozenTree = []fstest.Entry{
	fstest.Dir("d"), fstest.File("d/x", "x"), fstest.File("f", "f"), fstest.Dir("e"), fstest.File("e/y", "y"), fstest.File("g", "g"),
}

var frozenFlags = map[string]int{"d/x": appendOnly, "d": immutable, "f": immutable, "e": appendOnly, "g": appendOnly, ".": appendOnly}

// onFrozen removes, replaces and adds files in every frozen place.
var onFrozen = []fstest.Entry{
	fstest.Whiteout("f"), fstest.File("d/x", "new"), fstest.File("d/new", ""), fstest.Whiteout("e"), fstest.File("g", "new"), fstest.File("h", ""),
}

func TestWhatIsImmutableInAParentCanBeChangedInALayer(t *testing.T) {
	f := newFixture(t, driver.Options{})
	f.create("a", driver.CreateOptions{})
	require.NoError(t, f.apply("a", frozenTree...))
	want := f.tree("a")
	freeze(t, f.in("a"), frozenFlags)
	f.seal("a")
	require.Equal(t, want, f.tree("a"))
	f.create("b", driver.CreateOptions{}, "a")
	require.NoError(t, os.WriteFile(f.in("b", "d", "x"), []byte("written"), 0o600), "as a container does")
	require.NoError(t, os.Remove(f.in("b", "e", "y")))
	require.NoError(t, f.apply("b", onFrozen...))
	require.Equal(t, []string{"d/", "d/new:", "d/x:new", "g:new", "h:"}, f.tree("b").Brief())
}

func TestALayerIsAppliedToWhatAContainerMadeImmutable(t *testing.T) {
	f := newFixture(t, driver.Options{})
	f.create("a", driver.CreateOptions{})
	require.NoError(t, f.apply("a", frozenTree...))
	want := f.tree("a")
	freeze(t, f.in("a"), frozenFlags)
	require.ErrorIs(t, f.apply("a", append(onFrozen[:len(onFrozen):len(onFrozen)], fstest.Link("none", "nowhere"))...), driver.ErrInvalidLayer)
	require.Equal(t, want, f.tree("a"), "a refused layer changes nothing")
	require.NoError(t, f.apply("a", onFrozen...))
	require.Equal(t, []string{"d/", "d/new:", "d/x:new", "g:new", "h:"}, f.tree("a").Brief())
	require.NoError(t, f.Remove(t.Context(), "a"))
}
