package layerdir

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/mount"
)

// FuzzRecord reads any bytes as the record of a layer. The parents in an
// accepted record can be parts of paths. The record can be written and read
// back unchanged.
func FuzzRecord(f *testing.F) {
	for _, m := range []Meta{
		{Version: metaVersion},
		{
			Version: metaVersion, Parents: []driver.ID{"1", "2"}, Sealed: true, Usage: &driver.Usage{Bytes: 5, Inodes: 1}, Size: 1 << 20,
			Metacopy: true, Escaped: true, Note: json.RawMessage(`{"a": [1, "b"]}`),
		},
		{Version: metaVersion, View: true, Detached: true, Merging: true, IDMap: &mount.IDMap{}},
	} {
		raw, err := json.Marshal(m)
		require.NoError(f, err)
		f.Add(raw)
	}
	f.Add([]byte(`{"version":1,"parents":["../x"]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := decodeMeta("id", raw)
		if err != nil {
			return
		}
		for _, p := range m.Parents {
			require.NoError(t, p.Validate())
		}
		one, err := json.Marshal(m)
		require.NoError(t, err)
		again, err := decodeMeta("id", one)
		require.NoError(t, err)
		two, err := json.Marshal(again)
		require.NoError(t, err)
		require.Equal(t, string(one), string(two))
	})
}
