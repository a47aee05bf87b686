package service

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	diffapi "github.com/containerd/containerd/api/services/diff/v1"
	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	storev1 "github.com/layerkeep/layerkeep/api/store/v1"
	"github.com/layerkeep/layerkeep/client"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/service/config"
)

// Who has the socket of an engine, a build service say, can change what that
// engine has, and neither see nor remove what others have.
func TestTheSocketOfAnEngineHasNothingOfTheStore(t *testing.T) {
	other := filepath.Join(fstest.ShortDir(t), "other.sock")
	s := start(t, t.TempDir(), "vfs", func(c *config.Config) { c.Engines = map[string]string{"buildkit": other} })
	require.NoError(t, s.tool().Create(t.Context(), "mine", "", nil))
	_, err := client.Dial(t.Context(), other)
	require.ErrorIs(t, err, errdefs.ErrNotImplemented)
	require.ErrorContains(t, err, "use the service's own address")

	conn := dial(t, other)
	_, err = storev1.NewStoreClient(conn).Remove(asEngine(t), &storev1.RemoveRequest{Key: "mine"})
	require.Equal(t, codes.Unimplemented, status.Code(err), err)
	_, err = diffapi.NewDiffClient(conn).Apply(asEngine(t), &diffapi.ApplyRequest{})
	require.Equal(t, codes.Unimplemented, status.Code(err), err)
	_, err = snapshotsapi.NewSnapshotsClient(conn).Stat(asEngine(t), &snapshotsapi.StatSnapshotRequest{Snapshotter: "layerkeep", Key: "mine"})
	require.Equal(t, codes.NotFound, status.Code(err), err)
	_, err = s.tool().Stat(t.Context(), "mine")
	require.NoError(t, err)
}

func TestRequestsThatAreNotWholeAreInvalid(t *testing.T) {
	s := start(t, t.TempDir(), "vfs", nil)
	_, err := snapshotsapi.NewSnapshotsClient(s.conn).Update(asEngine(t), &snapshotsapi.UpdateSnapshotRequest{})
	require.Equal(t, codes.InvalidArgument, status.Code(err), err)
	_, err = diffapi.NewDiffClient(s.conn).Apply(asEngine(t), &diffapi.ApplyRequest{})
	require.Equal(t, codes.InvalidArgument, status.Code(err), err)

	store := storev1.NewStoreClient(s.conn)
	imported, err := store.Import(asEngine(t))
	require.NoError(t, err)
	require.NoError(t, imported.CloseSend())
	_, err = imported.Recv()
	require.Equal(t, codes.InvalidArgument, status.Code(err), err)
	applied, err := store.Apply(asEngine(t))
	require.NoError(t, err)
	require.NoError(t, applied.CloseSend())
	_, err = applied.Recv()
	require.Equal(t, codes.InvalidArgument, status.Code(err), err)
	require.NotContains(t, s.log.String(), "panic")
}

func TestAListIsSentInMessagesThatCanBeReceived(t *testing.T) {
	s := start(t, t.TempDir(), "vfs", nil)
	labels := map[string]string{}
	for i := range 200 {
		labels[fmt.Sprintf("label-%d", i)] = strings.Repeat("x", 4000)
	}
	const many = 24 // with some 800 kB each
	for i := range many {
		_, err := s.engine.Prepare(asEngine(t), fmt.Sprintf("key-%d", i), "", snapshots.WithLabels(labels))
		require.NoError(t, err)
	}
	n := 0
	require.NoError(t, s.engine.Walk(asEngine(t), func(_ context.Context, info snapshots.Info) error {
		require.Len(t, info.Labels, len(labels))
		n++
		return nil
	}))
	require.Equal(t, many, n)
	n = 0
	require.NoError(t, s.tool().Walk(t.Context(), func(snapshots.Info) error {
		n++
		return nil
	}))
	require.Equal(t, many, n)
}

func TestLabelsThatNobodyCouldReadAreRefused(t *testing.T) {
	s := start(t, t.TempDir(), "vfs", nil)
	long := snapshots.WithLabels(map[string]string{"a": strings.Repeat("x", 4096)})
	_, err := s.engine.Prepare(asEngine(t), "key", "", long)
	require.ErrorIs(t, err, errdefs.ErrInvalidArgument)
	_, err = s.engine.Stat(asEngine(t), "key")
	require.ErrorIs(t, err, errdefs.ErrNotFound)
}

func TestAnAddressOfTheNetworkIsWarnedAbout(t *testing.T) {
	run := fstest.ShortDir(t)
	s := start(t, t.TempDir(), "vfs", func(c *config.Config) {
		c.MetricsAddress, c.PprofAddress = filepath.Join(run, "m.sock"), "127.0.0.1:0"
	})
	require.Contains(t, s.log.String(), "option=pprof-address")
	require.NotContains(t, s.log.String(), "option=metrics-address", "a unix socket has a mode")
}
