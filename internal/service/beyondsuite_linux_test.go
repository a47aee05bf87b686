package service

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff/apply"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

// What containerd's suite does not look at.

// in runs fn on the mounted snapshot.
func (s *served) in(mounts []mount.Mount, fn func(root string)) {
	s.t.Helper()
	require.NoError(s.t, mount.WithTempMount(asEngine(s.t), mounts, func(root string) error {
		fn(root)
		return nil
	}))
}

// layer commits a snapshot with one file in it.
func (s *served) layer(name, parent, file, body string, opts ...snapshots.Opt) {
	s.t.Helper()
	key := "key of " + name
	mounts, err := s.engine.Prepare(asEngine(s.t), key, parent)
	require.NoError(s.t, err)
	s.in(mounts, func(root string) {
		require.NoError(s.t, os.WriteFile(filepath.Join(root, file), []byte(body), 0o600))
	})
	require.NoError(s.t, s.engine.Commit(asEngine(s.t), name, key, opts...))
}

func TestUsageIsThatOfTheSnapshotAlone(t *testing.T) {
	onMountingDrivers(t, func(t *testing.T, name, root string) {
		s := start(t, root, name, nil)
		ctx := asEngine(t)
		s.layer("base", "", "big", strings.Repeat("x", 1<<20))
		s.layer("top", "base", "small", "x")
		base, err := s.engine.Usage(ctx, "base")
		require.NoError(t, err)
		require.GreaterOrEqual(t, base.Size, int64(1<<20))
		require.GreaterOrEqual(t, base.Inodes, int64(2))
		mounts, err := s.engine.Prepare(ctx, "active", "base")
		require.NoError(t, err)
		empty, err := s.engine.Usage(ctx, "active")
		require.NoError(t, err)
		s.in(mounts, func(root string) {
			require.NoError(t, os.WriteFile(filepath.Join(root, "f"), make([]byte, 1<<19), 0o600))
		})
		now, err := s.engine.Usage(ctx, "active")
		require.NoError(t, err)
		require.GreaterOrEqual(t, now.Size, empty.Size+1<<19)
		_, err = s.engine.Usage(ctx, "none")
		require.ErrorIs(t, err, errdefs.ErrNotFound)
		s.requireSound()
	})
}

