package service

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	storev1 "github.com/layerkeep/layerkeep/api/store/v1"
	"github.com/layerkeep/layerkeep/check"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/service/config"
	"github.com/layerkeep/layerkeep/snapshotter"
)

// Engines at work beside a check are no damage, and damage is found beside
// them.
func TestACheckThroughTheServiceFindsDamageAlone(t *testing.T) {
	onMountingDrivers(t, func(t *testing.T, name, root string) {
		s := start(t, root, name, nil)
		if _, ok := s.store.Driver().(driver.Replacer); !ok {
			t.Skip("its layers are no directories of their own")
		}
		s.layer("base", "", "f", "x")
		s.layer("victim", "", "g", "y")
		tool := s.tool()
		checks := func(run string, want int) (found []check.Finding) {
			ctx, cancel := context.WithCancel(asEngine(t))
			var engines errgroup.Group
			var done atomic.Int64
			for i := range 3 {
				engines.Go(func() error {
					for n := 0; ctx.Err() == nil; n++ {
						key := fmt.Sprint(run, "-", i, "-", n)
						if err := s.turnover(ctx, key); err != nil && ctx.Err() == nil {
							return err
						}
						done.Add(1)
					}
					return nil
				})
			}
			for i := range 8 {
				before := done.Load()
				for done.Load() == before && t.Context().Err() == nil { // somebody is at work
					time.Sleep(time.Millisecond)
				}
				found = nil
				sum, err := tool.Check(t.Context(), check.Options{ReadData: i%2 == 0}, 0, func(f check.Finding) { found = append(found, f) })
				require.NoError(t, err)
				require.Len(t, found, want, "%v", found)
				require.Equal(t, want, sum.Findings)
			}
			cancel()
			require.NoError(t, engines.Wait())
			return found
		}
		checks("sound", 0)
		layers, err := s.store.Inspect(t.Context())
		require.NoError(t, err)
		for _, l := range layers {
			if _, rest := snapshotter.ScopeOf(l.Name); rest == "victim" {
				require.NoError(t, fstest.RemoveAll(filepath.Join(root, name, string(l.ID))))
			}
		}
		found := checks("damaged", 1)
		require.Equal(t, check.Snapshot, found[0].Part)
		require.Equal(t, "@containerd/victim", found[0].Name)
		require.Contains(t, found[0].What, snapshotter.ErrLayerMissing.Error())
	})
}

// turnover makes, commits, builds upon and removes a snapshot as an engine
// does.
func (s *served) turnover(ctx context.Context, key string) error {
	if _, err := s.engine.Prepare(ctx, key, "base"); err != nil {
		return err
	}
	if err := s.engine.Commit(ctx, key+" done", key); err != nil {
		return err
	}
	if _, err := s.engine.Prepare(ctx, key, key+" done"); err != nil {
		return err
	}
	if err := s.engine.Remove(ctx, key); err != nil {
		return err
	}
	return s.engine.Remove(ctx, key+" done")
}

// slowCheck begins a check that would take days, and waits until it reads.
func (s *served) slowCheck(ctx context.Context) <-chan error {
	s.t.Helper()
	result := make(chan error, 1)
	slow, other := s.tool(), s.tool()
	go func() {
		for {
			_, err := slow.Check(ctx, check.Options{ReadData: true}, 1, func(check.Finding) {})
			if err == nil || !strings.Contains(err.Error(), "another check") { // that of below
				result <- err
				return
			}
		}
	}()
	deadline := time.Now().Add(fstest.Patience)
	for { // until it keeps another one away
		_, err := other.Check(s.t.Context(), check.Options{}, 0, func(check.Finding) {})
		if errdefs.IsUnavailable(err) {
			return result
		}
		require.NoError(s.t, err)
		require.True(s.t, time.Now().Before(deadline), "no check is running")
	}
}

func TestACheckEndsWithItsClientAndWithTheService(t *testing.T) {
	if !fstest.CanMount(t) {
		t.Skip("needs the right to mount")
	}
	s := start(t, t.TempDir(), "overlay2", func(c *config.Config) { c.StopTimeout = config.Duration(time.Hour) })
	s.layer("base", "", "f", string(make([]byte, 1<<20)))
	s.layer("other", "", "f", string(make([]byte, 1<<20)))
	ctx, cancel := context.WithCancel(t.Context())
	result := s.slowCheck(ctx)
	require.NoError(t, s.engine.Remove(asEngine(t), "base"), "it keeps nobody waiting")
	cancel()
	require.ErrorIs(t, <-result, context.Canceled)

	result = s.slowCheck(t.Context()) // the first one is gone
	begin := time.Now()
	require.NoError(t, s.stop(), "a stop cuts nothing short that matters")
	require.Less(t, time.Since(begin), fstest.Patience)
	require.ErrorIs(t, <-result, errdefs.ErrUnavailable)
}

func TestAskingForACheckThatCannotBeIsRefused(t *testing.T) {
	s := start(t, t.TempDir(), "vfs", nil)
	for want, req := range map[codes.Code]*storev1.CheckRequest{
		codes.InvalidArgument: {Rate: -1},
		codes.NotFound:        {Names: []string{"nobody"}},
	} {
		stream, err := storev1.NewStoreClient(s.conn).Check(asEngine(t), req)
		require.NoError(t, err)
		_, err = stream.Recv()
		require.Equal(t, want, status.Code(err), err)
	}
	tool := s.tool()
	for _, name := range []string{"nobody", "\xff"} {
		_, err := tool.Check(t.Context(), check.Options{Names: []string{name}}, 0, nil)
		require.ErrorIs(t, err, check.ErrNoName)
	}
	_, err := tool.Check(t.Context(), check.Options{Names: make([]string, 100_001)}, 0, nil)
	require.True(t, errdefs.IsInvalidArgument(err), "%v", err)
}
