package image

import (
	"bytes"
	"errors"
	"io"
	"os/exec"
	"testing"
	"testing/iotest"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
	"github.com/ulikunitz/xz"

	"github.com/layerkeep/layerkeep/tar"
)

// xzOf compresses with a package. bzip2Of uses a program, because no package
// writes bzip2.
func xzOf(t testing.TB, raw []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := xz.WriterConfig{DictCap: 1 << 20}.NewWriter(&b)
	require.NoError(t, err)
	_, err = w.Write(raw)
	require.NoError(t, errors.Join(err, w.Close()))
	return b.Bytes()
}

func bzip2Of(t testing.TB, raw []byte) []byte {
	t.Helper()
	tool, err := exec.LookPath("bzip2")
	if err != nil {
		t.Skip("the program bzip2 is missing")
	}
	cmd := exec.Command(tool, "-c")
	cmd.Stdin = bytes.NewReader(raw)
	out, err := cmd.Output()
	require.NoError(t, err)
	return out
}

func TestAPackedArchiveThatIsCutIsInvalidAndAReaderInTroubleIsNot(t *testing.T) {
	s := newStore(t, "vfs")
	m := newMaker(t)
	m.add(m.image(oneLayer(t, "first")), "app:1")
	broken := errors.New("connection lost")
	for _, packed := range []tar.Compression{tar.Gzip, tar.Zstd} {
		whole := pack(t, m.archive(), packed)
		_, err := s.importFrom(writeFile(t, "cut", whole[:len(whole)-30]), ImportOptions{})
		require.ErrorIs(t, err, ErrInvalid)
		require.ErrorContains(t, err, "not whole")
		half := io.MultiReader(bytes.NewReader(whole[:len(whole)/2]), iotest.ErrReader(broken))
		_, err = s.Import(t.Context(), Source{Path: "-", Reader: half}, ImportOptions{})
		require.ErrorIs(t, err, broken)
		require.NotErrorIs(t, err, ErrInvalid)
	}
}

var otherPackers = map[string]func(testing.TB, []byte) []byte{"xz": xzOf, "bzip2": bzip2Of}

func TestArchivesPackedWithXZAndBzip2AreImported(t *testing.T) {
	s := newStore(t, "vfs")
	m := newMaker(t)
	layers := threeLayers(t, tar.Gzip, tar.None)
	target := m.add(m.image(imageSpec{layers: layers}), "app:1")
	for name, packed := range otherPackers {
		t.Run(name, func(t *testing.T) {
			img := s.mustImport(t, writeFile(t, "app.tar."+name, packed(t, m.archive())), ImportOptions{})
			require.Equal(t, target.Digest, img.Target.Digest)
			docker := s.mustImport(t, writeFile(t, "saved", packed(t, makeTar(t, dockerSave(t, []string{"saved:1"}, layers...)...))), ImportOptions{})
			require.Equal(t, img.Snapshot, docker.Snapshot)
			stream := Source{Path: "-", Reader: bytes.NewReader(packed(t, m.archive()))}
			piped, err := s.Import(t.Context(), stream, ImportOptions{})
			require.NoError(t, err)
			require.Equal(t, target.Digest, piped.Target.Digest)

			whole := packed(t, m.archive())
			_, err = s.importFrom(writeFile(t, "cut", whole[:len(whole)-30]), ImportOptions{})
			require.ErrorIs(t, err, ErrInvalid)
		})
	}
}

// TestLayersPackedWithXZAndBzip2 tests that such layers are decompressed in a
// Docker archive, which does not say how they are compressed. The OCI
// specification has no media types for them.
func TestLayersPackedWithXZAndBzip2(t *testing.T) {
	for name, packed := range otherPackers {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, "vfs")
			files := dockerSave(t, []string{"app:1"}, threeLayers(t, tar.None)...)
			layer := 0
			for i, f := range files {
				if len(f.body) > 1024 && f.name[len(f.name)-4:] == ".tar" {
					files[i].body = string(packed(t, []byte(f.body)))
					layer++
				}
			}
			require.Equal(t, 3, layer)
			img := s.mustImport(t, writeFile(t, "saved.tar", makeTar(t, files...)), ImportOptions{})
			requireProvides(t, s, img.Snapshot, threeLayersShow...)
			for i, l := range threeLayers(t, tar.None) {
				require.Equal(t, digest.FromBytes(l.raw), img.Layers[i].Blob.Digest)
				require.Equal(t, ocispec.MediaTypeImageLayer, img.Layers[i].Blob.MediaType)
				require.EqualValues(t, len(l.raw), img.Layers[i].Blob.Size)
			}

			m := newMaker(t)
			raw := threeLayers(t, tar.None)[0].raw
			m.add(m.image(imageSpec{layers: []layerSpec{{raw: packed(t, raw)}}, diffIDs: []digest.Digest{digest.FromBytes(raw)}}), "app:1")
			_, err := s.importFrom(m.dir(), ImportOptions{})
			require.ErrorIs(t, err, ErrMediaType)
			require.ErrorContains(t, err, "the content is "+name)
		})
	}
}
