package image

import (
	"context"
	"slices"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/snapshotter/meta"
	"github.com/layerkeep/layerkeep/tar"
)

func TestACollectionTakesWhatNobodyNeeds(t *testing.T) {
	ctx := context.Background()
	onEachDriver(t, func(t *testing.T, s *Store) {
		layers := threeLayers(t, tar.Gzip)
		for i, name := range []string{"two", "three"} {
			m := newMaker(t)
			m.add(m.image(imageSpec{layers: layers[:i+2]}), "")
			s.mustImport(t, m.dir(), ImportOptions{Name: name})
		}
		before := s.contents(t)
		c, err := s.Collect(ctx)
		require.NoError(t, err)
		require.Empty(t, c.Snapshots)
		require.Zero(t, c.Blobs)
		require.Equal(t, before, s.contents(t))

		two, err := s.Image(ctx, "two")
		require.NoError(t, err)
		c, err = s.Remove(ctx, "three")
		require.NoError(t, err)
		require.Len(t, c.Snapshots, 1)
		require.Equal(t, 3, c.Blobs, "its own layer, its config and its manifest")
		require.Positive(t, c.Bytes)
		require.Len(t, s.contents(t).Snapshots, 2)

		// A snapshot of a user keeps the snapshots below it, but not the image.
		err = s.snaps.Create(ctx, "mine", two.Snapshot)
		require.NoError(t, err)
		c, err = s.Remove(ctx, "two")
		require.NoError(t, err)
		require.Empty(t, c.Snapshots)
		require.Equal(t, 2, c.Blobs, "the blobs of the layers stay, for an export of what stands on them")
		require.Len(t, s.contents(t).Snapshots, 3)

		require.NoError(t, s.snaps.Commit(ctx, "kept", "mine"))
		c, err = s.Collect(ctx)
		require.NoError(t, err)
		require.Empty(t, c.Snapshots)

		require.NoError(t, s.snaps.Remove(ctx, "kept"))
		err = s.snaps.Create(ctx, "loose", "")
		require.NoError(t, err)
		require.NoError(t, s.snaps.Commit(ctx, "a user's", "loose"))
		c, err = s.Collect(ctx)
		require.NoError(t, err)
		require.Len(t, c.Snapshots, 2)
		require.Equal(t, contents{Snapshots: []string{"Committed a user's"}}, s.contents(t))
		s.requireNoLeak(t)
	})
}

func TestTheBaseThatASnapshotNamesIsKept(t *testing.T) {
	ctx := context.Background()
	s := newStore(t, "vfs")
	m := newMaker(t)
	m.add(m.image(imageSpec{layers: threeLayers(t, tar.None)}), "")
	img := s.mustImport(t, m.dir(), ImportOptions{Name: "app"})
	label := snapshots.WithLabels(map[string]string{LabelBase: img.Target.Digest.String()})
	err := s.snaps.Create(ctx, "mine", img.Snapshot, label)
	require.NoError(t, err)
	before := s.contents(t).Blobs
	_, err = s.Remove(ctx, "app")
	require.NoError(t, err)
	require.Equal(t, before, s.contents(t).Blobs)
	require.NoError(t, s.snaps.Remove(ctx, "mine"))
	_, err = s.Collect(ctx)
	require.NoError(t, err)
	require.Equal(t, contents{}, s.contents(t))
}

func TestAnImageIsRemovedByNameOrByADigestThatMeansOne(t *testing.T) {
	ctx := context.Background()
	s := newStore(t, "vfs")
	m := newMaker(t)
	m.add(m.image(imageSpec{layers: threeLayers(t, tar.None)}), "")
	dir := m.dir()
	img := s.mustImport(t, dir, ImportOptions{Name: "a"})
	s.mustImport(t, dir, ImportOptions{Name: "b"})
	_, err := s.Remove(ctx, img.Target.Digest.Encoded()[:10])
	require.ErrorIs(t, err, ErrAmbiguous)
	require.ErrorContains(t, err, "a:latest, b:latest")
	_, err = s.Remove(ctx, "a")
	require.NoError(t, err)
	_, err = s.Remove(ctx, "a")
	require.ErrorIs(t, err, ErrNotFound)
	_, err = s.Remove(ctx, img.Target.Digest.String())
	require.NoError(t, err)
	require.Equal(t, contents{}, s.contents(t))
}

func TestACollectionLeavesTheSnapshotsOfEnginesAlone(t *testing.T) {
	ctx := context.Background()
	onEachDriver(t, func(t *testing.T, s *Store) {
		sc, err := s.snaps.Scope("engine")
		require.NoError(t, err)
		require.NoError(t, sc.Create(ctx, "busy", "", snapshots.WithLabels(map[string]string{LabelImporting: "gone"})))
		require.NoError(t, sc.Create(ctx, "key", ""))
		labels := map[string]string{LabelLayer: sc.Full("layer")}
		require.NoError(t, sc.Commit(ctx, "layer", "key", snapshots.WithLabels(labels)))
		before := s.contents(t)

		c, err := s.Collect(ctx)
		require.NoError(t, err)
		require.Empty(t, c.Snapshots)
		require.Equal(t, before, s.contents(t))
	})
}

// One pass removes a whole stack from its top. With one pass for each layer,
// each pass would read all rows.
func TestACollectionFollowsEachStackDown(t *testing.T) {
	ctx := context.Background()
	s := newStore(t, "vfs")
	layers := threeLayers(t, tar.None)
	m := newMaker(t)
	m.add(m.image(imageSpec{layers: layers}), "")
	three := s.mustImport(t, m.dir(), ImportOptions{Name: "three"})
	other := newMaker(t)
	other.add(other.image(imageSpec{layers: append(slices.Clone(layers[:1]), layers[2])}), "")
	two := s.mustImport(t, other.dir(), ImportOptions{Name: "two"})
	for _, img := range []Image{three, two} {
		require.NoError(t, s.snaps.DB().Update(func(tx *meta.Tx) error { return tx.DeleteRecord(imageRecords, img.Name) }))
		require.NoError(t, s.backUp(ctx, img.Name))
	}
	var c Collected
	again, err := s.collect(ctx, &c)
	require.NoError(t, err)
	require.True(t, again, "blobs are next")
	require.Len(t, c.Snapshots, 4)
	require.Empty(t, s.contents(t).Snapshots)
	bottom := three.Layers[0].ChainID.String()
	require.Equal(t, bottom, c.Snapshots[3], "what both stacks stand on goes last")
	_, err = s.Collect(ctx)
	require.NoError(t, err)
	require.Equal(t, contents{}, s.contents(t))
}
