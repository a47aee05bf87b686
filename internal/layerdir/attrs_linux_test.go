package layerdir

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/whiteout"
	"github.com/layerkeep/layerkeep/tar"
)

func TestARootGetsAllAttributesOfAnother(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: chown")
	}
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	for _, path := range []string{from, to} {
		require.NoError(t, os.Mkdir(path, 0o700))
	}
	for name, value := range map[string]string{"user.x": "new", "user.both": "same"} {
		require.NoError(t, unix.Setxattr(from, name, []byte(value), 0))
	}
	for _, name := range []string{"user.old", "user.both", "user.overlay.opaque"} {
		require.NoError(t, unix.Setxattr(to, name, []byte("y"), 0))
	}
	require.NoError(t, fstest.Chmod(".", 0o1751).Apply(from))
	require.NoError(t, fstest.Touch(".", fstest.EditTime).Apply(from))
	want := fstest.FromPath(t, from)["."]

	f, err := os.Open(from)
	require.NoError(t, err)
	defer f.Close()
	root, err := diff.DirView(f).Root()
	require.NoError(t, err)
	defer root.Close()
	require.NoError(t, CopyRoot(to, root, whiteout.OverlayUser))
	got := fstest.FromPath(t, to)["."]
	require.Equal(t, "y", got.Xattrs["user.overlay.opaque"], "the encoding's own attribute stays")
	delete(got.Xattrs, "user.overlay.opaque")
	require.Equal(t, want.Attrs(), got.Attrs())

	require.NoError(t, EmptyRoot(to))
	got = fstest.FromPath(t, to)["."]
	require.Empty(t, got.Xattrs)
	require.Equal(t, "0755 0:0 0.000000000", got.Attrs())
}

func TestErrorsOfLayersMatchThoseOfTheContract(t *testing.T) {
	for from, to := range map[error]error{
		tar.ErrDigest: driver.ErrDigest, tar.ErrNeedsParents: driver.ErrNeedsParents, tar.ErrTorn: driver.ErrTorn,
		tar.ErrLongName: driver.ErrUnsupported, tar.ErrOwnXattr: driver.ErrUnsupported, tar.ErrLargeXattr: driver.ErrUnsupported, tar.ErrUnmappedID: driver.ErrUnsupported,
	} {
		got := TarError(from)
		require.ErrorIs(t, got, from)
		require.ErrorIs(t, got, to)
		require.Equal(t, got, TarError(got), "twice")
		text := from.Error()
		if text != to.Error() {
			text = to.Error() + ": " + text
		}
		require.EqualError(t, got, text)
	}
	require.Equal(t, os.ErrExist, TarError(os.ErrExist))
	require.NoError(t, TarError(nil))
}

func TestWhatIsRememberedHasToBeReadable(t *testing.T) {
	for known, want := range map[string]bool{`{"A":1}`: true, `{`: false, ``: false} {
		opts := driver.Options{ReadOnly: true}
		if known != "" {
			opts.Known = []byte(known)
		}
		f, ok, err := Learn(opts, func() (f struct{ A int }, err error) {
			t.Error("it was tried")
			return f, nil
		})
		require.NoError(t, err)
		require.Equal(t, want, ok, known)
		require.Equal(t, want, f.A == 1, known)
	}
}

// Only a full disk is a reason to open an existing store without probing.
func TestWhatAFullDiskDoesNotLetOneTryIsRemembered(t *testing.T) {
	for _, c := range []struct {
		existing    bool
		known       string
		err         error
		f           int
		knows, fail bool
	}{
		{true, "1", nil, 2, true, false},
		{true, "1", unix.ENOSPC, 1, true, false},
		{true, "", unix.ENOSPC, 0, false, false},
		{false, "1", unix.ENOSPC, 0, false, true},
		{true, "1", unix.EIO, 0, false, true},
	} {
		opts := driver.Options{Existing: c.existing}
		if c.known != "" {
			opts.Known = []byte(c.known)
		}
		f, knows, err := Learn(opts, func() (int, error) { return 2, c.err })
		require.Equal(t, c.f, f, c)
		require.Equal(t, c.knows, knows, c)
		if c.fail {
			require.ErrorIs(t, err, c.err)
		} else {
			require.NoError(t, err)
		}
	}
}

// A layer that is being made when the disk loses a write has no name yet, so it
// cannot be marked. It is torn as soon as it has a name.
func TestALayerMadeWhileTheDiskFailsIsTorn(t *testing.T) {
	s := open(t)
	require.NoError(t, s.Create("a", Meta{}, func(string) error {
		s.lost.Add(1)
		return nil
	}))
	require.NoError(t, s.Create("b", Meta{}, func(string) error { return nil }))
	for id, torn := range map[driver.ID]bool{"a": true, "b": false} {
		r, err := s.Record(id)
		require.NoError(t, err)
		require.Equal(t, torn, r.Torn, id)
	}
	other, err := Open(s.Root())
	require.NoError(t, err)
	_, err = other.Writable("a")
	require.ErrorIs(t, err, driver.ErrTorn, "also on disk")
	require.NoError(t, other.Close())
}
