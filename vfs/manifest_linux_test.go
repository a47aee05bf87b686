package vfs

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAManifestKnowsWhichDirectoryWasWhere(t *testing.T) {
	file := filepath.Join(t.TempDir(), "manifest")
	long := strings.Repeat("deep/", maxRecordedPath/5-1)
	var r recording
	for path, ino := range map[string]uint64{".": 7, "a": 12, "a/b\n": 3, long: 5, long + "x": 4} {
		r.add([]byte(path), ino)
	}
	r.add([]byte(strings.Repeat("d/", maxRecordedPath)), 9) // too long to be recorded, so it is compared
	require.Equal(t, 5, r.count)
	stamp := time.Unix(-3, 999)
	require.NoError(t, r.save(file, stamp))

	m, err := loadManifest(file)
	require.NoError(t, err)
	require.True(t, stamp.Equal(m.stamp))
	for path, ino := range map[string]uint64{".": 7, "a": 12, "a/b\n": 3, long: 5, long + "x": 4} {
		require.True(t, m.has(path, ino), ino)
		require.False(t, m.has(path, ino+1), ino)
		require.False(t, m.has(path+"y", ino), ino)
	}
	require.False(t, m.has("a", 3), "moved to the place of another")
	require.False(t, m.has("", 0))
}

// A manifest whose stamp was changed to a later time would hide changes.
func TestAManifestWithAFlippedBitIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "manifest")
	var r recording
	r.add([]byte("."), 7)
	r.add([]byte("a/b"), 12)
	require.NoError(t, r.save(file, time.Unix(1_796_018_287, 5)))
	sound, err := os.ReadFile(file)
	require.NoError(t, err)
	for bit := range 8 * len(sound) {
		damaged := bytes.Clone(sound)
		damaged[bit/8] ^= 1 << (bit % 8)
		if bytes.HasPrefix(damaged, []byte(manifestMagic1)) {
			continue // flipping two bits turns one magic into the other
		}
		require.NoError(t, os.WriteFile(file, damaged, 0o600))
		_, err := loadManifest(file)
		require.Error(t, err, "bit %d", bit)
	}
}

// Manifests of version 1 have no checksum.
func TestAManifestOfTheFirstVersionIsRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "manifest")
	require.NoError(t, os.WriteFile(file, []byte(manifestMagic1+"\x001796018287\x005\x001\x0012\x00a\x00"), 0o600))
	m, err := loadManifest(file)
	require.NoError(t, err)
	require.True(t, time.Unix(1_796_018_287, 5).Equal(m.stamp))
	require.True(t, m.has("a", 12))
}

// A manifest that another program made must not be read into memory without a
// limit.
func TestAManifestWithAFieldWithoutAnEndIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "manifest")
	for _, before := range []string{"", manifestMagic + "\x001\x002\x003\x004\x00"} {
		f, err := os.Create(path)
		require.NoError(t, err)
		_, err = f.WriteString(before)
		require.NoError(t, err)
		part := bytes.Repeat([]byte("a"), 1<<20)
		for range maxField>>20 + 2 {
			_, err = f.Write(part)
			require.NoError(t, err)
		}
		require.NoError(t, f.Close())
		_, err = loadManifest(path)
		require.Error(t, err)
	}
}

func TestAManifestOfManyDirectoriesTakesLittleMemory(t *testing.T) {
	const n = 100_000
	file := filepath.Join(t.TempDir(), "manifest")
	var r recording
	for i := range n {
		r.add(fmt.Appendf(nil, "some/rather/long/path/to/a/directory/%07d", i), uint64(n-i))
	}
	require.NoError(t, r.save(file, time.Now()))
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	m, err := loadManifest(file)
	require.NoError(t, err)
	runtime.GC()
	runtime.ReadMemStats(&after)
	require.Less(t, int64(after.HeapAlloc)-int64(before.HeapAlloc), int64(24*n), "bytes")
	require.True(t, m.has("some/rather/long/path/to/a/directory/0000001", n-1))
}
