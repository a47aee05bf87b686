package differ

import (
	"bytes"
	"context"
	"testing"

	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/tar"
)

var (
	baseEntries = []fstest.Entry{
		fstest.Dir("./"), fstest.Dir("etc/"), fstest.File("etc/hostname", "base\n"), fstest.File("etc/motd", "hello\n"),
		fstest.Dir("usr/"), fstest.Dir("usr/lib/"), fstest.File("usr/lib/a", "a"), fstest.Symlink("lib", "usr/lib"),
	}
	upperEntries = []fstest.Entry{
		fstest.Dir("etc/"), fstest.Whiteout("etc/motd"), fstest.File("etc/hostname", "upper\n"),
		fstest.Dir("srv/"), fstest.File("srv/x", "x").WithMode(0o4755), fstest.Link("srv/y", "srv/x"),
	}
)

func TestALayerOfEveryMediaTypeIsApplied(t *testing.T) {
	raw := fstest.Layer(t, baseEntries...)
	types := map[string]tar.Compression{
		ocispec.MediaTypeImageLayer: tar.None, ocispec.MediaTypeImageLayerGzip: tar.Gzip, ocispec.MediaTypeImageLayerZstd: tar.Zstd,
		"application/vnd.docker.image.rootfs.diff.tar":                 tar.None,
		"application/vnd.docker.image.rootfs.diff.tar.gzip":            tar.Gzip,
		"application/vnd.docker.image.rootfs.diff.tar.zstd":            tar.Zstd,
		"application/vnd.docker.image.rootfs.foreign.diff.tar":         tar.None,
		"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip":    tar.Gzip,
		"application/vnd.oci.image.layer.nondistributable.v1.tar":      tar.None,
		"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip": tar.Gzip,
		"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd": tar.Zstd,
		"application/vnd.docker.image.rootfs.foreign.diff.tar.zstd":    tar.Zstd,
	}
	r := newRig(t, "vfs")
	r.committed("want", "", baseEntries...)
	want := r.tree("want")
	for mediaType, packed := range types {
		t.Run(mediaType, func(t *testing.T) {
			desc := r.engine.put(mediaType, pack(t, raw, packed))
			key := "key " + digest.FromString(mediaType).Encoded()
			var seen []int64
			got, err := r.Apply(r.ctx(), desc, r.prepare(key, ""), diff.WithProgress(func(_ ocispec.Descriptor, n int64) { seen = append(seen, n) }))
			require.NoError(t, err)
			require.Equal(t, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromBytes(raw), Size: int64(len(raw))}, got)
			require.Equal(t, []int64{0, desc.Size}, seen)
			fstest.RequireEqual(t, want, r.tree(key), "the applied layer")
		})
	}
}

func TestALayerIsAppliedOverItsParents(t *testing.T) {
	onBackends(t, func(t *testing.T, r *rig) {
		r.committed("base", "", baseEntries...)
		r.committed("want", "base", upperEntries...)
		raw := fstest.Layer(t, upperEntries...)
		desc := r.engine.put(ocispec.MediaTypeImageLayerGzip, pack(t, raw, tar.Gzip))
		for _, key := range []string{"some key", "default/7/extract-12 sha256:abc"} {
			for _, sync := range []bool{false, true} {
				got, err := r.Apply(r.ctx(), desc, r.prepare(key, "base"), diff.WithSyncFs(sync))
				require.NoError(t, err)
				require.Equal(t, digest.FromBytes(raw), got.Digest)
				fstest.RequireEqual(t, r.tree("want"), r.tree(key), key)
				require.NoError(t, r.scope.Remove(r.ctx(), key))
			}
		}
	})
}

func TestALayerThatIsExtractedWithoutItsParentGetsItAtTheCommit(t *testing.T) {
	r := newRig(t, "overlay2")
	r.committed("base", "", baseEntries...)
	r.committed("want", "base", upperEntries...)
	desc := r.engine.put(ocispec.MediaTypeImageLayer, fstest.Layer(t, upperEntries...))
	const key = "default/7/extract-12 sha256:abc"
	_, err := r.Apply(r.ctx(), desc, r.prepare(key, ""), diff.WithSyncFs(true))
	require.NoError(t, err)
	r.commit("got", key, snapshots.WithParent("base"))
	fstest.RequireEqual(t, r.tree("want"), r.tree("got"), "the layer on its parent")
}

func TestAnExtractedLayerWithoutParentsCanBeCommitted(t *testing.T) {
	onBackends(t, func(t *testing.T, r *rig) {
		r.committed("want", "", baseEntries...)
		desc := r.engine.put(ocispec.MediaTypeImageLayer, fstest.Layer(t, baseEntries...))
		const key = "default/7/extract-12 sha256:abc"
		_, err := r.Apply(r.ctx(), desc, r.prepare(key, ""))
		require.NoError(t, err)
		r.commit("got", key)
		fstest.RequireEqual(t, r.tree("want"), r.tree("got"), "the layer")
	})
}

