package differ

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/semaphore"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

// counting is a content service that counts the blobs that are being read, each
// of which waits until open is closed.
type counting struct {
	contentapi.ContentServer
	open     chan struct{}
	mu       sync.Mutex
	now, max int
}

func (c *counting) Read(req *contentapi.ReadContentRequest, s contentapi.Content_ReadServer) error {
	c.add(1)
	defer c.add(-1)
	select {
	case <-c.open:
	case <-s.Context().Done():
	}
	return c.ContentServer.Read(req, s)
}

func (c *counting) add(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now += n
	c.max = max(c.max, c.now)
}

func (c *counting) reading() (now, most int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now, c.max
}

// waiting reports whether somebody waits for a turn: Acquire then queues before
// any other.
func waiting(s *semaphore.Weighted) bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	if s.Acquire(ctx, 1) != nil {
		return true
	}
	s.Release(1)
	return false
}

func TestOnlySoManyLayersAreReadAtATime(t *testing.T) {
	r := newRig(t, "vfs")
	c := &counting{open: make(chan struct{})}
	r.engine.stop()
	r.engine.wrap = func(s contentapi.ContentServer) contentapi.ContentServer {
		c.ContentServer = s
		return c
	}
	r.engine.start()
	desc := r.engine.put(ocispec.MediaTypeImageLayer, fstest.Layer(t, baseEntries...))
	const many = 3 * atOnce
	errs := make(chan error, many)
	for i := range many {
		mounts := r.prepare(fmt.Sprintf("key-%d", i), "")
		go func() {
			_, err := r.Apply(r.ctx(), desc, mounts)
			errs <- err
		}()
	}
	require.Eventually(t, func() bool { now, _ := c.reading(); return now == atOnce }, fstest.Patience, time.Millisecond)
	require.True(t, waiting(r.Differ.engine.applies))
	ctx, cancel := context.WithCancel(r.ctx())
	late := r.prepare("late", "")
	gaveUp := make(chan error, 1)
	go func() {
		_, err := r.Apply(ctx, desc, late)
		gaveUp <- err
	}()
	cancel()
	require.ErrorIs(t, <-gaveUp, context.Canceled, "who waits for a turn may give up")
	close(c.open)
	for range many {
		require.NoError(t, <-errs)
	}
	_, most := c.reading()
	require.Equal(t, atOnce, most)
}

// An apply may wait for a commit of the same snapshot, so that commit must not
// wait for the turn of an apply.
func TestACommitReadsALayerAgainWhileAllTurnsAreTaken(t *testing.T) {
	r := newRig(t, "overlay2")
	r.extract(t, needParents["a hard link"])
	require.NoError(t, r.Differ.engine.applies.Acquire(r.ctx(), atOnce))
	r.requireWanted(t)
	require.True(t, r.Differ.engine.reopens.TryAcquire(atOnce), "all turns are given back")
}
