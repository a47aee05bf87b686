package cutdisk

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func written(offset int64, text string, times int) Record {
	data := bytes.Repeat([]byte(text), times)
	return Record{Kind: Write, Offset: offset, Length: int64(len(data)), Data: data}
}

// logOf writes records as a disk does and reads them.
func logOf(t *testing.T, records ...Record) *Log {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "log"))
	require.NoError(t, err)
	for _, r := range records {
		require.NoError(t, r.append(f))
	}
	require.NoError(t, f.Close())
	b, err := os.ReadFile(f.Name())
	require.NoError(t, err)
	l, err := parseLog(b)
	require.NoError(t, err)
	require.Equal(t, records, l.Records)
	return l
}

func imageAfter(t *testing.T, s *State, l *Log, c Cut) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	require.NoError(t, s.WriteImage(l, c, path))
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return b
}

func emptyState(t *testing.T, size int) *State {
	t.Helper()
	path := filepath.Join(t.TempDir(), "base")
	require.NoError(t, os.WriteFile(path, make([]byte, size), 0o600))
	s, err := ReadState(path)
	require.NoError(t, err)
	require.Empty(t, s.pages)
	return s
}

func TestACutLosesOnlyWhatCameAfterTheLastFlush(t *testing.T) {
	l := logOf(t,
		written(0, "a", 512), written(1000, "b", 5000), Record{Kind: Flush},
		written(0, "c", 1024), Record{Kind: Zero, Offset: 1000, Length: 3096}, written(8192, "d", 512),
		Record{Kind: Flush}, written(0, "e", 512))
	before := make([]byte, 16384)
	copy(before, bytes.Repeat([]byte("a"), 512))
	copy(before[1000:], bytes.Repeat([]byte("b"), 5000))
	after := bytes.Clone(before)
	copy(after, bytes.Repeat([]byte("c"), 1024))
	clear(after[1000:4096])
	copy(after[8192:], bytes.Repeat([]byte("d"), 512))

	s := emptyState(t, 16384)
	require.Equal(t, make([]byte, 16384), imageAfter(t, s, l, Cut{At: 1, Kept: make([]Kept, 1)}))
	require.Equal(t, before, imageAfter(t, s, l, Cut{At: 3}))
	require.Equal(t, before, imageAfter(t, s, l, Cut{At: 6, Kept: make([]Kept, 3)}))
	all := []Kept{{To: 1024}, {To: 3096}, {To: 512}}
	require.Equal(t, after, imageAfter(t, s, l, Cut{At: 6, Kept: all}))
	require.Equal(t, after, imageAfter(t, s, l, Cut{At: 8, Kept: make([]Kept, 1)}))
}

func TestATornWriteIsThereInPart(t *testing.T) {
	l := logOf(t, written(512, "a", 1536))
	s := emptyState(t, 4096)
	want := make([]byte, 4096)
	copy(want[1024:], bytes.Repeat([]byte("a"), 1024))
	require.Equal(t, want, imageAfter(t, s, l, Cut{At: 1, Kept: []Kept{{From: 512, To: 1536}}}))
}

func TestRandomCutsLoseAndTearWholeSectors(t *testing.T) {
	l := logOf(t, Record{Kind: Flush}, written(0, "a", 512), written(0, "b", 4096), Record{Kind: Zero, Length: 2048})
	lost, torn, whole := 0, 0, 0
	for seed := range uint64(200) {
		c := l.RandomCut(4, 512, rand.New(rand.NewPCG(seed, 0)))
		require.Len(t, c.Kept, 3)
		for i, k := range c.Kept {
			length := l.Records[i+1].Length
			require.Zero(t, k.From%512)
			require.Zero(t, k.To%512)
			switch {
			case k.To == 0:
				lost++
			case k.From == 0 && k.To == length:
				whole++
			default:
				require.NotEqual(t, 0, i, "a sector is not torn")
				require.True(t, k.From > 0 && k.To == length || k.From == 0 && k.To < length, "%+v", k)
				torn++
			}
		}
	}
	require.Greater(t, lost, 100)
	require.Greater(t, whole, 100)
	require.Greater(t, torn, 20)
}

func TestAPositionIsANumberOfRecords(t *testing.T) {
	l := logOf(t, written(0, "a", 512), Record{Kind: Flush}, written(0, "b", 1024))
	for position, n := range map[int64]int{0: 0, 100: 0, recordHeader + 512: 1, recordHeader + 513: 1, 2*recordHeader + 512: 2, 3*recordHeader + 1536: 3} {
		got, err := l.Index(position)
		require.NoError(t, err)
		require.Equal(t, n, got)
	}
	_, err := l.Index(3*recordHeader + 1537)
	require.ErrorIs(t, err, errLog)
	require.Equal(t, []int{0, 0, 2, 2}, []int{l.Durable(0), l.Durable(1), l.Durable(2), l.Durable(3)})
	require.Len(t, l.Tail(3), 1)
}

func TestALogThatEndsInARecordIsRefused(t *testing.T) {
	for _, b := range [][]byte{make([]byte, 5), make([]byte, recordHeader), {1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0}} {
		_, err := parseLog(b)
		require.ErrorIs(t, err, errLog)
	}
}

func TestACutKeepsTheFirstRecords(t *testing.T) {
	l := logOf(t, written(0, "a", 512), written(0, "b", 512), Record{Kind: Flush}, written(0, "c", 512), written(0, "d", 1024))
	require.Equal(t, Cut{At: 5, Kept: []Kept{{To: 512}, {}}}, l.CutKeeping(5, 4))
	require.Equal(t, Cut{At: 5, Kept: []Kept{{}, {}}}, l.CutKeeping(5, 2))
	require.Equal(t, Cut{At: 2, Kept: []Kept{{To: 512}, {To: 512}}}, l.CutKeeping(2, 5))
	require.True(t, l.CutKeeping(5, 4).Loses(l))
	require.False(t, l.CutKeeping(5, 5).Loses(l))
	require.False(t, l.CutKeeping(3, 0).Loses(l))
}
