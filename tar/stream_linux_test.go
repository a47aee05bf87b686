package tar

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

func unpackNew(t *testing.T, layer io.Reader, opts UnpackOptions) (*os.File, Applied, error) {
	t.Helper()
	s := staging(t, t.TempDir())
	_, applied, err := Unpack(t.Context(), s, layer, opts)
	return s, applied, err
}

func gzipped(t *testing.T, b []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	_, err := z.Write(b)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	return buf.Bytes()
}

func zstandard(t *testing.T, b []byte) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	require.NoError(t, err)
	return z.EncodeAll(b, nil)
}

// skippable is a zstd frame that decoders must skip.
const skippable = "\x5a\x2a\x4d\x18\x03\x00\x00\x00abc"

func TestEveryCompressionGivesTheSameLayer(t *testing.T) {
	requireRoot(t)
	layer := fstest.Layer(t, fstest.Dir("d"), fstest.File("d/f", strings.Repeat("body ", 100_000)), fstest.File("g", ""))
	half := len(layer) / 2
	streams := map[string][]byte{
		"plain":                       layer,
		"gzip":                        gzipped(t, layer),
		"gzip of several members":     slices.Concat(gzipped(t, layer[:half]), gzipped(t, layer[half:]), gzipped(t, nil)),
		"zstd":                        zstandard(t, layer),
		"zstd of several frames":      slices.Concat(zstandard(t, layer[:half]), zstandard(t, layer[half:])),
		"zstd with skippable frames":  slices.Concat([]byte(skippable), zstandard(t, layer), []byte(skippable)),
		"plain with trailing garbage": slices.Concat(layer, []byte("garbage after the end")),
		"gzip with trailing blocks":   gzipped(t, slices.Concat(layer, make([]byte, 100_000))),
	}
	for name, s := range streams {
		t.Run(name, func(t *testing.T) {
			rc, _, err := NewDecompressor(bytes.NewReader(s))
			require.NoError(t, err)
			content, err := io.ReadAll(rc)
			require.NoError(t, err)
			require.NoError(t, rc.Close())
			want := Applied{DiffID: digest.FromBytes(content), Bytes: int64(len(content)), Entries: 3}
			for _, r := range []io.Reader{bytes.NewReader(s), iotest.OneByteReader(bytes.NewReader(s)), iotest.DataErrReader(bytes.NewReader(s))} {
				dir, applied, err := unpackNew(t, r, UnpackOptions{DiffID: want.DiffID})
				require.NoError(t, err)
				require.Equal(t, want, applied)
				require.Equal(t, fstest.Body(strings.Repeat("body ", 100_000)), fstest.FromPath(t, dir.Name())["d/f"].Body)
			}
		})
	}
}

func TestCompressIsReadBackAndDeterministic(t *testing.T) {
	content := bytes.Repeat([]byte("layer content "), 300_000)
	for _, c := range []Compression{None, Gzip, Zstd} {
		var once, twice bytes.Buffer
		for _, buf := range []*bytes.Buffer{&once, &twice} {
			w, err := Compress(buf, c)
			require.NoError(t, err)
			_, err = w.Write(content)
			require.NoError(t, err)
			require.NoError(t, w.Close())
		}
		require.Equal(t, once.Bytes(), twice.Bytes(), "%s", c)
		r, found, err := NewDecompressor(&once)
		require.NoError(t, err)
		require.Equal(t, c, found)
		back, err := io.ReadAll(r)
		require.NoError(t, err)
		require.True(t, bytes.Equal(content, back), "%s", c)
	}
	_, err := Compress(io.Discard, 77)
	require.Error(t, err)
}

func TestEmptyInputIsTheEmptyLayer(t *testing.T) {
	requireRoot(t)
	for name, s := range map[string][]byte{"nothing": nil, "gzip of nothing": gzipped(t, nil), "zstd of nothing": zstandard(t, nil)} {
		_, applied, err := unpackNew(t, bytes.NewReader(s), UnpackOptions{})
		require.NoError(t, err, name)
		require.Equal(t, Applied{DiffID: digest.FromBytes(nil)}, applied, name)
	}
}

func TestAnotherDigestIsAnError(t *testing.T) {
	requireRoot(t)
	layer := fstest.Layer(t, fstest.File("f", "x"))
	_, _, err := unpackNew(t, bytes.NewReader(layer), UnpackOptions{DiffID: digest.FromString("other")})
	require.ErrorIs(t, err, ErrDigest)
	_, applied, err := unpackNew(t, bytes.NewReader(layer), UnpackOptions{DiffID: digest.SHA512.FromBytes(layer)})
	require.NoError(t, err, "another algorithm is checked as well")
	require.Equal(t, digest.SHA512.FromBytes(layer), applied.DiffID)
	_, _, err = unpackNew(t, bytes.NewReader(layer), UnpackOptions{DiffID: "sha256:short"})
	require.Error(t, err)
}

