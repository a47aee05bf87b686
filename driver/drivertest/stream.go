package drivertest

import (
	stdtar "archive/tar"
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	. "github.com/layerkeep/layerkeep/internal/fstest"
)

func (s *suite) testStream(t *testing.T) {
	t.Run("T1 v7, ustar, GNU and PAX are read", s.formats)
	t.Run("T1 PAX globals are ignored", s.paxGlobals)
	t.Run("T1 sparse files are read", s.sparse)
	t.Run("T2 empty input is the empty layer", s.emptyInput)
	t.Run("T2 trailing bytes count into the digest", s.trailing)
	t.Run("T3 gzip and zstd are found by magic", s.compressed)
	t.Run("T4 a wrong digest rolls the layer back", s.wrongDigest)
	t.Run("T6 Windows layers are refused by name", s.windows)
	t.Run("T7 a truncated or corrupt stream says where and is rolled back", s.corrupt)
	t.Run("T7 an error of the reader comes back", s.readerError)
	t.Run("small reads give the same", s.smallReads)
}

// applied applies raw bytes to a new layer and returns its tree.
func (st *store) applied(layer []byte) Tree {
	st.t.Helper()
	st.create("tmp")
	applied, err := st.d.ApplyDiff(st.ctx(), "tmp", bytes.NewReader(layer), driver.ApplyOptions{})
	require.NoError(st.t, err)
	require.NotEmpty(st.t, applied.DiffID)
	tree := st.tree("tmp")
	require.NoError(st.t, st.d.Remove(st.ctx(), "tmp"))
	return tree
}

func (s *suite) formats(t *testing.T) {
	st := s.open(t)
	long := strings.Repeat("long/", 40) + "name"
	for _, format := range []stdtar.Format{stdtar.FormatUSTAR, stdtar.FormatGNU, stdtar.FormatPAX} {
		var buf bytes.Buffer
		w := stdtar.NewWriter(&buf)
		name, target := long, strings.Repeat("t", 150)
		if format == stdtar.FormatUSTAR {
			name, target = "dir/"+strings.Repeat("n", 90), "short"
		}
		h := File(name, "body").WithMtime(7, 0).Header()
		h.Format = format
		require.NoError(t, w.WriteHeader(h))
		_, err := io.WriteString(w, "body")
		require.NoError(t, err)
		l := Symlink("l", target).WithMtime(7, 0).Header()
		l.Format = format
		require.NoError(t, w.WriteHeader(l))
		require.NoError(t, w.Close())
		tree := st.applied(buf.Bytes())
		require.Equal(t, "body", tree[name].Body, "format %v", format)
		require.Equal(t, target, tree["l"].Target, "format %v", format)
	}
	v7 := rawLayer(rawEntry{name: "d/", v7: true}, rawEntry{name: "d/f", body: "old", v7: true},
		rawEntry{name: "l", linkname: "d/f", flag: '2', v7: true}, rawEntry{name: "h", linkname: "d/f", flag: '1', v7: true})
	require.Equal(t, []string{"d/", "d/f:old", "h==d/f", "l->d/f"}, st.applied(v7).Brief())
	gnu := rawLayer(rawEntry{name: "././@LongLink", flag: 'L', body: long + "\x00", gnu: true}, rawEntry{name: "cut", flag: '0', body: "x", gnu: true},
		rawEntry{name: "././@LongLink", flag: 'K', body: long + "\x00", gnu: true}, rawEntry{name: "l", flag: '2', linkname: "cut", gnu: true})
	tree := st.applied(gnu)
	require.Equal(t, "x", tree[long].Body)
	require.Equal(t, long, tree["l"].Target)
	require.NotContains(t, tree, "cut")
}

func (s *suite) paxGlobals(t *testing.T) {
	st := s.open(t)
	layer := rawLayer(rawEntry{name: "g", flag: 'g', body: paxRecords(map[string]string{"path": "global", "uid": "77", "mtime": "7"})},
		rawEntry{name: "f", flag: '0', body: "x"})
	tree := st.applied(layer)
	require.Equal(t, []string{"f:x"}, tree.Brief())
	require.Equal(t, "0644 0:0 9.000000000", tree["f"].Attrs())
}

