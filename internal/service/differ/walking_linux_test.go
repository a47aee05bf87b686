package differ

import (
	stdtar "archive/tar"
	"bytes"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	contentproxy "github.com/containerd/containerd/v2/core/content/proxy"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/diff/apply"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/plugins/diff/walking"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/tar"
)

// containerd's own differ mounts snapshots and walks over both trees.
func TestContainerdsOwnDifferFindsTheSameChanges(t *testing.T) {
	if !fstest.CanMount(t) {
		t.Skip("needs the right to mount")
	}
	onBackends(t, func(t *testing.T, r *rig) {
		r.committed("base", "", baseEntries...)
		mounts := r.prepare("work", "base")
		edit(t, mounts)
		lower := r.view("base view", "base")
		ours, err := r.Compare(r.ctx(), lower, mounts)
		require.NoError(t, err)
		theirs, err := walking.NewWalkingDiff(r.engine.store).Compare(r.ctx(), lower, mounts)
		require.NoError(t, err)
		for name, desc := range map[string]ocispec.Descriptor{"ours": ours, "theirs": theirs} {
			_, err := r.Apply(r.ctx(), desc, r.prepare(name, "base"))
			require.NoError(t, err)
		}
		fstest.RequireEqual(t, r.tree("work"), r.tree("ours"), "our layer")
		fstest.RequireEqual(t, coarse(r.tree("theirs")), coarse(r.tree("ours")), "our layer and theirs")
	})
}

// coarse takes away what containerd's layers do not hold: nanoseconds, and
// attributes but for capabilities.
func coarse(tree fstest.Tree) fstest.Tree {
	out := fstest.Tree{}
	for path, node := range tree {
		node.Mtime, node.Xattrs = node.Mtime.Truncate(time.Second), nil
		out[path] = node
	}
	return out
}

// edit changes a mounted snapshot as a container would.
func edit(t *testing.T, mounts []mount.Mount) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, mount.All(mounts, dir))
	defer func() { require.NoError(t, mount.UnmountAll(dir, 0)) }()
	for _, e := range []fstest.Edit{
		fstest.Write("etc/hostname", "edited\n"), fstest.Remove("etc/motd"), fstest.Mkdir("var"), fstest.Create("var/log", "l"),
		fstest.Chmod("var/log", 0o4711), fstest.Chown("var/log", 7, 8), fstest.Remove("usr"), fstest.Mkdir("usr"),
		fstest.MakeSymlink("usr/self", "."), fstest.SetXattr("var/log", "user.a", "1"), fstest.Mknod("var/fifo", 0o010600, 0),
	} {
		require.NoError(t, e.Apply(dir), "%s", e)
	}
}

// containerd's applier and ours on extraction keys, with a layer of which both
// have the same idea.
func TestContainerdsOwnApplierGivesTheSameTree(t *testing.T) {
	if !fstest.CanMount(t) {
		t.Skip("needs the right to mount")
	}
	entries := []fstest.Entry{fstest.Dir("./")}
	for _, e := range upperEntries {
		if e.Type != stdtar.TypeLink { // they take the attributes of its entry
			entries = append(entries, e)
		}
	}
	onBackends(t, func(t *testing.T, r *rig) {
		r.committed("base", "", baseEntries...)
		desc := r.engine.put(ocispec.MediaTypeImageLayerGzip, pack(t, fstest.Layer(t, entries...), tar.Gzip))
		ours, err := r.Apply(r.ctx(), desc, r.prepare("extract-1 ours", "base"))
		require.NoError(t, err)
		theirs, err := apply.NewFileSystemApplier(r.engine.store).Apply(r.ctx(), desc, r.prepare("extract-1 theirs", "base"))
		require.NoError(t, err)
		require.Equal(t, theirs, ours)
		r.commit("ours", "extract-1 ours")
		r.commit("theirs", "extract-1 theirs")
		want, got := r.tree("theirs"), r.tree("ours")
		root := want["."]
		root.Mtime = got["."].Mtime // which theirs leaves as unpacking made it
		want["."] = root
		fstest.RequireEqual(t, want, got, "the applied layer")
	})
}

