package layerdir

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
)

// A flipped bit can turn a record into another valid record.
func TestAFlippedBitInARecordIsFound(t *testing.T) {
	s := open(t)
	sealed(t, s, "a", "x")
	m := Meta{Parents: []driver.ID{"a"}, Sealed: true, Metacopy: true, Usage: &driver.Usage{Bytes: 1, Inodes: 2}, Note: json.RawMessage(`{"label":"value <&>"}`)}
	require.NoError(t, s.Create("b", m, func(string) error { return nil }))
	raw, err := os.ReadFile(s.Path("b", RecordName))
	require.NoError(t, err)
	want, err := s.Load("b")
	require.NoError(t, err)
	require.Equal(t, m.Parents, want.Parents)
	require.JSONEq(t, string(m.Note), string(want.Note))
	found := 0
	for bit := range 8 * len(raw) {
		damaged := bytes.Clone(raw)
		damaged[bit/8] ^= 1 << (bit % 8)
		got, err := decodeMeta("b", damaged)
		if err != nil {
			found++
			continue
		}
		require.Equal(t, want, got, "%s", damaged) // the bit was in the field name of the checksum, or in the newline
	}
	require.Greater(t, found, 8*len(raw)-60)
}

// Records of earlier versions have no checksum.
func TestARecordWithoutAChecksumIsRead(t *testing.T) {
	m, err := decodeMeta("a", []byte(`{"version":1,"sealed":true}`+"\n"))
	require.NoError(t, err)
	require.True(t, m.Sealed)
	for _, raw := range []string{`{"version":1,"sum":"0"}`, `{"sum":"00000000","version":1}`, `{"version":1,"sum":"00000000"}`} {
		_, err := decodeMeta("a", []byte(raw))
		require.ErrorContains(t, err, "checksum", raw)
	}
}