func TestWhatIsNotOursIsLeftToTheNextDiffer(t *testing.T) {
	r := newRig(t, "vfs")
	ours := r.prepare("key", "")
	desc := r.engine.put(ocispec.MediaTypeImageLayer, fstest.Layer(t, baseEntries...))
	stranger := []mount.Mount{{Type: "bind", Source: t.TempDir(), Options: []string{"rbind", "rw"}}}
	_, err := r.Apply(r.ctx(), desc, stranger)
	require.ErrorIs(t, err, errdefs.ErrNotImplemented)
	for _, mediaType := range []string{ocispec.MediaTypeImageLayerGzip + "+encrypted", "application/x-unknown", ""} {
		desc.MediaType = mediaType
		_, err = r.Apply(r.ctx(), desc, ours)
		require.ErrorIs(t, err, errdefs.ErrNotImplemented, mediaType)
	}
	require.Empty(t, names(r.tree("key")))
}

func TestABadBlobLeavesTheSnapshotAsItWas(t *testing.T) {
	raw := fstest.Layer(t, append(append([]fstest.Entry{}, baseEntries...), fstest.File("big", string(bytes.Repeat([]byte("0123456789"), 20_000))))...)
	for _, tt := range []struct {
		name string
		blob func(r *rig) ocispec.Descriptor
		want error
	}{
		{"missing", func(*rig) ocispec.Descriptor {
			return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromString("nothing"), Size: 7}
		}, errdefs.ErrNotFound},
		{"of no digest", func(*rig) ocispec.Descriptor {
			return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: "sha256:../../etc", Size: 7}
		}, errdefs.ErrInvalidArgument},
		{"damaged in a file's content", func(r *rig) ocispec.Descriptor {
			desc := r.engine.put(ocispec.MediaTypeImageLayer, raw)
			r.engine.damage(desc, int64(len(raw)-5000))
			return desc
		}, driver.ErrDigest},
		{"damaged in its packing", func(r *rig) ocispec.Descriptor {
			desc := r.engine.put(ocispec.MediaTypeImageLayerGzip, pack(t, raw, tar.Gzip))
			r.engine.damage(desc, desc.Size/2)
			return desc
		}, driver.ErrDigest},
		{"longer than said", func(r *rig) ocispec.Descriptor {
			desc := r.engine.put(ocispec.MediaTypeImageLayer, raw)
			desc.Size--
			return desc
		}, driver.ErrDigest},
		{"shorter than said", func(r *rig) ocispec.Descriptor {
			desc := r.engine.put(ocispec.MediaTypeImageLayer, raw)
			desc.Size++
			return desc
		}, driver.ErrDigest},
		{"no layer", func(r *rig) ocispec.Descriptor {
			return r.engine.put(ocispec.MediaTypeImageLayer, bytes.Repeat([]byte("no tar "), 1000))
		}, driver.ErrInvalidLayer},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, "vfs")
			r.committed("base", "", fstest.Dir("./"), fstest.File("kept", "kept"))
			mounts := r.prepare("key", "base")
			desc := tt.blob(r)
			_, err := r.Apply(r.ctx(), desc, mounts)
			require.ErrorIs(t, err, tt.want)
			fstest.RequireEqual(t, r.tree("base"), r.tree("key"), "the snapshot after a failure")
			good := r.engine.put(ocispec.MediaTypeImageLayerZstd, pack(t, raw, tar.Zstd))
			_, err = r.Apply(r.ctx(), good, mounts)
			require.NoError(t, err)
		})
	}
}

func TestAViewTakesNoLayer(t *testing.T) {
	onBackends(t, func(t *testing.T, r *rig) {
		r.committed("base", "", baseEntries...)
		desc := r.engine.put(ocispec.MediaTypeImageLayer, fstest.Layer(t, upperEntries...))
		_, err := r.Apply(r.ctx(), desc, r.view("view", "base"))
		require.ErrorIs(t, err, errdefs.ErrFailedPrecondition)
		require.NotErrorIs(t, err, errdefs.ErrNotImplemented)
	})
}

func TestACallWithoutANamespaceIsRefused(t *testing.T) {
	r := newRig(t, "vfs")
	desc := r.engine.put(ocispec.MediaTypeImageLayer, fstest.Layer(t, baseEntries...))
	_, err := r.Apply(context.Background(), desc, r.prepare("key", ""))
	require.ErrorIs(t, err, errdefs.ErrFailedPrecondition)
}

// names are the paths of a tree but for its root.
func names(tree fstest.Tree) []string {
	var out []string
	for _, path := range tree.Paths() {
		if path != "." {
			out = append(out, path)
		}
	}
	return out
}
