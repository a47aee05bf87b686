package tar

import (
	"bytes"
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// If Write can write a header, Unpack can read it. If it does not fit, both
// Write and Check return an error.
func TestTheLargestHeaderThatIsWrittenIsRead(t *testing.T) {
	if !fstest.TmpfsKeepsUserXattrs(t) {
		t.Skip("a tmpfs keeps no user attributes here (it does since Linux 6.6)")
	}
	dir := fstest.Scratch(t, fstest.Tmpfs)
	written := 0
	for size := 1<<20 - 3000; size <= 1<<20+100; size += 100 {
		xattrs, left := map[string]string{}, size
		for i := 0; left > 0; i++ {
			n := min(left, 50_000)
			xattrs[fmt.Sprintf("user.%d", i)] = string(make([]byte, n))
			left -= n
		}
		changes := func() iter.Seq2[diff.Change, error] {
			return func(yield func(diff.Change, error) bool) {
				yield(diff.Change{Kind: diff.Add, Path: "f", Node: diff.Node{Mode: diff.TypeRegular | 0o644}, Xattrs: xattrs}, nil)
			}
		}
		var layer bytes.Buffer
		_, err := Write(t.Context(), &layer, changes(), WriteOptions{})
		cerr := Check(t.Context(), changes())
		if err != nil {
			require.ErrorIs(t, err, diff.ErrNotCarried)
			require.ErrorContains(t, err, fmt.Sprintf("write f to the layer: %v: its path, link target and %d extended attributes take", diff.ErrNotCarried, len(xattrs)))
			require.ErrorIs(t, cerr, diff.ErrNotCarried)
			continue
		}
		written++
		require.NoError(t, cerr)
		b := newPlainBed(t, staging(t, dir).Name())
		_, err = b.apply(t, layer.Bytes(), UnpackOptions{})
		require.NoError(t, err, "%d bytes", size)
		require.Equal(t, xattrs, b.tree(t)["f"].Xattrs)
	}
	require.Positive(t, written)
	require.Less(t, written, 30)
}

// If a name is too long only on disk, the layer is valid.
func TestAnEscapedNameThatIsTooLongIsSaidToBeSo(t *testing.T) {
	name := fmt.Sprintf("trusted.overlay.%0235d", 0)
	layer := fstest.Layer(t, fstest.File("f", "").WithXattr(name, ""))
	_, _, err := Unpack(t.Context(), staging(t, t.TempDir()), bytes.NewReader(layer), UnpackOptions{Encoding: whiteout.Overlay})
	require.ErrorIs(t, err, ErrLargeXattr)
	require.NotErrorIs(t, err, diff.ErrInvalidLayer)
	require.ErrorContains(t, err, name)
}

// The probe for large attributes runs at the same time as the probe for times.
func TestWhatTheFileSystemTakesIsFoundOutBesideOtherTries(t *testing.T) {
	dir := fstest.Scratch(t, fstest.Ext4)
	large := string(make([]byte, 60_000))
	layer := func(n int) []byte {
		var entries []fstest.Entry
		for i := range 8 {
			f := fstest.File(fmt.Sprintf("f%d-%d", n, i), "")
			f.Mtime = time.Unix(1, int64(i+1))
			if i%2 == 1 {
				f = f.WithXattr("user.large", large)
			}
			entries = append(entries, f)
		}
		return fstest.Layer(t, entries...)
	}
	for n := range 100 {
		_, _, err := Unpack(t.Context(), staging(t, dir), bytes.NewReader(layer(n)), UnpackOptions{})
		require.ErrorIs(t, err, ErrLargeXattr)
		require.ErrorContains(t, err, "60000")
	}
}

// The error tells attributes that only fit one by one from a full disk.
func TestAttributesThatDoNotFitTogetherAreSaidToBeTooLarge(t *testing.T) {
	dir := fstest.Scratch(t, fstest.Ext4)
	value := strings.Repeat("v", 2500)
	layer := fstest.Layer(t, fstest.File("f", "").WithXattr("user.a", value).WithXattr("user.b", value))
	_, _, err := Unpack(t.Context(), staging(t, dir), bytes.NewReader(layer), UnpackOptions{})
	require.ErrorIs(t, err, ErrLargeXattr)
	require.ErrorContains(t, err, "beside 1 others of the same file with 2506")
}
