package differ

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/pkg/rootfs"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/tar"
)

const uncompressed = "containerd.io/uncompressed"

// native is what the store itself says has changed in a snapshot.
func (r *rig) native(key string) []byte {
	r.t.Helper()
	var out bytes.Buffer
	_, err := r.store.Diff(r.ctx(), r.scope.Full(key), &out, driver.DiffOptions{})
	require.NoError(r.t, err)
	return out.Bytes()
}

// layer returns a layer that Compare has stored, unpacked.
func (r *rig) layer(desc ocispec.Descriptor) []byte {
	r.t.Helper()
	raw := r.engine.get(desc.Digest)
	require.EqualValues(r.t, len(raw), desc.Size)
	plain, _, err := tar.NewDecompressor(bytes.NewReader(raw))
	require.NoError(r.t, err)
	defer plain.Close()
	layer, err := io.ReadAll(plain)
	require.NoError(r.t, err)
	info, err := r.engine.store.Info(r.ctx(), desc.Digest)
	require.NoError(r.t, err)
	require.Equal(r.t, digest.FromBytes(layer).String(), info.Labels[uncompressed])
	return layer
}

func TestASnapshotComparedWithItsParentGivesItsOwnDiff(t *testing.T) {
	onBackends(t, func(t *testing.T, r *rig) {
		r.committed("base", "", baseEntries...)
		mounts := r.prepare("work", "base")
		r.fill("work", upperEntries...)
		want := r.native("work")
		desc, err := r.Compare(r.ctx(), r.view("base view", "base"), mounts)
		require.NoError(t, err)
		require.Equal(t, ocispec.MediaTypeImageLayerGzip, desc.MediaType)
		require.Equal(t, want, r.layer(desc))
		r.engine.requireNoUploads()
	})
}

// As "ctr snapshots diff" and the engines' commit ask for it.
func TestContainerdGetsTheDiffOfEveryKindOfSnapshot(t *testing.T) {
	onBackends(t, func(t *testing.T, r *rig) {
		r.committed("base", "", baseEntries...)
		r.committed("top", "base", upperEntries...)
		r.prepare("work", "top")
		r.fill("work", fstest.Dir("work/"), fstest.Whiteout("srv"))
		for _, key := range []string{"base", "top", "work"} {
			desc, err := rootfs.CreateDiff(r.ctx(), key, r.scope, r)
			require.NoError(t, err)
			require.Equal(t, r.native(key), r.layer(desc), key)
		}
		left := 0
		require.NoError(t, r.scope.Walk(r.ctx(), countInto(&left)))
		require.Equal(t, 3, left, "the views are gone again")
	})
}

func TestAnyTwoSnapshotsCanBeCompared(t *testing.T) {
	onBackends(t, func(t *testing.T, r *rig) {
		r.committed("base", "", baseEntries...)
		r.committed("left", "base", fstest.Dir("left/"), fstest.File("left/l", "l"), fstest.Whiteout("etc/motd"))
		r.committed("right", "base", upperEntries...)
		r.committed("top", "right", fstest.File("top", "top"), fstest.File("etc/hostname", "top\n"))
		r.committed("other", "", fstest.Dir("./").WithMode(0o700), fstest.File("other", "o"), fstest.Symlink("etc", "usr"))
		pairs := [][2]string{{"left", "right"}, {"right", "left"}, {"base", "top"}, {"top", "base"}, {"", "top"}, {"other", "top"}, {"top", "other"}, {"top", "top"}}
		for _, pair := range pairs {
			from, to := pair[0], pair[1]
			var lower []mount.Mount
			if from != "" {
				lower = r.view("lower", from)
			}
			desc, err := r.Compare(r.ctx(), lower, r.view("upper", to), diff.WithMediaType(ocispec.MediaTypeImageLayer))
			require.NoError(t, err)
			r.prepare("check", from)
			_, err = r.store.Apply(r.ctx(), r.scope.Full("check"), bytes.NewReader(r.layer(desc)), driver.ApplyOptions{})
			require.NoError(t, err)
			fstest.RequireEqual(t, r.tree(to), r.tree("check"), from+" to "+to)
			if from != "" {
				require.NoError(t, r.scope.Remove(r.ctx(), "lower"))
			}
			require.NoError(t, r.scope.Remove(r.ctx(), "upper"))
			require.NoError(t, r.scope.Remove(r.ctx(), "check"))
		}
	})
}