func TestATruncatedStreamIsInvalidAndSaysWhere(t *testing.T) {
	requireRoot(t)
	layer := fstest.Layer(t, fstest.File("first", "1"), fstest.File("second", strings.Repeat("x", 3<<20)), fstest.File("third", "3"))
	zipped := gzipped(t, layer)
	for _, c := range []struct {
		name, entry string
		stream      []byte
	}{
		{"in a header", "first", layer[:2048+300]},
		{"in a large body", "second", layer[:2<<20]},
		{"in gzip", "second", zipped[:len(zipped)/2]},
		{"in the last bytes of gzip", "", zipped[:len(zipped)-3]},
		{"in zstd", "", zstandard(t, layer)[:100]},
		{"corrupt gzip", "", func() []byte {
			b := bytes.Clone(zipped)
			b[len(b)-6] ^= 0xff
			return b
		}()},
		{"a gzip header alone", "", zipped[:6]},
		{"no tar at all", "", bytes.Repeat([]byte("not a tar file. "), 100)},
		{"xz", "xz", []byte("\xfd7zXZ\x00 and so on, but not as it should")},
		{"bzip2", "", []byte("BZh91AY&SY and so on, but not as it should")},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := unpackNew(t, bytes.NewReader(c.stream), UnpackOptions{})
			require.ErrorIs(t, err, diff.ErrInvalidLayer)
			require.ErrorContains(t, err, c.entry)
			require.ErrorContains(t, err, "offset")
		})
	}
}

func TestTroubleOfTheReaderIsNoInvalidLayer(t *testing.T) {
	requireRoot(t)
	layer := fstest.Layer(t, fstest.File("f", strings.Repeat("x", 2<<20)))
	broken := errors.New("connection lost")
	for _, b := range [][]byte{layer, gzipped(t, layer), zstandard(t, layer)} {
		r := io.MultiReader(bytes.NewReader(b[:len(b)/2]), iotest.ErrReader(broken))
		_, _, err := unpackNew(t, r, UnpackOptions{})
		require.ErrorIs(t, err, broken)
		require.NotErrorIs(t, err, diff.ErrInvalidLayer)
	}
}

func TestACancelledContextEndsAReadThatBlocks(t *testing.T) {
	requireRoot(t)
	r, w := io.Pipe()
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		layer := fstest.Layer(t, fstest.File("f", "x"))
		_, _ = w.Write(layer[:1024])
		cancel()
	}()
	_, _, err := Unpack(ctx, staging(t, t.TempDir()), r, UnpackOptions{})
	require.ErrorIs(t, err, context.Canceled)
}

func TestAFullDiskIsAnErrorOfThisMachine(t *testing.T) {
	requireRoot(t)
	dir := fstest.ScratchSize(t, fstest.Tmpfs, 1)
	for name, entries := range map[string][]fstest.Entry{
		"a large file":     {fstest.File("f", strings.Repeat("x", 3<<20))},
		"many small files": slices.Repeat([]fstest.Entry{fstest.Dir("d"), fstest.File("d/f", strings.Repeat("x", 900<<10)), fstest.File("d/g", strings.Repeat("y", 900<<10))}, 1),
	} {
		_, _, err := Unpack(t.Context(), staging(t, dir), bytes.NewReader(fstest.Layer(t, entries...)), UnpackOptions{})
		require.ErrorIs(t, err, unix.ENOSPC, name)
		require.NotErrorIs(t, err, diff.ErrInvalidLayer)
		require.ErrorContains(t, err, "f", "the entry is named")
	}
}

func TestHolesStayHoles(t *testing.T) {
	requireRoot(t)
	// GNU.sparse 1.0: the map comes before the data.
	data := strings.Repeat("d", 4096)
	sparseMap := "2\n0\n4096\n268431360\n4096\n"
	body := sparseMap + strings.Repeat("\x00", 512-len(sparseMap)) + data + data
	e := fstest.File("GNUSparseFile.0/sparse", body)
	layer := rawLayer(t, e, map[string]string{
		"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "sparse", "GNU.sparse.realsize": "268435456",
	})
	dir, _, err := unpackNew(t, bytes.NewReader(layer), UnpackOptions{})
	require.NoError(t, err)
	st, exists, err := lstat(int(dir.Fd()), "sparse")
	require.NoError(t, err)
	require.True(t, exists)
	require.EqualValues(t, 256<<20, st.Size)
	require.Less(t, st.Blocks*512, int64(1<<20), "bytes on disk")
	content, err := os.ReadFile(dir.Name() + "/sparse")
	require.NoError(t, err)
	require.Equal(t, data, string(content[:4096]))
	require.Equal(t, data, string(content[len(content)-4096:]))

	_, _, err = unpackNew(t, bytes.NewReader(layer), UnpackOptions{Limits: Limits{Bytes: 256 << 20}})
	require.NoError(t, err, "as much as is allowed, holes included")
	_, _, err = unpackNew(t, bytes.NewReader(layer), UnpackOptions{Limits: Limits{Bytes: 256<<20 - 1}})
	require.ErrorIs(t, err, diff.ErrInvalidLayer)
}
