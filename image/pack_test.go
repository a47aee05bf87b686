package image

import (
	stdtar "archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/tar"
)

// packed returns what Pack sends of a source.
func packed(t *testing.T, source string) (Source, []byte) {
	t.Helper()
	src, err := ParseSource(source, nil)
	require.NoError(t, err)
	out, done, err := src.Pack(t.Context(), ImportOptions{})
	require.NoError(t, err)
	raw, err := io.ReadAll(out.Reader)
	require.NoError(t, err)
	require.NoError(t, done.Close())
	out.Reader = bytes.NewReader(raw)
	return out, raw
}

func TestAPackedSourceIsImportedAsTheSourceItself(t *testing.T) {
	onEachDriver(t, func(t *testing.T, s *Store) {
		layers := threeLayers(t, tar.Gzip)
		m := newMaker(t)
		m.add(m.image(imageSpec{layers: layers}), "1")
		for name, source := range map[string]string{
			"layout":       m.dir(),
			"layout, said": "oci:" + m.dir() + ":1",
			"archive":      writeFile(t, "app.tar", m.archive()),
			"gzip":         "oci-archive:" + writeFile(t, "app.tar.gz", pack(t, m.archive(), tar.Gzip)) + ":1",
			"docker":       writeFile(t, "saved.tar", makeTar(t, dockerSave(t, []string{"app:1"}, layers...)...)),
		} {
			t.Run(name, func(t *testing.T) {
				src, err := ParseSource(source, nil)
				require.NoError(t, err)
				want, err := s.Import(t.Context(), src, ImportOptions{})
				require.NoError(t, err)
				sent, _ := packed(t, source)
				require.Equal(t, source, sent.String())
				got, err := s.Import(t.Context(), sent, ImportOptions{})
				require.NoError(t, err)
				got.Imported = want.Imported
				require.Equal(t, want, got)
			})
		}
	})
}

func TestOfALayoutOnlyTheLayersOfTheImageArePacked(t *testing.T) {
	big := bytes.Repeat([]byte("x"), maxDocument)
	one := layerSpec{raw: makeTar(t, file{name: "one", body: "1" + string(big)})}
	two := layerSpec{raw: makeTar(t, file{name: "two", body: "2" + string(big)})}
	m := newMaker(t)
	m.add(m.image(imageSpec{layers: []layerSpec{one}}), "1")
	m.add(m.image(imageSpec{layers: []layerSpec{two}}), "2")
	_, raw := packed(t, "oci:"+m.dir()+":1")
	require.Less(t, len(raw), 2*len(big))
	r := stdtar.NewReader(bytes.NewReader(raw))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		require.NotContains(t, h.Name, "..")
	}
}

func TestPackSaysWhatImportWouldSayOfAPath(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	for source, want := range map[string]error{
		dir + "/missing":             ErrNotFound,
		"docker-archive:" + dir:      ErrInvalid,
		"oci:" + dir + "/file":       ErrInvalid,
		dir:                          ErrInvalid,
		"oci-archive:" + dir + "/no": fs.ErrNotExist,
	} {
		src, err := ParseSource(source, nil)
		require.NoError(t, err)
		_, _, err = src.Pack(t.Context(), ImportOptions{})
		require.ErrorIs(t, err, want, source)
		s := newStore(t, "vfs")
		_, importErr := s.Import(t.Context(), src, ImportOptions{})
		require.EqualError(t, err, importErr.Error())
	}
}

func TestLinksOutOfALayoutAreNotPacked(t *testing.T) {
	m := newMaker(t)
	m.add(m.image(imageSpec{layers: threeLayers(t, tar.None)}), "1")
	dir := m.dir()
	secret := writeFile(t, "secret", []byte("hunter2"))
	require.NoError(t, os.Symlink(secret, filepath.Join(dir, "blobs", "sha256", "evil")))
	require.NoError(t, os.Symlink(".", filepath.Join(dir, "loop")))
	_, raw := packed(t, dir)
	require.NotContains(t, string(raw), "hunter2")
}

func TestASnapshotThatAnImageOrAnImportNeedsIsNotRemoved(t *testing.T) {
	s := newStore(t, "vfs")
	m := newMaker(t)
	m.add(m.image(imageSpec{layers: threeLayers(t, tar.None)}), "app:1")
	src, err := ParseSource(m.dir(), nil)
	require.NoError(t, err)
	img, err := s.Import(t.Context(), src, ImportOptions{})
	require.NoError(t, err)

	var used *InUseError
	require.ErrorAs(t, s.RemoveSnapshot(t.Context(), img.Snapshot), &used)
	require.Equal(t, img.Name, used.Image)

	require.NoError(t, s.snaps.Create(t.Context(), "work", ""))
	require.NoError(t, s.pins.pin(t.Context(), snapPin("work")))
	require.ErrorIs(t, s.RemoveSnapshot(t.Context(), "work"), driver.ErrBusy)
	s.pins.unpin(snapPin("work"))
	require.NoError(t, s.RemoveSnapshot(t.Context(), "work"))
	require.ErrorContains(t, s.RemoveSnapshot(t.Context(), "work"), "not found")
}