// The walk over both trees is the reference for what the backends know.
func TestBothWaysToCompareGiveTheSameBytes(t *testing.T) {
	onBackends(t, func(t *testing.T, r *rig) {
		r.committed("base", "", baseEntries...)
		r.committed("top", "base", upperEntries...)
		for _, key := range [][2]string{{"", "base"}, {"base", "top"}} {
			var walked bytes.Buffer
			require.NoError(t, r.walk(r.ctx(), key[0], key[1], &walked, driver.DiffOptions{}))
			require.Equal(t, r.native(key[1]), walked.Bytes(), key[1])
		}
	})
}

func TestASnapshotOfNothingCanBeCompared(t *testing.T) {
	r := newRig(t, "vfs")
	r.committed("base", "", baseEntries...)
	desc, err := r.Compare(r.ctx(), r.view("base view", "base"), r.view("nothing", ""))
	require.NoError(t, err)
	r.prepare("check", "base")
	_, err = r.store.Apply(r.ctx(), r.scope.Full("check"), bytes.NewReader(r.layer(desc)), driver.ApplyOptions{})
	require.NoError(t, err)
	require.Empty(t, names(r.tree("check")))
	_, err = r.Compare(r.ctx(), r.view("base view 2", "base"), nil)
	require.ErrorIs(t, err, errdefs.ErrInvalidArgument)
}

func TestALayerIsPackedAsTheMediaTypeSays(t *testing.T) {
	r := newRig(t, "vfs")
	mounts := r.prepare("key", "")
	r.fill("key", baseEntries...)
	want := r.native("key")
	for mediaType, packed := range map[string]tar.Compression{
		ocispec.MediaTypeImageLayer: tar.None, ocispec.MediaTypeImageLayerGzip: tar.Gzip, ocispec.MediaTypeImageLayerZstd: tar.Zstd,
		dockerLayer: tar.None, dockerLayer + ".gzip": tar.Gzip, dockerLayer + ".zstd": tar.Zstd,
	} {
		desc, err := r.Compare(r.ctx(), nil, mounts, diff.WithMediaType(mediaType))
		require.NoError(t, err)
		require.Equal(t, mediaType, desc.MediaType)
		require.Equal(t, pack(t, want, packed), r.engine.get(desc.Digest))
	}
	for _, mediaType := range []string{nonDistributable, dockerForeignLayer + ".gzip", "application/x-unknown"} {
		_, err := r.Compare(r.ctx(), nil, mounts, diff.WithMediaType(mediaType))
		require.ErrorIs(t, err, errdefs.ErrNotImplemented, mediaType)
	}
}

func TestTheCallerCanBringItsCompressor(t *testing.T) {
	r := newRig(t, "vfs")
	mounts := r.prepare("key", "")
	r.fill("key", baseEntries...)
	compressor := diff.WithCompressor(func(w io.Writer, mediaType string) (io.WriteCloser, error) {
		require.Equal(t, "application/x-mine", mediaType)
		return gzip.NewWriterLevel(w, gzip.BestSpeed)
	})
	desc, err := r.Compare(r.ctx(), nil, mounts, compressor, diff.WithMediaType("application/x-mine"))
	require.NoError(t, err)
	require.Equal(t, r.native("key"), r.layer(desc))
	_, err = r.Compare(r.ctx(), nil, mounts, compressor)
	require.ErrorIs(t, err, errdefs.ErrInvalidArgument)
}

func TestTimesEndAtTheSourceDateEpoch(t *testing.T) {
	r := newRig(t, "vfs")
	r.committed("base", "", baseEntries...)
	mounts := r.prepare("key", "base")
	r.fill("key", fstest.File("old", "o").WithMtime(100, 5), fstest.File("new", "n").WithMtime(2_000_000_000, 7))
	limit := time.Unix(1_000, 0)
	for name, lower := range map[string][]mount.Mount{"native": r.view("base view", "base"), "generic": nil} {
		t.Run(name, func(t *testing.T) {
			desc, err := r.Compare(r.ctx(), lower, mounts, diff.WithSourceDateEpoch(&limit))
			require.NoError(t, err)
			layer := r.layer(desc)
			check := r.prepare("check "+name, "")
			_, err = r.Apply(r.ctx(), desc, check)
			require.NoError(t, err, "%d bytes", len(layer))
			tree := r.tree("check " + name)
			require.Equal(t, limit.Unix(), tree["new"].Mtime.Unix())
			require.Zero(t, tree["new"].Mtime.Nanosecond())
			require.Equal(t, int64(100), tree["old"].Mtime.Unix())
		})
	}
}

