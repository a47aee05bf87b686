package snapshotter

import (
	"bytes"
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
)

func TestAMountedSnapshotOfAnEngineIsNoReasonToStopItsCollection(t *testing.T) {
	s, disk := openFake(t)
	sc, err := s.Scope("eng")
	require.NoError(t, err)
	require.NoError(t, sc.Create(t.Context(), "key", ""))
	disk.layers[layerOf(rowsOf(t, s)["@eng/key"])].busy = true

	err = sc.Remove(t.Context(), "key")
	require.ErrorIs(t, err, driver.ErrBusy)
	require.ErrorIs(t, err, errdefs.ErrFailedPrecondition)
	require.NotErrorIs(t, err, errdefs.ErrUnavailable)
	require.ErrorIs(t, s.Remove(t.Context(), "@eng/key"), errdefs.ErrUnavailable, "as it is for tools")
	require.Equal(t, []string{"@eng/key"}, namesOf(t, s))
}

func TestAScopeSeesItsOwnSnapshotsByTheirShortNames(t *testing.T) {
	s, _ := openFake(t)
	a, err := s.Scope("a")
	require.NoError(t, err)
	ab, err := s.Scope("a.b")
	require.NoError(t, err)
	ctx := t.Context()
	commit(t, s, "by hand", "", "1")
	for _, sc := range []*Scope{a, ab} {
		require.NoError(t, sc.Create(ctx, "key", ""))
		require.NoError(t, sc.Commit(ctx, "base", "key"))
		require.NoError(t, sc.Create(ctx, "top", "base"))
	}
	for _, sc := range []*Scope{a, ab} {
		var names, parents []string
		require.NoError(t, sc.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
			names, parents = append(names, info.Name), append(parents, info.Parent)
			return nil
		}))
		require.Equal(t, []string{"base", "top"}, names)
		require.Equal(t, []string{"", "base"}, parents)
	}
	_, err = a.Stat(ctx, "by hand")
	require.ErrorIs(t, err, errdefs.ErrNotFound)
	_, err = a.Stat(ctx, "../a.b/base")
	require.ErrorIs(t, err, errdefs.ErrNotFound)
	require.ErrorIs(t, a.Create(ctx, "x", "by hand"), errdefs.ErrNotFound)
	require.ErrorIs(t, a.Remove(ctx, "base"), errdefs.ErrFailedPrecondition)
	require.Equal(t, []string{"@a.b/base", "@a.b/top", "@a/base", "@a/top", "by hand"}, namesOf(t, s))
}

func TestAPathThatEnginesCannotReadIsWarnedOf(t *testing.T) {
	for dir, want := range map[string]bool{"plain": false, "a,b": true, "a:b": true, `a\b`: true} {
		var log bytes.Buffer
		disk := newFakeDisk()
		disk.unions = true
		s := openAt(t, filepath.Join(memDir(t), dir), Options{open: disk.open, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		_, err := s.Scope("eng")
		require.NoError(t, err)
		require.Equal(t, want, strings.Contains(log.String(), "comma"), dir)
	}
}

func TestTheNamesOfScopesArePlain(t *testing.T) {
	s, _ := openFake(t)
	for _, name := range []string{"", "A", "a/b", "-a", ".", "a b", "@a", string(make([]byte, 65))} {
		_, err := s.Scope(name)
		require.ErrorIs(t, err, errdefs.ErrInvalidArgument, "%q", name)
	}
	for name, want := range map[string][2]string{
		"@a/b": {"a", "b"}, "@a/b/c": {"a", "b/c"}, "@a": {"", "@a"}, "@A/b": {"", "@A/b"}, "a/b": {"", "a/b"}, "@a/": {"a", ""},
	} {
		scope, rest := ScopeOf(name)
		require.Equal(t, want, [2]string{scope, rest}, name)
	}
}
