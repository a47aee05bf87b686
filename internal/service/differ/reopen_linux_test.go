package differ

import (
	"context"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/snapshotter"
	"github.com/layerkeep/layerkeep/tar"
)

const extractKey = "default/7/extract-12 sha256:abc"

// What only the parents can give a meaning to: an entry below a symbolic link
// of theirs, a hard link to a file of theirs.
var needParents = map[string][]fstest.Entry{
	"below a symbolic link": {fstest.File("lib/b", "b")},
	"a hard link":           {fstest.Link("etc/alias", "etc/hostname")},
}

// extract applies a layer without its parent, which it needs.
func (r *rig) extract(t *testing.T, entries []fstest.Entry) ocispec.Descriptor {
	t.Helper()
	r.committed("base", "", baseEntries...)
	r.committed("want", "base", entries...)
	raw := fstest.Layer(t, entries...)
	desc := r.engine.put(ocispec.MediaTypeImageLayerGzip, pack(t, raw, tar.Gzip))
	got, err := r.Apply(r.ctx(), desc, r.prepare(extractKey, ""))
	require.NoError(t, err)
	require.Equal(t, digest.FromBytes(raw), got.Digest)
	require.EqualValues(t, len(raw), got.Size)
	return desc
}

// requireWanted commits what was extracted and looks at it.
func (r *rig) requireWanted(t *testing.T) {
	t.Helper()
	r.commit("got", extractKey, snapshots.WithParent("base"))
	fstest.RequireEqual(t, r.tree("want"), r.tree("got"), "the layer on its parent")
	require.NoError(t, r.scope.Cleanup(r.ctx()))
	layers, err := r.store.Driver().Layers(t.Context())
	require.NoError(t, err)
	require.Len(t, layers, 3, "the first attempt is gone")
}

func TestALayerThatNeedsItsParentsIsReadAgainAtTheCommit(t *testing.T) {
	for name, entries := range needParents {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "overlay2")
			r.extract(t, entries)
			r.requireWanted(t)
		})
	}
}

func TestALayerThatNeedsItsParentsSurvivesARestart(t *testing.T) {
	for name, entries := range needParents {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "overlay2")
			r.extract(t, entries)
			require.NoError(t, r.store.Close())
			store, err := snapshotter.Open(context.Background(), r.store.Root(), snapshotter.Options{})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, store.Close()) })
			r.store = store
			r.scope, err = store.Scope("containerd")
			require.NoError(t, err)
			r.Differ = New(store, r.scope, r.Differ.engine, Options{})
			r.requireWanted(t)
		})
	}
}

func TestACommitThatCannotReadTheLayerCanBeTriedAgain(t *testing.T) {
	for name, entries := range needParents {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "overlay2")
			desc := r.extract(t, entries)
			require.NoError(t, r.engine.store.Delete(r.ctx(), desc.Digest))
			err := r.scope.Commit(r.ctx(), "got", extractKey, snapshots.WithParent("base"))
			require.ErrorIs(t, err, errdefs.ErrNotFound)
			require.ErrorContains(t, err, desc.Digest.String())
			r.engine.put(ocispec.MediaTypeImageLayerGzip, pack(t, fstest.Layer(t, entries...), tar.Gzip))
			r.requireWanted(t)
		})
	}
}

// What is wrong with a layer beside its lack of parents is found with them.
func TestALayerThatNeedsItsParentsIsMeasuredWithinLimits(t *testing.T) {
	r := newRig(t, "overlay2")
	r.limits = driver.Limits{Bytes: 4096}
	raw := fstest.Layer(t, fstest.Link("etc/alias", "etc/hostname"), fstest.File("big", string(make([]byte, 10_000))))
	desc := r.engine.put(ocispec.MediaTypeImageLayer, raw)
	_, err := r.Apply(r.ctx(), desc, r.prepare(extractKey, ""))
	require.ErrorIs(t, err, driver.ErrInvalidLayer)
}
