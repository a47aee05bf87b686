package layerdir

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

func TestAWriterInAnotherMountNamespaceIsFound(t *testing.T) {
	s := open(t)
	for _, id := range []driver.ID{"a", "b"} {
		require.NoError(t, s.Create(id, Meta{}, func(dir string) error {
			return errors.Join(unix.Mkdir(dir+"/tree", 0o755), unix.Mkdir(dir+"/at", 0o755))
		}))
	}
	at := t.TempDir()
	bind := fmt.Sprintf("mount --bind %s %s", s.Path("a", "tree"), at)
	unused, _ := fstest.Elsewhere(t, bind)
	pid, _ := fstest.Elsewhere(t, bind+"; exec 3>"+at+"/held; exec 4<&0; { read end <&4; } &") // two processes, one namespace
	require.NotEqual(t, unused, pid)
	writer := fmt.Sprintf("process %d (sh)", pid)
	fstest.Elsewhere(t, fmt.Sprintf("mount --bind %s %s; mount -o remount,bind,ro %s", s.Path("b", "tree"), at, at))
	fstest.Elsewhere(t, "true")
	for range 2 {
		holders, seen, err := s.SilenceElsewhere("a")
		require.NoError(t, err)
		require.True(t, seen)
		require.Equal(t, []string{writer}, holders, "the mount that nobody uses is read-only now")
	}
	holders, seen, err := s.SilenceElsewhere("b")
	require.NoError(t, err)
	require.True(t, seen)
	require.Empty(t, holders)

	ctx, cancel := context.WithCancel(t.Context())
	require.NoError(t, s.NotWritableElsewhere(ctx, "b"))
	cancel()
	err = s.NotWritableElsewhere(ctx, "a")
	require.ErrorIs(t, err, driver.ErrBusy)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, writer)
	require.ErrorIs(t, HeldBy([]string{"process 1 (init)"}), driver.ErrBusy)
	require.NoError(t, HeldBy(nil))
}

func TestAnErrorOfLookingForWritersIsNotAwaited(t *testing.T) {
	boom, asked := errors.New("boom"), 0
	find := func() error {
		if asked++; asked < 3 {
			return driver.ErrBusy
		}
		return boom
	}
	require.Equal(t, boom, AwaitNoWriters(t.Context(), find))
	require.Equal(t, 3, asked)
}
