package differ

import (
	"bytes"
	"context"
	"os"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/connectivity"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/driver/all/alltest"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/snapshotter"
	"github.com/layerkeep/layerkeep/tar"
)

// A rig is a differ on a store with a backend, and the engine it works for.
type rig struct {
	*Differ
	t      testing.TB
	store  *snapshotter.Snapshotter
	scope  *snapshotter.Scope
	engine *testEngine
}

// stopEngine returns when the engine is away, and the differ knows that: a call
// on a connection that has ended, and is not known to have, is lost.
func (r *rig) stopEngine() {
	r.t.Helper()
	r.engine.stop()
	require.Eventually(r.t, func() bool { return r.Differ.engine.conn.GetState() != connectivity.Ready }, fstest.Patience, time.Millisecond)
}

// onBackends runs a test on every backend that works here and can tell by its
// mounts what they are of.
func onBackends(t *testing.T, test func(t *testing.T, r *rig)) {
	t.Helper()
	for _, name := range []string{"overlay2", "btrfs", "vfs"} {
		t.Run(name, func(t *testing.T) {
			alltest.SkipInShort(t, name)
			test(t, newRig(t, name))
		})
	}
}

func newRig(t testing.TB, backend string) *rig {
	t.Helper()
	dir := alltest.Place(t, t.TempDir(), backend)
	root, err := os.MkdirTemp(dir, "store-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, fstest.RemoveAll(root)) })
	return newRigAt(t, backend, root)
}

func newRigAt(t testing.TB, backend, root string) *rig {
	t.Helper()
	store, err := snapshotter.Open(context.Background(), root, snapshotter.Options{Driver: backend})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	scope, err := store.Scope("containerd")
	require.NoError(t, err)
	engine := startEngine(t)
	conn, err := NewEngine(engine.socket)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return &rig{Differ: New(store, scope, conn, Options{}), t: t, store: store, scope: scope, engine: engine}
}

func (r *rig) ctx() context.Context { return inNamespace(r.t.Context()) }

func (r *rig) prepare(key, parent string) []mount.Mount {
	r.t.Helper()
	mounts, err := r.scope.Prepare(r.ctx(), key, parent)
	require.NoError(r.t, err)
	return mounts
}

func (r *rig) view(key, parent string) []mount.Mount {
	r.t.Helper()
	mounts, err := r.scope.View(r.ctx(), key, parent)
	require.NoError(r.t, err)
	return mounts
}

// fill applies entries to an active snapshot without the differ.
func (r *rig) fill(key string, entries ...fstest.Entry) {
	r.t.Helper()
	layer := fstest.Layer(r.t, entries...)
	_, err := r.store.Apply(r.ctx(), r.scope.Full(key), bytes.NewReader(layer), driver.ApplyOptions{})
	require.NoError(r.t, err)
}

// committed makes a committed snapshot without the differ.
func (r *rig) committed(name, parent string, entries ...fstest.Entry) {
	r.t.Helper()
	r.prepare(name+"-active", parent)
	r.fill(name+"-active", entries...)
	r.commit(name, name+"-active")
}

func (r *rig) commit(name, key string, opts ...snapshots.Opt) {
	r.t.Helper()
	require.NoError(r.t, r.scope.Commit(r.ctx(), name, key, opts...))
}

// tree reads what a snapshot shows.
func (r *rig) tree(key string) fstest.Tree {
	r.t.Helper()
	view, err := r.store.OpenView(r.ctx(), r.scope.Full(key))
	require.NoError(r.t, err)
	defer func() { require.NoError(r.t, view.Close()) }()
	return fstest.FromView(r.t, view)
}

// pack compresses a layer.
func pack(t testing.TB, raw []byte, c tar.Compression) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := tar.Compress(&out, c)
	require.NoError(t, err)
	_, err = w.Write(raw)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return out.Bytes()
}

func countInto(n *int) snapshots.WalkFunc {
	return func(context.Context, snapshots.Info) error {
		*n++
		return nil
	}
}
