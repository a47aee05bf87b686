package differ

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/plugins/services/content/contentserver"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
)

// A slowStore is the content store of an engine under load: opening and closing
// an upload take long enough for a request to remove it to come in between. It
// notes such requests. A request that waits its turn is not seen.
type slowStore struct {
	content.Store
	at   map[string]func() // what to do at "open", "write" and "commit"
	mu   sync.Mutex
	busy map[string]chan struct{} // of the uploads in use; closed by an Abort
	torn []string                 // removed while they were in use
}

// interruption is how long an upload waits for a request to remove it. Without
// one it goes on.
const interruption = 300 * time.Millisecond

func (s *slowStore) do(what string) {
	if f := s.at[what]; f != nil {
		f()
	}
}

func (s *slowStore) enter(ref string) chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	aborted := make(chan struct{})
	s.busy[ref] = aborted
	return aborted
}

func (s *slowStore) leave(ref string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.busy, ref)
}

func (s *slowStore) removedInUse() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.torn
}

func (s *slowStore) Abort(ctx context.Context, ref string) error {
	s.mu.Lock()
	aborted, used := s.busy[ref]
	if used {
		s.torn = append(s.torn, ref)
		delete(s.busy, ref)
		close(aborted)
	}
	s.mu.Unlock()
	return s.Store.Abort(ctx, ref)
}

func (s *slowStore) Writer(ctx context.Context, opts ...content.WriterOpt) (content.Writer, error) {
	var o content.WriterOpts
	for _, opt := range opts {
		if err := opt(&o); err != nil {
			return nil, err
		}
	}
	aborted := s.enter(o.Ref)
	s.do("open")
	pause(aborted)
	// As a store that has begun: it does not look whether the caller is there.
	w, err := s.Store.Writer(context.WithoutCancel(ctx), opts...)
	if err != nil {
		s.leave(o.Ref)
		return nil, err
	}
	return &slowWriter{Writer: w, s: s, ref: o.Ref, aborted: aborted}, nil
}

func pause(aborted <-chan struct{}) {
	select {
	case <-aborted:
	case <-time.After(interruption):
	}
}

type slowWriter struct {
	content.Writer
	s       *slowStore
	ref     string
	aborted chan struct{}
}

func (w *slowWriter) Write(p []byte) (int, error) {
	w.s.do("write")
	return w.Writer.Write(p)
}

func (w *slowWriter) Commit(ctx context.Context, size int64, expected digest.Digest, opts ...content.Opt) error {
	w.s.do("commit")
	pause(w.aborted)
	return w.Writer.Commit(context.WithoutCancel(ctx), size, expected, opts...)
}

func (w *slowWriter) Close() error {
	defer w.s.leave(w.ref)
	pause(w.aborted)
	return w.Writer.Close()
}

// An engine is asked to remove an upload only when it is done with it: earlier,
// it would put back some of what it has removed.
func TestAnUploadIsRemovedOnceTheEngineIsDoneWithIt(t *testing.T) {
	for _, when := range []string{"open", "write", "commit"} {
		t.Run(fmt.Sprintf("the caller hangs up at the first %s", when), func(t *testing.T) {
			ctx, cancel := context.WithCancel(inNamespace(t.Context()))
			r := newRig(t, "vfs")
			r.engine.stop()
			slow := &slowStore{Store: r.engine.store, at: map[string]func(){when: cancel}, busy: map[string]chan struct{}{}}
			r.engine.wrap = func(contentapi.ContentServer) contentapi.ContentServer { return contentserver.New(slow) }
			r.engine.start()
			mounts := r.prepare("key", "")
			_, err := r.Apply(r.ctx(), r.engine.put(ocispec.MediaTypeImageLayer, incompressible(t, 4)), mounts)
			require.NoError(t, err)
			requireNoLeaks(t, func() {
				_, err := r.Compare(ctx, nil, mounts)
				require.ErrorIs(t, err, context.Canceled)
			})
			require.Empty(t, slow.removedInUse(), "removed while the engine was writing them")
			r.engine.requireNoUploads()
			leases, err := r.engine.leases.List(r.ctx())
			require.NoError(t, err)
			require.Empty(t, leases)
			_, err = r.Compare(r.ctx(), nil, mounts)
			require.NoError(t, err)
		})
	}
}

// Another call's upload under the same name is left alone.
func TestAnUploadOfAnotherCallIsNotRemoved(t *testing.T) {
	r := newRig(t, "vfs")
	mounts := r.prepare("key", "")
	w, err := r.engine.store.Writer(r.ctx(), content.WithRef("theirs"))
	require.NoError(t, err)
	_, err = w.Write([]byte("half"))
	require.NoError(t, err)
	_, err = r.Compare(r.ctx(), nil, mounts, diff.WithReference("theirs"))
	require.Error(t, err)
	status, err := w.Status()
	require.NoError(t, err)
	require.EqualValues(t, 4, status.Offset)
	uploads, err := r.engine.store.ListStatuses(r.ctx())
	require.NoError(t, err)
	require.Len(t, uploads, 1)
	require.NoError(t, w.Close())
	require.NoError(t, r.engine.store.Abort(r.ctx(), "theirs"))
}
