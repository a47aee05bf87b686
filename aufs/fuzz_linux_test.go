package aufs

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// FuzzParents reads any bytes as the file of a layer's parents. An accepted
// file has each parent once, not the layer itself, and only IDs that can be
// parts of paths. It can be written and read back unchanged.
func FuzzParents(f *testing.F) {
	f.Add([]byte("b\nc\n"))
	f.Add([]byte("b\r\n\nc"))
	f.Add([]byte("../x\n"))
	f.Add([]byte("b\nb\n"))
	f.Add([]byte("id\n"))
	f.Add([]byte(strings.Repeat("a", 70_000)))
	s, err := openStore(fstest.MemoryDir(f), driver.Options{})
	require.NoError(f, err)
	f.Cleanup(func() { require.NoError(f, s.Close()) })
	f.Fuzz(func(t *testing.T, text []byte) {
		require.NoError(t, os.WriteFile(s.parentsFile("id"), text, 0o600))
		parents, err := s.readParents("id")
		if err != nil {
			require.ErrorIs(t, err, driver.ErrInvalidLayer)
			return
		}
		seen := map[driver.ID]bool{"id": true}
		for _, p := range parents {
			require.NoError(t, p.Validate())
			require.False(t, seen[p], "%s twice", p)
			require.Contains(t, string(text), string(p))
			seen[p] = true
		}
		require.LessOrEqual(t, len(parents), maxParents)
		require.NoError(t, os.WriteFile(s.parentsFile("id"), parentsText(parents), 0o600))
		again, err := s.readParents("id")
		require.NoError(t, err)
		require.Equal(t, parents, again)
	})
}

// FuzzKeptTimes reads any line as the time of a directory. An accepted line can
// be written and read back unchanged.
func FuzzKeptTimes(f *testing.F) {
	f.Add(`-3 5 "a/b\n"`)
	f.Add(`1 2 "../x"`)
	f.Add(`9223372036854775807 9223372036854775807 "."`)
	f.Fuzz(func(t *testing.T, line string) {
		dir, mtime, ok := parseKept(line)
		if !ok {
			return
		}
		again, then, ok := parseKept(fmt.Sprintf("%d %d %q", mtime.Unix(), mtime.Nanosecond(), dir))
		require.True(t, ok)
		require.Equal(t, dir, again)
		require.True(t, mtime.Equal(then))
	})
}
