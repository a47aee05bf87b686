package snapshotter

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// rereading returns a scope whose layers can be read again. The source is the
// content.
func rereading(t *testing.T, s *Snapshotter) *Scope {
	t.Helper()
	sc, err := s.Scope("eng")
	require.NoError(t, err)
	sc.OnReopen(func(_ context.Context, source string) (io.ReadCloser, driver.ApplyOptions, error) {
		return io.NopCloser(strings.NewReader(source)), driver.ApplyOptions{Detached: true}, nil
	})
	return sc
}

// extract unpacks a layer without its parent, as an engine does.
func extract(t *testing.T, sc *Scope, key, content string) error {
	t.Helper()
	require.NoError(t, sc.Create(t.Context(), key, ""))
	_, err := sc.ApplyFrom(t.Context(), key, content, strings.NewReader(content), driver.ApplyOptions{Detached: true})
	return err
}

const needy = "needs parents: content"

func TestALayerThatNeedsItsParentsIsReadAgainAtTheCommit(t *testing.T) {
	s, disk := openFake(t)
	sc := rereading(t, s)
	commit(t, s, sc.Full("base"), "", "base")
	require.NoError(t, extract(t, sc, "ns/1/extract-1", needy))
	before := layerOf(rowsOf(t, s)[sc.Full("ns/1/extract-1")])

	require.NoError(t, sc.Commit(t.Context(), "top", "ns/1/extract-1", snapshots.WithParent("base")))
	info, err := sc.Stat(t.Context(), "top")
	require.NoError(t, err)
	require.Equal(t, "base", info.Parent)
	require.Equal(t, needy, diffOf(t, s, sc.Full("top")))
	row := rowsOf(t, s)[sc.Full("top")]
	require.Empty(t, row.Source)
	require.NotEqual(t, before, layerOf(row))
	require.NotContains(t, disk.layers, before, "what was unpacked first is gone")
	require.True(t, disk.layers[layerOf(row)].sealed)
	requireSound(t, s)
}

func TestALayerThatWasNotUnpackedAtAllIsSoAtTheCommit(t *testing.T) {
	for name, parent := range map[string]string{"with a parent": "base", "without": ""} {
		t.Run(name, func(t *testing.T) {
			s, disk := openFake(t)
			disk.refuse = true
			sc := rereading(t, s)
			commit(t, s, sc.Full("base"), "", "base")
			require.ErrorIs(t, extract(t, sc, "extract-1", needy), driver.ErrNeedsParents)
			require.True(t, rowsOf(t, s)[sc.Full("extract-1")].Deferred)

			require.NoError(t, sc.Commit(t.Context(), "top", "extract-1", snapshots.WithParent(parent)))
			require.Equal(t, needy, diffOf(t, s, sc.Full("top")))
			require.False(t, rowsOf(t, s)[sc.Full("top")].Deferred)
			requireSound(t, s)
		})
	}
}

func TestApplyingAgainForgetsTheLayerBefore(t *testing.T) {
	s, disk := openFake(t)
	disk.refuse = true
	sc := rereading(t, s)
	require.ErrorIs(t, extract(t, sc, "extract-1", needy), driver.ErrNeedsParents)
	_, err := sc.ApplyFrom(t.Context(), "extract-1", "other", strings.NewReader("other"), driver.ApplyOptions{})
	require.NoError(t, err)
	require.NoError(t, sc.Commit(t.Context(), "top", "extract-1"))
	require.Equal(t, "other", diffOf(t, s, sc.Full("top")))
	requireSound(t, s)
}

func TestWhatCannotBeReadAgainStaysAsItIs(t *testing.T) {
	gone := errors.New("blob is gone")
	for name, c := range map[string]struct {
		reopen Reopen
		want   error
	}{
		"nobody reads it": {nil, driver.ErrNeedsParents},
		"it is gone": {func(context.Context, string) (io.ReadCloser, driver.ApplyOptions, error) {
			return nil, driver.ApplyOptions{}, gone
		}, gone},
		"reading fails": {func(context.Context, string) (io.ReadCloser, driver.ApplyOptions, error) {
			return io.NopCloser(io.MultiReader(strings.NewReader("x"), failing{gone})), driver.ApplyOptions{}, nil
		}, gone},
		"it turns out at the end": {func(context.Context, string) (io.ReadCloser, driver.ApplyOptions, error) {
			return closing{strings.NewReader("x"), gone}, driver.ApplyOptions{}, nil
		}, gone},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := openFake(t)
			sc := rereading(t, s)
			commit(t, s, sc.Full("base"), "", "base")
			require.NoError(t, extract(t, sc, "extract-1", needy))
			before := rowsOf(t, s)

			sc.OnReopen(c.reopen)
			require.ErrorIs(t, sc.Commit(t.Context(), "top", "extract-1", snapshots.WithParent("base")), c.want)
			require.Equal(t, before, rowsOf(t, s))
			requireSound(t, s)

			rereading(t, s)
			require.NoError(t, sc.Commit(t.Context(), "top", "extract-1", snapshots.WithParent("base")))
			requireSound(t, s)
		})
	}
}

// failing is a stream that ends with an error.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// closing is a stream that returns an error when it is closed.
type closing struct {
	io.Reader
	err error
}

func (c closing) Close() error { return c.err }

// TestACrashWhileALayerIsReadAgainLeavesTheOneOrTheOther ends the process at
// each transaction.
func TestACrashWhileALayerIsReadAgainLeavesTheOneOrTheOther(t *testing.T) {
	for _, point := range []string{"remake before", "remake after", "commit before", "commit after", "spare before", "spare after"} {
		t.Run(point, func(t *testing.T) {
			crash := errors.New("crash")
			disk, root := newFakeDisk(), memDir(t)
			armed := false
			s, err := Open(t.Context(), root, Options{open: disk.open, hook: func(p string) error {
				if armed && (p == point || p == "remake undo before") {
					return crash
				}
				return nil
			}})
			require.NoError(t, err)
			sc := rereading(t, s)
			commit(t, s, sc.Full("base"), "", "base")
			require.NoError(t, extract(t, sc, "extract-1", needy))
			armed = true
			err = sc.Commit(t.Context(), "top", "extract-1", snapshots.WithParent("base"))
			committed := strings.HasPrefix(point, "spare")
			if committed {
				require.NoError(t, err, "only what it took the place of is left")
			} else {
				require.ErrorIs(t, err, crash)
			}
			require.NoError(t, s.Close())

			s = openAt(t, root, Options{open: disk.open})
			requireSound(t, s)
			sc = rereading(t, s)
			err = sc.Commit(t.Context(), "top", "extract-1", snapshots.WithParent("base"))
			if committed || point == "commit after" {
				require.ErrorIs(t, err, errdefs.ErrAlreadyExists)
			} else {
				require.NoError(t, err)
			}
			require.Equal(t, needy, diffOf(t, s, sc.Full("top")))
			require.Equal(t, meta.Committed, rowsOf(t, s)[sc.Full("top")].Kind)
			requireSound(t, s)
		})
	}
}

func TestOnlyKeysThatUnpackLayersAreExtractions(t *testing.T) {
	for key, want := range map[string]bool{
		"@eng/default/12/extract-123-abc sha256:1": true,
		"@eng/extract-1":            true,
		"@eng/default/12/container": false,
		"@eng/default/extract-1/x":  false,
		"extract-1":                 false,
	} {
		require.Equal(t, want, IsExtraction(key), key)
	}
}
