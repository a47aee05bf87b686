package vfs

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

// FuzzManifest reads any bytes as a manifest. It is accepted exactly if its
// fields are those of a manifest, however the reads split it. Then it has the
// directories that it lists and no others.
func FuzzManifest(f *testing.F) {
	for _, rest := range []string{
		"\x00-3\x00999\x002\x007\x00.\x0012\x00a/b\n\x00",
		"\x001\x002\x009223372036854775807\x00",
		"\x001\x002\x00-1\x00",
	} {
		f.Add([]byte(manifestMagic1 + rest))
		f.Add(fmt.Appendf(nil, "%s%s%x\x00", manifestMagic, rest, sha256.Sum256([]byte(manifestMagic+rest))))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		path := filepath.Join(fstest.MemoryDir(t), "manifest")
		require.NoError(t, os.WriteFile(path, input, 0o600))
		m, err := loadManifest(path)
		stamp, dirs, ok := parseWhole(string(input))
		require.Equal(t, ok, err == nil, "%v", err)
		if !ok {
			return
		}
		require.True(t, stamp.Equal(m.stamp))
		require.Len(t, m.dirs.dirs, len(dirs))
		count := map[uint64]int{}
		for _, d := range dirs {
			count[d.ino]++
		}
		for _, d := range dirs {
			if count[d.ino] == 1 { // with several entries, any of them may be found
				require.True(t, m.has(d.path, d.ino), "%d at %q", d.ino, d.path)
				require.False(t, m.has(d.path+"x", d.ino))
			}
			if count[d.ino+1] == 0 {
				require.False(t, m.has(d.path, d.ino+1))
			}
		}
	})
}

type wholeDir struct {
	ino  uint64
	path string
}

// parseWhole reads a manifest that is in memory.
func parseWhole(text string) (stamp time.Time, dirs []wholeDir, ok bool) {
	fields := strings.Split(text, "\x00")
	rest := fields[len(fields)-1] // the text after the last NUL is not a field
	fields = fields[:len(fields)-1]
	if len(fields) < 4 || fields[0] != manifestMagic && fields[0] != manifestMagic1 {
		return stamp, nil, false
	}
	all := fields
	number := func(s string) int64 {
		n, err := strconv.ParseInt(s, 10, 64)
		ok = ok && err == nil
		return n
	}
	ok = true
	stamp = time.Unix(number(fields[1]), number(fields[2]))
	n := number(fields[3])
	for fields = fields[4:]; n > 0 && ok; n-- {
		if len(fields) < 2 {
			return stamp, nil, false
		}
		dirs = append(dirs, wholeDir{uint64(number(fields[0])), fields[1]})
		fields = fields[2:]
	}
	if all[0] == manifestMagic {
		before := strings.Join(all[:len(all)-len(fields)], "\x00") + "\x00"
		if len(fields) == 0 || fields[0] != fmt.Sprintf("%x", sha256.Sum256([]byte(before))) {
			return stamp, nil, false
		}
		fields = fields[1:]
	}
	return stamp, dirs, ok && len(fields) == 0 && rest == "" // nothing follows the last field
}
