package tar

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// oddTimes are files with times that some file systems cannot store, with the
// result of two of these file systems for each.
func oddTimes() []fstest.Entry {
	var entries []fstest.Entry
	for i, s := range []int64{
		time.Time{}.Unix(), time.Time{}.Unix() + 1, -11_644_473_600, math.MinInt32 - 1, -1, 1 << 31, 15_032_385_535,
		16_299_260_424, 16_725_225_600, 253_402_300_799,
	} {
		entries = append(entries, fstest.File(fmt.Sprintf("t%d", i), "x").WithMtime(s, 0))
	}
	return append(entries, fstest.Symlink("l", "x").WithMtime(-5_000_000_000, 0), fstest.Fifo("p").WithMtime(1<<40, 0),
		fstest.Dir("d").WithMtime(time.Time{}.Unix(), 0), fstest.File("ns", "").WithMtime(5, 7))
}

func TestTimesThatAFileSystemCannotHoldAreWarnedOf(t *testing.T) {
	requireRoot(t)
	const small, large, xfs = math.MaxInt32, 15_032_385_535, 16_299_260_424
	for _, c := range []struct {
		fs          fstest.FS
		first, last int64
		unit        time.Duration
		warns       map[string]string
	}{
		{fstest.Tmpfs, math.MinInt64, math.MaxInt64, 1, nil},
		{fstest.Btrfs, math.MinInt64, math.MaxInt64, 1, nil},
		{fstest.Ext4, math.MinInt32, large, 1, map[string]string{
			"d": "0001-01-01T00:00:00Z cannot be kept: this file system holds times from 1901-12-13T20:45:52Z to 2446-05-10T22:38:55Z, and the nearest was taken, as for 9 more files",
		}},
		{fstest.Ext4SmallInodes, math.MinInt32, small, time.Second, map[string]string{
			"d":  "from 1901-12-13T20:45:52Z to 2038-01-19T03:14:07Z, and the nearest was taken, as for 11 more files",
			"ns": "modification time 1970-01-01T00:00:05.000000007Z cannot be kept: this file system holds times in steps of 1s, and it was cut; a diff",
		}},
		{fstest.XFS, math.MinInt32, xfs, 1, map[string]string{"d": "to 2486-07-02T20:20:24Z, and the nearest was taken, as for 8 more files"}},
		{fstest.XFSNoBigtime, math.MinInt32, small, 1, map[string]string{"d": "to 2038-01-19T03:14:07Z, and the nearest was taken, as for 11 more files"}},
	} {
		t.Run(string(c.fs), func(t *testing.T) {
			dir := fstest.Scratch(t, c.fs)
			warned := map[string]string{}
			opts := UnpackOptions{Warn: func(p, message string) { warned[p] += message }}
			b := newPlainBed(t, dir)
			_, err := b.apply(t, fstest.Layer(t, oddTimes()...), opts)
			require.NoError(t, err)
			require.Len(t, warned, len(c.warns), "%v", warned)
			for p, message := range c.warns {
				require.Contains(t, warned[p], message)
			}
			tree := b.tree(t)
			for _, e := range oddTimes() {
				want, name := min(max(e.Mtime.Unix(), c.first), c.last), strings.TrimSuffix(e.Name, "/")
				require.Equal(t, want, tree[name].Mtime.Unix(), name)
				require.EqualValues(t, e.Mtime.Nanosecond()/int(c.unit)*int(c.unit), tree[name].Mtime.Nanosecond(), name)
			}
			// Times that come from the disk survive a round trip exactly, and without a
			// warning.
			stream := diffOf(t, b.root)
			clear(warned)
			again := newPlainBed(t, staging(t, dir).Name())
			_, err = again.apply(t, stream, opts)
			require.NoError(t, err)
			require.Empty(t, warned)
			fstest.RequireEqual(t, tree, again.tree(t), "the diff applied")
			require.Equal(t, stream, diffOf(t, again.root))
		})
	}
}

func diffOf(t *testing.T, root string) []byte {
	t.Helper()
	view := diff.DirView(open(t, root))
	var out bytes.Buffer
	_, err := Write(t.Context(), &out, diff.Compare(t.Context(), nil, view, diff.Options{}), WriteOptions{})
	require.NoError(t, err)
	return out.Bytes()
}