func TestMountsStayTheSameForASnapshot(t *testing.T) {
	onMountingDrivers(t, func(t *testing.T, name, root string) {
		s := start(t, root, name, nil)
		ctx := asEngine(t)
		s.layer("base", "", "f", "x")
		prepared, err := s.engine.Prepare(ctx, "active", "base")
		require.NoError(t, err)
		viewed, err := s.engine.View(ctx, "view", "base")
		require.NoError(t, err)
		for key, want := range map[string][]mount.Mount{"active": prepared, "view": viewed} {
			got, err := s.engine.Mounts(ctx, key)
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
		_, err = s.engine.Mounts(ctx, "base")
		require.ErrorIs(t, err, errdefs.ErrFailedPrecondition)
		_, err = s.engine.Mounts(ctx, "none")
		require.ErrorIs(t, err, errdefs.ErrNotFound)
		s.in(viewed, func(root string) {
			require.ErrorContains(t, os.WriteFile(filepath.Join(root, "g"), nil, 0o600), "read-only")
		})
	})
}

func TestLabelsAreKeptAsGivenAndFiltered(t *testing.T) {
	onMountingDrivers(t, func(t *testing.T, name, root string) {
		s := start(t, root, name, nil)
		ctx := asEngine(t)
		given := map[string]string{
			snapshots.LabelSnapshotRef: "sha256:aa", "containerd.io/snapshot/diff-id": "sha256:bb",
			"containerd.io/snapshot/cri.layer-digest": "sha256:cc", "a/b.c": "d", "containerd.io/gc.root": "2026-11-21T00:00:00Z",
		}
		_, err := s.engine.Prepare(ctx, "k", "", snapshots.WithLabels(given))
		require.NoError(t, err)
		info, err := s.engine.Stat(ctx, "k")
		require.NoError(t, err)
		require.Equal(t, given, info.Labels)
		require.NoError(t, s.engine.Commit(ctx, "c", "k", snapshots.WithLabels(given)))
		s.layer("other", "c", "f", "x")
		_, err = s.engine.View(ctx, "v", "other")
		require.NoError(t, err)

		for filter, want := range map[string][]string{
			"": {"c", "other", "v"}, "name==c": {"c"}, "kind==view": {"v"}, "kind==committed": {"c", "other"}, "parent==c": {"other"},
			`labels."containerd.io/snapshot.ref"==sha256:aa`: {"c"}, `labels."a/b.c"`: {"c"}, `name~=^(c|v)$`: {"c", "v"}, "name==@containerd/c": nil,
		} {
			require.Equal(t, want, s.names(filter), filter)
		}
		require.ErrorIs(t, s.engine.Walk(ctx, func(context.Context, snapshots.Info) error { return nil }, "name=="), errdefs.ErrInvalidArgument)

		info, err = s.engine.Update(ctx, snapshots.Info{Name: "c", Labels: map[string]string{"a/b.c": "e"}}, "labels.a/b.c")
		require.NoError(t, err)
		require.Equal(t, "e", info.Labels["a/b.c"])
		require.Equal(t, "sha256:aa", info.Labels[snapshots.LabelSnapshotRef])
		require.Equal(t, "c", info.Name)
		_, err = s.engine.Update(ctx, snapshots.Info{Name: "c", Created: time.Now()}, "created")
		require.ErrorIs(t, err, errdefs.ErrInvalidArgument)
	})
}

// names lists what matches.
func (s *served) names(filter string) []string {
	s.t.Helper()
	var fs, names []string
	if filter != "" {
		fs = append(fs, filter)
	}
	require.NoError(s.t, s.engine.Walk(asEngine(s.t), func(_ context.Context, info snapshots.Info) error {
		names = append(names, info.Name)
		return nil
	}, fs...))
	slices.Sort(names)
	return names
}

// TestLayersThatAnEngineUnpacksWithoutParentsAreThoseOfASequence does what
// containerd does with the capability "rebase" and its own applier.
func TestLayersThatAnEngineUnpacksWithoutParentsAreThoseOfASequence(t *testing.T) {
	layers := [][]fstest.Entry{
		{fstest.Dir("d").WithMode(0o750), fstest.File("d/a", "1"), fstest.File("d/b", "1"), fstest.Dir("o"), fstest.File("o/x", "1")},
		{fstest.Whiteout("d/a"), fstest.File("d/c", "2")},
		{fstest.Opaque("o"), fstest.File("o/y", "3"), fstest.File("new/z", "3")},
	}
	onMountingDrivers(t, func(t *testing.T, name, root string) {
		s := start(t, root, name, nil)
		if !s.store.Driver().Properties().Rebase {
			require.ErrorIs(t, s.unpack(layers, true), errdefs.ErrNotImplemented)
			return
		}
		require.NoError(t, s.unpack(layers, false))
		require.NoError(t, s.unpack(layers, true))
		trees := map[bool]fstest.Tree{}
		for _, parallel := range []bool{false, true} {
			mounts, err := s.engine.View(asEngine(t), fmt.Sprint("view ", parallel), fmt.Sprint("layer 2 ", parallel))
			require.NoError(t, err)
			s.in(mounts, func(root string) { trees[parallel] = withoutDirTimes(fstest.FromPath(t, root)) })
		}
		fstest.RequireEqual(t, trees[false], trees[true], "what was unpacked side by side")
		require.NotContains(t, trees[true], "d/a")
		require.NotContains(t, trees[true], "o/x")
		s.requireSound()
	})
}

// unpack applies layers in sequence, or side by side with the parents given on
// commit.
func (s *served) unpack(layers [][]fstest.Entry, parallel bool) error {
	s.t.Helper()
	ctx, parent := asEngine(s.t), ""
	for i, layer := range layers {
		key, on := fmt.Sprintf("ns/%d/extract-%v", i, parallel), parent
		if parallel {
			on = ""
		}
		mounts, err := s.engine.Prepare(ctx, key, on)
		require.NoError(s.t, err)
		layerTar := blob(fstest.Layer(s.t, layer...))
		_, err = apply.NewFileSystemApplier(layerTar).Apply(ctx, layerTar.descriptor(), mounts)
		require.NoError(s.t, err)
		name := fmt.Sprintf("layer %d %v", i, parallel)
		var opts []snapshots.Opt
		if parallel && parent != "" {
			opts = append(opts, snapshots.WithParent(parent))
		}
		if err := s.engine.Commit(ctx, name, key, opts...); err != nil {
			return err
		}
		info, err := s.engine.Stat(ctx, name)
		require.NoError(s.t, err)
		require.Equal(s.t, parent, info.Parent)
		parent = name
	}
	return nil
}

// withoutDirTimes forgets the times of directories, which the engine's applier
// sets to now where there is no entry.
func withoutDirTimes(tree fstest.Tree) fstest.Tree {
	for path, n := range tree {
		if n.Mode&unix.S_IFMT == unix.S_IFDIR {
			n.Mtime = time.Time{}
			tree[path] = n
		}
	}
	return tree
}

func TestNothingIsLeftOnDiskOfWhatAnEngineCollects(t *testing.T) {
	onMountingDrivers(t, func(t *testing.T, name, root string) {
		s := start(t, root, name, nil)
		ctx := asEngine(t)
		s.layer("a", "", "f", "1")
		s.layer("b", "a", "f", "2")
		_, err := s.engine.View(ctx, "v", "b")
		require.NoError(t, err)
		_, err = s.engine.Prepare(ctx, "k", "b")
		require.NoError(t, err)
		require.ErrorIs(t, s.engine.Remove(ctx, "a"), errdefs.ErrFailedPrecondition)
		// As its garbage collection: children first, then Cleanup.
		for _, key := range []string{"v", "k", "b", "a"} {
			require.NoError(t, s.engine.Remove(ctx, key))
		}
		require.NoError(t, s.engine.(snapshots.Cleaner).Cleanup(ctx))
		require.Empty(t, s.names(""))
		s.requireSound()
	})
}

func TestAMountedSnapshotDoesNotEndTheCollectionOfAnEngine(t *testing.T) {
	onMountingDrivers(t, func(t *testing.T, name, root string) {
		s := start(t, root, name, nil)
		s.layer("base", "", "f", "x")
		mounts, err := s.engine.Prepare(asEngine(t), "mounted", "base")
		require.NoError(t, err)
		s.in(mounts, func(string) {
			err := s.engine.Remove(asEngine(t), "mounted")
			if s.store.Driver().Properties().SharesPages {
				require.Error(t, err, "what is below an overlay must not go")
			}
			if err != nil { // some backends remove it all the same
				_, raw := snapshotsapi.NewSnapshotsClient(s.conn).Remove(asEngine(t), &snapshotsapi.RemoveSnapshotRequest{Key: "mounted"})
				require.Equal(t, codes.FailedPrecondition, status.Code(raw), "what containerd reads")
				require.ErrorIs(t, err, errdefs.ErrFailedPrecondition)
				require.NotErrorIs(t, err, errdefs.ErrUnavailable)
			}
		})
		if err := s.engine.Remove(asEngine(t), "mounted"); !errdefs.IsNotFound(err) {
			require.NoError(t, err)
		}
		s.requireSound()
	})
}

// blob is a layer in a content store that holds nothing else.
type blob []byte

func (b blob) descriptor() ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromBytes(b), Size: int64(len(b))}
}

// ReaderAt returns the layer, whatever is asked for.
func (b blob) ReaderAt(context.Context, ocispec.Descriptor) (content.ReaderAt, error) {
	return opened{bytes.NewReader(b)}, nil
}

type opened struct{ *bytes.Reader }

func (opened) Close() error { return nil }
