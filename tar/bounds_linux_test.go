package tar

import (
	stdtar "archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// A layer that exactly reaches a limit is allowed.
func TestAStreamMayBeAsLargeAsItsLimits(t *testing.T) {
	s := &stream{limits: Limits{Bytes: 2 * ratioFloor, Ratio: 10}}
	for _, c := range []struct {
		total, compressed int64
		ok                bool
	}{
		{2 * ratioFloor, ratioFloor, true}, {2*ratioFloor + 1, ratioFloor, false},
		{ratioFloor, 1, true}, {ratioFloor + 1, 1, false}, {2 * ratioFloor, ratioFloor / 5, true}, {2 * ratioFloor, ratioFloor/5 - 1, false},
	} {
		err := s.check(c.total, c.compressed, io.EOF)
		if c.ok {
			require.Equal(t, io.EOF, err, c)
		} else {
			require.ErrorIs(t, err, diff.ErrInvalidLayer, c)
		}
	}
}

func TestADecompressorThatIsClosedReadsNoMore(t *testing.T) {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, err := w.Write([]byte("content"))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	for _, stream := range [][]byte{packed.Bytes(), []byte("plain")} {
		r, _, err := NewDecompressor(bytes.NewReader(stream))
		require.NoError(t, err)
		_, err = r.Read(make([]byte, 1))
		require.NoError(t, err)
		require.NoError(t, r.Close())
		_, err = r.Read(make([]byte, 1))
		require.ErrorIs(t, err, fs.ErrClosed)
		require.NoError(t, r.Close(), "twice")
	}
}

func TestOwnersAndNamesOfAttributesAreChecked(t *testing.T) {
	for _, bad := range []stdtar.Header{
		{Uid: -1}, {Gid: -1}, {Uid: maxID + 1}, {Gid: maxID + 1},
		{PAXRecords: map[string]string{schilyXattr: "x"}}, {PAXRecords: map[string]string{schilyXattr + "user.a\x00b": "x"}},
		{PAXRecords: map[string]string{schilyXattr + "\x00": "x"}},
	} {
		_, err := headerAttrs(&bad, whiteout.Plain)
		require.ErrorIs(t, err, diff.ErrInvalidLayer, "%+v", bad)
	}
	a, err := headerAttrs(&stdtar.Header{Uid: maxID, Gid: maxID, PAXRecords: map[string]string{schilyXattr + "user.a": "x", "other": "y"}}, whiteout.Plain)
	require.NoError(t, err)
	require.EqualValues(t, maxID, a.UID)
	require.EqualValues(t, maxID, a.GID)
	require.Len(t, a.Xattrs, 1)
}