func (s *suite) sparse(t *testing.T) {
	st := s.open(t)
	const size = 1 << 20
	hole := strings.Repeat("\x00", size-5)
	// PAX 1.0: the map is in front of the data.
	sparse10 := rawLayer(rawEntry{
		name: "GNUSparseFile.0/f", flag: '0', body: pad("1\n0\n5\n") + "hello",
		pax: map[string]string{
			"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "f", "GNU.sparse.realsize": "1048576",
		},
	})
	sparse01 := rawLayer(rawEntry{
		name: "GNUSparseFile.0/f", flag: '0', body: "hello",
		pax: map[string]string{
			"GNU.sparse.size": "1048576", "GNU.sparse.numblocks": "1", "GNU.sparse.map": "0,5", "GNU.sparse.name": "f",
		},
	})
	for name, layer := range map[string][]byte{"1.0": sparse10, "0.1": sparse01} {
		tree := st.applied(layer)
		require.Len(t, tree, 2, name)
		require.Equal(t, int64(size), tree["f"].Size, name)
		require.Equal(t, Body("hello"+hole), tree["f"].Body, name)
	}
}

func pad(s string) string { return s + strings.Repeat("\x00", blockSize-len(s)%blockSize) }

func (s *suite) emptyInput(t *testing.T) {
	st := s.open(t)
	for _, layer := range [][]byte{nil, make([]byte, 1024), make([]byte, 10240), Layer(t), gzipped(t, nil), zstded(t, nil)} {
		require.Empty(t, st.applied(layer).Brief())
	}
	st.create("a")
	applied, err := st.d.ApplyDiff(t.Context(), "a", strings.NewReader(""), driver.ApplyOptions{DiffID: digest.FromString("")})
	require.NoError(t, err)
	require.Equal(t, driver.Applied{DiffID: digest.FromString("")}, applied)
}

func (s *suite) trailing(t *testing.T) {
	st := s.open(t)
	for _, tail := range [][]byte{make([]byte, 7*blockSize), []byte("trailing bytes"), slices.Concat(make([]byte, 8<<10), []byte("x"))} {
		layer := slices.Concat(Layer(t, File("f", "f"), Whiteout("x")), tail)
		for name, stream := range map[string][]byte{"plain": layer, "gzip": gzipped(t, layer), "zstd": zstded(t, layer)} {
			st.create("a")
			applied, err := st.d.ApplyDiff(t.Context(), "a", bytes.NewReader(stream), driver.ApplyOptions{DiffID: digest.FromBytes(layer)})
			require.NoError(t, err, name)
			require.Equal(t, driver.Applied{DiffID: digest.FromBytes(layer), Bytes: int64(len(layer)), Entries: 2}, applied, name)
			require.NoError(t, st.d.Remove(t.Context(), "a"))
		}
	}
}

func (s *suite) compressed(t *testing.T) {
	st := s.open(t)
	layer := Layer(t, Dir("d"), File("d/f", strings.Repeat("content ", 4000)))
	want := st.applied(layer)
	half := len(layer) / 2
	for name, stream := range map[string][]byte{
		"gzip":                       gzipped(t, layer),
		"gzip of several members":    slices.Concat(gzipped(t, layer[:half]), gzipped(t, nil), gzipped(t, layer[half:])),
		"zstd":                       zstded(t, layer),
		"zstd of several frames":     slices.Concat(zstded(t, layer[:half]), zstded(t, layer[half:])),
		"zstd with skippable frames": slices.Concat(skippable("before"), zstded(t, layer), skippable("after")),
	} {
		t.Run(name, func(t *testing.T) {
			st := s.open(t)
			require.Equal(t, want, st.applied(stream))
		})
	}
}

func (s *suite) wrongDigest(t *testing.T) {
	st := s.open(t)
	chain := st.layer("a", nil, Dir("d"), File("d/x", "x"))
	st.create("b", chain...)
	want := st.tree("b")
	layer := Layer(t, Whiteout("d/x"), File("d/y", "y"), Dir("d").WithMode(0o700))
	for _, stream := range [][]byte{layer, gzipped(t, layer)} {
		err := st.applyBytes("b", stream, driver.ApplyOptions{DiffID: digest.FromString("other")})
		require.ErrorIs(t, err, driver.ErrDigest)
		require.Equal(t, want, st.tree("b"))
	}
	require.NoError(t, st.applyBytes("b", gzipped(t, layer), driver.ApplyOptions{DiffID: digest.FromBytes(layer)}))
	require.Equal(t, []string{"d/", "d/y:y"}, st.tree("b").Brief())
}