// benchLayer is a layer like that of a language's runtime: many small files,
// some large ones; about 200 MiB.
func benchLayer(b *testing.B) []byte {
	b.Helper()
	entries := []fstest.Entry{fstest.Dir("./")}
	word := bytes.Repeat([]byte("layer keeps what it is told; "), 1<<10)
	for d := range 120 {
		entries = append(entries, fstest.Dir(fmt.Sprintf("d%03d/", d)))
		for f := range 100 {
			n := (d*131 + f*977) % len(word)
			entries = append(entries, fstest.File(fmt.Sprintf("d%03d/f%03d", d, f), fmt.Sprintf("%d-%d %s", d, f, word[:n])))
		}
	}
	return fstest.Layer(b, entries...)
}

// BenchmarkApply applies a layer as containerd would with this differ and with
// its own one ("walking" in its configuration), both from a content store; for
// ours that is behind a socket.
//
// All files go to the file system of TMPDIR.
func BenchmarkApply(b *testing.B) {
	raw := benchLayer(b)
	for _, packed := range []tar.Compression{tar.None, tar.Gzip, tar.Zstd} {
		r := newRig(b, "overlay2")
		mediaType := map[tar.Compression]string{
			tar.None: ocispec.MediaTypeImageLayer, tar.Gzip: ocispec.MediaTypeImageLayerGzip, tar.Zstd: ocispec.MediaTypeImageLayerZstd,
		}[packed]
		desc := r.engine.put(mediaType, pack(b, raw, packed))
		appliers := map[string]diff.Applier{"layerkeep": r, "walking": apply.NewFileSystemApplier(r.engine.store)}
		for _, name := range []string{"walking", "layerkeep"} {
			b.Run(packed.String()+"/"+name, func(b *testing.B) {
				b.SetBytes(int64(len(raw)))
				for b.Loop() {
					b.StopTimer()
					mounts := r.prepare("extract-1 bench", "")
					b.StartTimer()
					_, err := appliers[name].Apply(inNamespace(b.Context()), desc, mounts)
					require.NoError(b, err)
					r.commit("bench", "extract-1 bench")
					b.StopTimer()
					require.NoError(b, r.scope.Remove(r.ctx(), "bench"))
					require.NoError(b, r.scope.Cleanup(r.ctx()))
					b.StartTimer()
				}
			})
		}
	}
}

// BenchmarkCompare makes the layer of ten changes over 12,000 files as
// containerd would with this differ and with its own one.
func BenchmarkCompare(b *testing.B) {
	r := newRig(b, "overlay2")
	r.prepare("base-active", "")
	_, err := r.store.Apply(r.ctx(), r.scope.Full("base-active"), bytes.NewReader(benchLayer(b)), driver.ApplyOptions{})
	require.NoError(b, err)
	r.commit("base", "base-active")
	lower, upper := r.view("lower", "base"), r.prepare("upper", "base")
	var changes []fstest.Entry
	for i := range 10 {
		changes = append(changes, fstest.File(fmt.Sprintf("d%03d/changed", i*7), "changed\n"))
	}
	r.fill("upper", changes...)
	comparers := map[string]diff.Comparer{"layerkeep": r, "walking": walking.NewWalkingDiff(r.engine.store)}
	for _, name := range []string{"walking", "layerkeep"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				_, err := comparers[name].Compare(inNamespace(b.Context()), lower, upper)
				require.NoError(b, err)
			}
		})
	}
}

// BenchmarkRead reads a blob through the engine's socket: the way that
// containerd's own client does it, and ours.
func BenchmarkRead(b *testing.B) {
	r := newRig(b, "vfs")
	desc := r.engine.put(ocispec.MediaTypeImageLayer, incompressible(b, 128))
	b.Run("proxy", func(b *testing.B) {
		b.SetBytes(desc.Size)
		store := contentproxy.NewContentStore(r.Differ.engine.content())
		for b.Loop() {
			ra, err := store.ReaderAt(inNamespace(b.Context()), desc)
			require.NoError(b, err)
			_, err = io.Copy(io.Discard, content.NewReader(ra))
			require.NoError(b, err)
		}
	})
	b.Run("stream", func(b *testing.B) {
		b.SetBytes(desc.Size)
		for b.Loop() {
			s, err := r.Differ.engine.open(inNamespace(b.Context()), desc)
			require.NoError(b, err)
			_, err = io.Copy(io.Discard, s)
			require.NoError(b, err)
			require.NoError(b, s.Close())
		}
	})
}