func TestALayerThatIsThereIsNotWrittenAgain(t *testing.T) {
	r := newRig(t, "vfs")
	mounts := r.prepare("key", "")
	r.fill("key", baseEntries...)
	raw := pack(t, r.native("key"), tar.Gzip)
	there := r.engine.put(ocispec.MediaTypeImageLayerGzip, raw)
	desc, err := r.Compare(r.ctx(), nil, mounts, diff.WithReference("mine"), diff.WithLabels(map[string]string{"a": "1"}))
	require.NoError(t, err)
	require.Equal(t, there.Digest, desc.Digest)
	info, err := r.engine.store.Info(r.ctx(), desc.Digest)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"a": "1", uncompressed: digest.FromBytes(r.native("key")).String()}, info.Labels)
	r.engine.requireNoUploads()
}

func TestLabelsAndTheReferenceAreTheCallers(t *testing.T) {
	r := newRig(t, "vfs")
	mounts := r.prepare("key", "")
	r.fill("key", baseEntries...)
	labels := map[string]string{"b": "2"}
	// What an earlier attempt left under the reference is written over.
	w, err := r.engine.store.Writer(r.ctx(), content.WithRef("mine"))
	require.NoError(t, err)
	_, err = w.Write(bytes.Repeat([]byte("left"), 1<<20))
	require.NoError(t, err)
	// While somebody writes there it is not ours to take.
	_, err = r.Compare(r.ctx(), nil, mounts, diff.WithReference("mine"), diff.WithLabels(labels))
	require.ErrorIs(t, err, errdefs.ErrUnavailable)
	_, err = r.engine.store.Status(r.ctx(), "mine")
	require.NoError(t, err, "the upload of the other")
	require.NoError(t, w.Close())
	desc, err := r.Compare(r.ctx(), nil, mounts, diff.WithReference("mine"), diff.WithLabels(labels))
	require.NoError(t, err)
	require.Equal(t, r.native("key"), r.layer(desc))
	require.Equal(t, map[string]string{"b": "2"}, labels, "the caller's own map")
	r.engine.requireNoUploads()
}

func TestStrangersMountsAreLeftToTheNextDiffer(t *testing.T) {
	r := newRig(t, "vfs")
	ours := r.prepare("key", "")
	stranger := []mount.Mount{{Type: "overlay", Source: "overlay", Options: []string{"lowerdir=/a:/b", "upperdir=/c", "workdir=/d"}}}
	_, err := r.Compare(r.ctx(), stranger, ours)
	require.ErrorIs(t, err, errdefs.ErrNotImplemented)
	_, err = r.Compare(r.ctx(), ours, stranger)
	require.ErrorIs(t, err, errdefs.ErrNotImplemented)
	require.Empty(t, r.engine.blobs())
}

// containerd's collector may run before the caller has told what it needs the
// layer for; the lease of the caller does not reach a proxied differ.
func TestANewLayerOutlivesACollectionThatComesTooSoon(t *testing.T) {
	r := newRig(t, "vfs")
	mounts := r.prepare("key", "")
	r.fill("key", baseEntries...)
	begin := time.Now().Truncate(time.Second)
	desc, err := r.Compare(r.ctx(), nil, mounts)
	require.NoError(t, err)
	end := time.Now()
	_, err = r.engine.db.GarbageCollect(r.ctx())
	require.NoError(t, err)
	require.Equal(t, []digest.Digest{desc.Digest}, r.engine.blobs())
	list, err := r.engine.leases.List(r.ctx())
	require.NoError(t, err)
	require.Len(t, list, 1)
	ends, err := time.Parse(time.RFC3339, list[0].Labels[expiry])
	require.NoError(t, err)
	require.WithinRange(t, ends, begin.Add(grace), end.Add(grace))
}

func TestTheLeaseOfTheCallerIsUsed(t *testing.T) {
	r := newRig(t, "vfs")
	mounts := r.prepare("key", "")
	r.fill("key", baseEntries...)
	_, err := r.engine.leases.Create(r.ctx(), leases.WithID("callers"))
	require.NoError(t, err)
	desc, err := r.Compare(leases.WithLease(r.ctx(), "callers"), nil, mounts)
	require.NoError(t, err)
	held, err := r.engine.leases.ListResources(r.ctx(), leases.Lease{ID: "callers"})
	require.NoError(t, err)
	require.Equal(t, []leases.Resource{{ID: desc.Digest.String(), Type: contentType}}, held)
	list, err := r.engine.leases.List(r.ctx())
	require.NoError(t, err)
	require.Len(t, list, 1)
}

func TestACancelledComparisonLeavesNothing(t *testing.T) {
	r := newRig(t, "vfs")
	ctx, cancel := context.WithCancel(r.ctx())
	cancel()
	_, err := r.Compare(ctx, nil, r.prepare("key", ""))
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, r.engine.blobs())
	r.engine.requireNoUploads()
}
