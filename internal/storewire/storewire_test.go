package storewire

import (
	"reflect"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	storev1 "github.com/layerkeep/layerkeep/api/store/v1"
	"github.com/layerkeep/layerkeep/check"
	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/image"
	"github.com/layerkeep/layerkeep/mount"
	"github.com/layerkeep/layerkeep/snapshotter"
)

func TestMountsComeOutAsTheyWentIn(t *testing.T) {
	ids := mount.IDMap{UIDs: []mount.IDRange{{Container: 0, Host: 1000, Size: 5}}, GIDs: []mount.IDRange{{Container: 0, Host: 2000, Size: 5}}}
	want := []mount.Mount{
		{Type: "bind", Source: "/a\xff", ReadOnly: true},
		{Type: "overlay", Source: "overlay", Options: []string{"index=off"}, IDMap: &ids, Overlay: &mount.Overlay{
			Lower: []string{"/l1", "/l2"}, Upper: "/u", Work: "/w",
		}},
		{Type: "aufs", Source: "none", AUFS: &mount.AUFS{
			Branches: []mount.Branch{{Path: "/x", Writable: true}, {Path: "/y"}}, XINO: "/xino", Append: true,
		}},
	}
	got, err := ToMounts(FromMounts(want))
	require.NoError(t, err)
	require.Equal(t, want, got)
	_, err = ToMounts([]*storev1.Mount{{IdMap: &storev1.IDMap{Uids: "nonsense"}}, nil})
	require.ErrorIs(t, err, mount.ErrIDMap)
}

func TestSnapshotsComeOutAsTheyWentIn(t *testing.T) {
	for _, kind := range []snapshots.Kind{snapshots.KindActive, snapshots.KindView, snapshots.KindCommitted, snapshots.KindUnknown} {
		want := snapshots.Info{
			Name: "n", Parent: "p", Kind: kind, Labels: map[string]string{"a": "b"}, Created: time.Unix(1, 2).UTC(),
		}
		require.Equal(t, want, ToInfo(FromInfo(want)))
	}
	props := driver.Properties{
		Rebase: true, Explain: true, NativeDiff: true, SharesPages: true, Reflink: true, BreaksHardlinks: true, RenameDir: true,
		MountsWritable: true, Quota: true, Idmap: true, Rootless: true, MaxName: 1, MaxParents: 2, XattrNamespaces: []string{"user."},
		MountWay: mount.WayStrings, RefusedXattr: "trusted.overlay.",
		MountTimes: time.Second, KeepsXattrs: true, Volatile: true,
	}
	for i, v := 0, reflect.ValueOf(props); i < v.NumField(); i++ {
		require.False(t, v.Field(i).IsZero(), "the test sets %s", v.Type().Field(i).Name)
	}
	require.Equal(t, props, ToProperties(FromProperties(props)))
	require.Equal(t, driver.Properties{}, ToProperties(nil))
}

func TestImagesComeOutAsTheyWentIn(t *testing.T) {
	d := ocispec.Descriptor{MediaType: "m", Digest: digest.FromString("x"), Size: 3}
	layers := []image.Layer{{Blob: d, DiffID: digest.FromString("y"), ChainID: digest.FromString("z")}}
	img := image.Image{
		Name: "n:1", Target: d, Config: d, Platform: ocispec.Platform{OS: "linux", Architecture: "arm", Variant: "v7"},
		Layers: layers, Snapshot: "s", Imported: time.Unix(5, 0).UTC(), Store: "ID",
	}
	require.Equal(t, img, ToImage(FromImage(img)))
	exported := image.Exported{Name: "n", Target: d, Config: d, Layers: layers, Made: 1, Bytes: 2, Replaced: []digest.Digest{d.Digest}}
	require.Equal(t, exported, ToExported(FromExported(exported)))
}

func TestChangesComeOutAsTheyWentIn(t *testing.T) {
	for _, kind := range []diff.Kind{diff.Add, diff.Modify, diff.Delete} {
		want := diff.Change{Kind: kind, Path: "a\xff"}
		require.Equal(t, want, ToChange(FromChange(want)))
	}
	stats := diff.Stats{Added: 1, Modified: 2, Deleted: 3, Bytes: 4}
	got := ToStats(FromStats(stats))
	require.Equal(t, stats.Bytes+stats.Added+stats.Modified+stats.Deleted, got.Bytes+got.Added+got.Modified+got.Deleted)
	applied := driver.Applied{DiffID: digest.FromString("x"), Bytes: 1, Entries: 2}
	require.Equal(t, applied, ToApplied(FromApplied(applied)))
}

// heard keeps what a progress is told.
type heard struct{ told []any }

func (h *heard) Spooled(n int64)                     { h.told = append(h.told, n) }
func (h *heard) Begin(layers []image.ProgressLayer)  { h.told = append(h.told, layers) }
func (h *heard) Layer(i int, state image.LayerState) { h.told = append(h.told, i, state) }
func (h *heard) Advance(i int, n int64)              { h.told = append(h.told, i, n) }

func TestProgressIsToldAsItWas(t *testing.T) {
	layers := []image.ProgressLayer{{Digest: "d", Size: 9}}
	h := &heard{}
	for _, m := range []*storev1.Progress{Spooled(7), Begin(layers), LayerStep(1, image.LayerRetry), Advance(2, 3), nil, {}} {
		Tell(h, m)
	}
	require.Equal(t, []any{int64(7), layers, 1, image.LayerRetry, 2, int64(3)}, h.told)
}

func TestDamageComesOutAsItWentIn(t *testing.T) {
	want := []snapshotter.LayerDamage{
		{Key: "k", Kind: snapshots.KindView, State: snapshotter.LayerTorn, What: "a\xff"},
		{Key: "p", Kind: snapshots.KindCommitted, State: snapshotter.LayerMissing, What: "w"},
	}
	require.Equal(t, want, ToDamage(FromDamage(want)))
	require.Empty(t, ToDamage(nil))
}

func TestAResultOfACheckComesOutAsItWentIn(t *testing.T) {
	f := check.Finding{
		Part: check.Snapshot, Name: "n\xff", Layer: "7", Path: "p\xff", What: "w\xff", Images: []string{"i:1"}, Broken: true,
		Blob: digest.FromString("x"),
	}
	sum := check.Summary{Snapshots: 1, Images: 2, Blobs: 3, Unread: 4, Changed: 5, Bytes: 6, Findings: 7}
	for _, v := range []reflect.Value{reflect.ValueOf(f), reflect.ValueOf(sum)} {
		for i := range v.NumField() {
			require.False(t, v.Field(i).IsZero(), "the test sets %s", v.Type().Field(i).Name)
		}
	}
	require.Equal(t, f, ToFinding(FromFinding(f)))
	require.Equal(t, sum, ToSummary(FromSummary(sum)))
}
