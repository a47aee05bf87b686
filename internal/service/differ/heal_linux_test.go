package differ

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/snapshotter"
	"github.com/layerkeep/layerkeep/tar"
)

// pulled makes the snapshots of an image of two layers as containerd names
// them, and returns these names and the blobs.
func (r *rig) pulled() (names []string, blobs []ocispec.Descriptor) {
	r.t.Helper()
	parent, chainID := "", digest.Digest("")
	for i, entries := range [][]fstest.Entry{baseEntries, upperEntries} {
		raw := fstest.Layer(r.t, entries...)
		blobs = append(blobs, r.engine.put(ocispec.MediaTypeImageLayerGzip, pack(r.t, raw, tar.Gzip)))
		diffID := digest.FromBytes(raw)
		if chainID == "" {
			chainID = diffID
		} else {
			chainID = digest.FromString(chainID.String() + " " + diffID.String())
		}
		name := fmt.Sprintf("default/%d/%s", i+2, chainID)
		r.committed(name, parent, entries...)
		names, parent = append(names, name), name
	}
	return names, blobs
}

// lose removes the directory of a snapshot's layer.
func (r *rig) lose(name string) {
	r.t.Helper()
	layers, err := r.store.Inspect(r.ctx())
	require.NoError(r.t, err)
	for _, l := range layers {
		if l.Name == r.scope.Full(name) {
			require.NoError(r.t, fstest.RemoveAll(filepath.Join(r.store.Root(), r.store.Driver().Name(), string(l.ID))))
		}
	}
}

// unpackAgain does what containerd does with a layer whose snapshot it has not
// found. It ends with the removal, since its own database knows the name of the
// snapshot.
func (r *rig) unpackAgain(n int, name, parent string, blob ocispec.Descriptor) {
	r.t.Helper()
	key := fmt.Sprintf("default/%d/extract-%d %s", 50+n, n, filepath.Base(name))
	_, err := r.Apply(r.ctx(), blob, r.prepare(key, parent))
	require.NoError(r.t, err)
	require.NoError(r.t, r.scope.Remove(r.ctx(), key))
}

func TestALostLayerThatAnEngineUnpacksAgainIsHealed(t *testing.T) {
	onBackends(t, func(t *testing.T, r *rig) {
		names, blobs := r.pulled()
		r.prepare("box", names[1])
		want, box := r.tree(names[1]), r.tree("box")
		for lost := range names {
			r.lose(names[lost])
			for _, name := range names[lost:] {
				_, err := r.scope.StatWhole(r.ctx(), name)
				require.ErrorIs(t, err, errdefs.ErrNotFound, "the engine unpacks it again")
			}
			_, err := r.scope.Prepare(r.ctx(), "another box", names[1])
			require.ErrorIs(t, err, snapshotter.ErrLayerDamaged)
			require.True(t, errdefs.IsDataLoss(err))
			parent := ""
			for i, name := range names {
				if _, err := r.scope.StatWhole(r.ctx(), name); err != nil {
					r.unpackAgain(i, name, parent, blobs[i])
				}
				_, err := r.scope.StatWhole(r.ctx(), name)
				require.NoError(t, err)
				parent = name
			}
			fstest.RequireEqual(t, want, r.tree(names[1]), "the image")
			fstest.RequireEqual(t, box, r.tree("box"), "the container")
			r.prepare("another box", names[1])
			require.NoError(t, r.scope.Remove(r.ctx(), "another box"))
		}
	})
}

// Engines unpack layers side by side, the upper one first if that is how it
// goes.
func TestLostLayersAreHealedInWhateverOrderTheyCome(t *testing.T) {
	r := newRig(t, "overlay2")
	names, blobs := r.pulled()
	want := r.tree(names[1])
	r.lose(names[0])
	r.lose(names[1])
	r.unpackAgain(1, names[1], "", blobs[1])
	_, err := r.scope.StatWhole(r.ctx(), names[1])
	require.ErrorIs(t, err, errdefs.ErrNotFound, "the layer below is missing still")
	r.unpackAgain(0, names[0], "", blobs[0])
	for _, name := range names {
		_, err := r.scope.StatWhole(r.ctx(), name)
		require.NoError(t, err)
	}
	fstest.RequireEqual(t, want, r.tree(names[1]), "the image")
}

func TestALayerIsNotHealedWithAnother(t *testing.T) {
	r := newRig(t, "vfs")
	names, blobs := r.pulled()
	r.lose(names[0])
	r.unpackAgain(0, names[0], "", blobs[1]) // under the name of the lost one
	_, err := r.scope.StatWhole(r.ctx(), names[0])
	require.ErrorIs(t, err, errdefs.ErrNotFound)
	r.unpackAgain(1, names[0], "", blobs[0])
	_, err = r.scope.StatWhole(r.ctx(), names[0])
	require.NoError(t, err)
}

func TestASoundLayerIsLeftAloneWhenItIsUnpackedAgain(t *testing.T) {
	r := newRig(t, "vfs")
	names, blobs := r.pulled()
	before, err := r.scope.Stat(r.ctx(), names[0])
	require.NoError(t, err)
	r.unpackAgain(0, names[0], "", blobs[0])
	after, err := r.scope.Stat(r.ctx(), names[0])
	require.NoError(t, err)
	require.Equal(t, before, after)
}