func (s *suite) windows(t *testing.T) {
	st := s.open(t)
	st.create("a")
	err := st.apply("a", Dir("Files"), Dir("Files/Windows"), File("Files/Windows/notepad.exe", "MZ"), Dir("Hives"), File("Hives/System_Delta", "regf"))
	require.ErrorIs(t, err, driver.ErrInvalidLayer)
	require.ErrorContains(t, err, "Windows")
	require.Empty(t, st.tree("a").Brief())
}

func (s *suite) corrupt(t *testing.T) {
	st := s.open(t)
	chain := st.layer("base", nil, Dir("d"), File("d/x", "x"), File("f", "f"))
	st.create("a", chain...)
	want := st.tree("a")
	layer := Layer(t, Whiteout("d/x"), File("first", "1"), File("second", strings.Repeat("2", 3000)), File("third", "3"))
	second := bytes.Index(layer, []byte("222"))
	broken := bytes.Clone(layer)
	header := bytes.Index(broken, []byte("third"))
	broken[header+120] ^= 1
	zipped, zst := gzipped(t, layer), zstded(t, layer)
	badCRC := bytes.Clone(zipped)
	badCRC[len(badCRC)-6] ^= 1
	for name, c := range map[string]struct {
		layer []byte
		name  string
	}{
		"in a body":             {layer[:second+700], "second"},
		"in a header":           {layer[:header+300], "second"},
		"a bad checksum":        {broken, "second"},
		"no tar at all":         {bytes.Repeat([]byte("not a tar "), 200), ""},
		"gzip cut":              {zipped[:len(zipped)-20], ""},
		"gzip cut in the crc":   {zipped[:len(zipped)-3], ""},
		"gzip with a wrong crc": {badCRC, ""},
		"zstd cut":              {zst[:len(zst)-3], ""},
		"gzip magic only":       {[]byte{0x1f, 0x8b, 8}, ""},
	} {
		err := st.applyBytes("a", c.layer, driver.ApplyOptions{})
		require.ErrorIs(t, err, driver.ErrInvalidLayer, name)
		if c.name != "" {
			require.ErrorContains(t, err, c.name, "%s: the entry, or the one before it, is named", name)
			require.Regexp(t, `\d{3,}`, err.Error(), "%s: the offset is named", name)
		}
		require.Equal(t, want, st.tree("a"), name)
	}
	require.NoError(t, st.applyBytes("a", layer, driver.ApplyOptions{}), "the layer can be filled after all")
}

func (s *suite) readerError(t *testing.T) {
	st := s.open(t)
	st.create("a")
	broken := errors.New("the network is gone")
	layer := Layer(t, File("first", "1"), File("second", strings.Repeat("2", 30000)))
	for _, stream := range [][]byte{layer, gzipped(t, layer), zstded(t, layer)} {
		r := io.MultiReader(bytes.NewReader(stream[:len(stream)/2]), iotest.ErrReader(broken))
		_, err := st.d.ApplyDiff(t.Context(), "a", r, driver.ApplyOptions{})
		require.ErrorIs(t, err, broken)
		require.NotErrorIs(t, err, driver.ErrInvalidLayer, "a broken connection says nothing about the layer")
		require.Empty(t, st.tree("a").Brief())
	}
}

func (s *suite) smallReads(t *testing.T) {
	st := s.open(t)
	layer := Layer(t, Dir("d"), File("d/f", strings.Repeat("content ", 400)), Link("d/g", "d/f"))
	for _, stream := range [][]byte{layer, gzipped(t, layer)} {
		st.create("a")
		_, err := st.d.ApplyDiff(t.Context(), "a", iotest.OneByteReader(bytes.NewReader(stream)), driver.ApplyOptions{DiffID: digest.FromBytes(layer)})
		require.NoError(t, err)
		require.Len(t, st.tree("a"), 4)
		require.NoError(t, st.d.Remove(t.Context(), "a"))
	}
}
