package image

import (
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestADirectoryGivesOnlyItsOwnRegularFiles(t *testing.T) {
	dir := t.TempDir()
	outside := writeFile(t, "secret", []byte("secret"))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), []byte("x"), 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "d"), 0o700))
	for name, target := range map[string]string{
		"inside": "file", "d/up": "../inside", "outside": outside, "absolute": filepath.Join(dir, "file"),
		"away": "..", "tofifo": "fifo", "nowhere": "missing",
	} {
		require.NoError(t, os.Symlink(target, filepath.Join(dir, name)))
	}
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	bag, err := openDirBag(dir)
	require.NoError(t, err)
	defer bag.Close()

	for how, open := range map[string]func(string) (*os.File, error){"openat2": bag.openPlain, "stat": bag.openByStat} {
		t.Run(how, func(t *testing.T) {
			for _, name := range []string{"file", "inside", "d/up", "d/../file"} {
				f, err := open(name)
				require.NoError(t, err, name)
				raw, err := io.ReadAll(f)
				require.NoError(t, err)
				require.Equal(t, "x", string(raw))
				require.NoError(t, f.Close())
			}
			for _, name := range []string{"outside", "absolute", "away/" + filepath.Base(dir) + "/file"} {
				_, err := open(name)
				require.ErrorIs(t, err, ErrLink, name)
				require.ErrorContains(t, err, name)
			}
			for _, name := range []string{"fifo", "tofifo"} {
				_, err := open(name)
				require.ErrorIs(t, err, ErrInvalid, name)
				require.ErrorContains(t, err, "not a regular file")
			}
			for _, name := range []string{"missing", "nowhere"} {
				_, err := open(name)
				require.ErrorIs(t, err, os.ErrNotExist, name)
			}
		})
	}
	_, _, err = bag.open(".")
	require.ErrorIs(t, err, ErrInvalid)
}

// linked writes a layout whose files are links to those of another directory,
// beside it or inside it.
func linked(t *testing.T, m *maker, inside, absolute bool) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "links")
	require.NoError(t, os.Mkdir(dir, 0o755))
	store := filepath.Join(filepath.Dir(dir), "store")
	if inside {
		store = filepath.Join(dir, ".store")
	}
	require.NoError(t, os.Rename(m.dir(), store))
	for name := range m.all() {
		link := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(link), 0o755))
		target := filepath.Join(store, name)
		if !absolute {
			var err error
			target, err = filepath.Rel(filepath.Dir(link), target)
			require.NoError(t, err)
		}
		require.NoError(t, os.Symlink(target, link))
	}
	return dir
}

func TestALayoutOfLinksIsReadWhenTheyStayInside(t *testing.T) {
	s := newStore(t, "vfs")
	m := newMaker(t)
	target := m.add(m.image(oneLayer(t, "first")), "app:1")
	for name, c := range map[string]struct{ inside, absolute bool }{
		"inside": {true, false}, "outside": {false, false}, "absolute": {true, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := linked(t, m, c.inside, c.absolute)
			src, err := ParseSource(dir, nil)
			require.NoError(t, err)
			img, err := s.Import(t.Context(), src, ImportOptions{})
			if c.inside && !c.absolute {
				require.NoError(t, err)
				require.Equal(t, target.Digest, img.Target.Digest)
				sent, _ := packed(t, dir)
				img, err = s.Import(t.Context(), sent, ImportOptions{})
				require.NoError(t, err)
				require.Equal(t, target.Digest, img.Target.Digest)
				return
			}
			require.ErrorIs(t, err, ErrLink)
			_, _, err = src.Pack(t.Context(), ImportOptions{})
			require.ErrorIs(t, err, ErrLink)
		})
	}
	t.Run("a layer alone leads out", func(t *testing.T) {
		dir := m.dir()
		layer := filepath.Join(dir, blobName(m.manifestOf(target).Layers[0].Digest))
		moved := filepath.Join(t.TempDir(), "layer")
		require.NoError(t, os.Rename(layer, moved))
		require.NoError(t, os.Symlink(moved, layer))
		src, err := ParseSource(dir, nil)
		require.NoError(t, err)
		_, _, err = src.Pack(t.Context(), ImportOptions{})
		require.ErrorIs(t, err, ErrLink)
		_, err = newStore(t, "vfs").Import(t.Context(), src, ImportOptions{})
		require.ErrorIs(t, err, ErrLink)
		require.ErrorContains(t, err, filepath.Base(layer))
	})
}
