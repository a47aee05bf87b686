package snapshotter

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	ctdmount "github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/driver/all"
	"github.com/layerkeep/layerkeep/driver/all/alltest"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// onEachBackend runs fn on a store of every backend that works here. The path
// of the store has a colon, a comma and a backslash.
func onEachBackend(t *testing.T, fn func(t *testing.T, s *Snapshotter)) {
	for _, name := range all.Names() {
		t.Run(name, func(t *testing.T) {
			alltest.SkipInShort(t, name)
			dir := alltest.Place(t, t.TempDir(), name)
			if name == "overlay2" {
				dir = filepath.Join(dir, `a:b,c\d`)
			}
			s, err := Open(t.Context(), filepath.Join(dir, "store"), Options{Driver: name})
			require.NoError(t, err)
			t.Cleanup(func() {
				require.NoError(t, s.Close())
				require.NoError(t, fstest.RemoveAll(s.Root()))
			})
			if !s.Driver().Properties().MountsWritable {
				t.Skip("it mounts nothing writable here")
			}
			fn(t, s)
		})
	}
}

func TestMountsAreThoseOfTheirSnapshot(t *testing.T) {
	onEachBackend(t, func(t *testing.T, s *Snapshotter) {
		sc, err := s.Scope("eng")
		require.NoError(t, err)
		ctx := t.Context()
		for _, name := range []string{"c1", "c2"} {
			parent := map[string]string{"c2": "c1"}[name]
			require.NoError(t, sc.Create(ctx, "k", parent))
			require.NoError(t, sc.Commit(ctx, name, "k"))
		}
		want := map[string]string{}
		mounts := map[string][]ctdmount.Mount{}
		add := func(key, shown string, m []ctdmount.Mount, err error) {
			require.NoError(t, err)
			mounts[key], want[key] = m, shown
		}
		m, err := sc.Prepare(ctx, "alone", "")
		add("alone", "alone", m, err)
		m, err = sc.Prepare(ctx, "ns/1/extract-1", "")
		add("ns/1/extract-1", "ns/1/extract-1", m, err)
		m, err = sc.Prepare(ctx, "on c2", "c2")
		add("on c2", "on c2", m, err)
		m, err = sc.View(ctx, "v0", "")
		add("v0", "", m, err)
		m, err = sc.View(ctx, "v1", "c1")
		add("v1", "c1", m, err)
		m, err = sc.View(ctx, "v2", "c2")
		add("v2", "c2", m, err)

		for key, m := range mounts {
			for how, m := range map[string][]ctdmount.Mount{
				"as given": m, "in another order": reversed(m), "renamed": relabelled(m),
			} {
				found, err := sc.Find(ctx, m)
				require.NoError(t, err, "%s %s: %v", key, how, m)
				require.Equal(t, key, found, how)
				shown, err := sc.FindTree(ctx, m)
				require.NoError(t, err)
				require.Equal(t, want[key], shown)
				found, err = s.Find(ctx, m)
				require.NoError(t, err)
				require.Equal(t, sc.Full(key), found)
			}
			again, err := sc.Mounts(ctx, key)
			require.NoError(t, err)
			require.Equal(t, m, again)
		}
		other, err := s.Scope("other")
		require.NoError(t, err)
		_, err = other.Find(ctx, mounts["alone"])
		require.ErrorIs(t, err, errdefs.ErrNotFound, "another engine's")
		requireSound(t, s)
	})
}

// reversed returns the mounts with their options in reverse order.
func reversed(mounts []ctdmount.Mount) []ctdmount.Mount {
	out := slices.Clone(mounts)
	for i := range out {
		out[i].Options = slices.Clone(out[i].Options)
		slices.Reverse(out[i].Options)
	}
	return out
}

// relabelled returns the mounts with another source when the source is only a
// label.
func relabelled(mounts []ctdmount.Mount) []ctdmount.Mount {
	out := slices.Clone(mounts)
	for i := range out {
		if out[i].Type == "overlay" {
			out[i].Source = "overlay"
		}
	}
	return out
}

func TestTheMountsOfStrangersAreNoSnapshot(t *testing.T) {
	onEachBackend(t, func(t *testing.T, s *Snapshotter) {
		ctx := t.Context()
		require.NoError(t, s.Create(ctx, "k", ""))
		require.NoError(t, s.Commit(ctx, "base", "k"))
		own, err := s.Prepare(ctx, "key", "base")
		require.NoError(t, err)
		layer := string(layerOf(rowsOf(t, s)["key"]))
		below := filepath.Join(s.root, s.driver.Name(), layer)
		for name, m := range map[string][]ctdmount.Mount{
			"another store's":      {{Type: "bind", Source: "/other/" + layer + "/fs", Options: []string{"rbind"}}},
			"a path that climbs":   {{Type: "bind", Source: below + "/../../../etc", Options: []string{"rbind"}}},
			"the layer's record":   {{Type: "bind", Source: below, Options: []string{"rbind"}}},
			"more than ours":       append(slices.Clone(own), ctdmount.Mount{Type: "bind", Source: "/etc"}),
			"other lower ones":     {{Type: "overlay", Options: []string{"lowerdir=/etc", "upperdir=" + below + "/fs", "workdir=" + below + "/work"}}},
			"a tmpfs":              {{Type: "tmpfs", Source: "tmpfs"}},
			"nothing named":        {{}},
			"an unfinished escape": {{Type: "overlay", Options: []string{`lowerdir=` + below + `\`, "upperdir", "=", ""}}},
		} {
			_, err := s.Find(ctx, m)
			require.ErrorIs(t, err, errdefs.ErrNotFound, "%s: %v", name, m)
			_, err = s.FindTree(ctx, m)
			require.ErrorIs(t, err, errdefs.ErrNotFound, name)
		}
		_, err = s.Find(ctx, nil)
		require.ErrorIs(t, err, errdefs.ErrNotFound)
		shown, err := s.FindTree(ctx, nil)
		require.NoError(t, err)
		require.Empty(t, shown, "no mounts show nothing")
	})
}

func TestALayerThatWaitsForItsParentsIsFound(t *testing.T) {
	onEachBackend(t, func(t *testing.T, s *Snapshotter) {
		if !s.Driver().Properties().Rebase {
			t.Skip("it has no such layers")
		}
		sc, err := s.Scope("eng")
		require.NoError(t, err)
		m, err := sc.Prepare(t.Context(), "extract-1", "")
		require.NoError(t, err)
		layer := string(fstest.Layer(t, fstest.File("f", "1")))
		_, err = sc.ApplyFrom(t.Context(), "extract-1", "here", strings.NewReader(layer), driver.ApplyOptions{Detached: true})
		require.NoError(t, err)
		key, err := sc.Find(t.Context(), m)
		require.NoError(t, err)
		require.Equal(t, "extract-1", key)
	})
}

func TestEnginesUnpackIntoOneWritableMount(t *testing.T) {
	onEachBackend(t, func(t *testing.T, s *Snapshotter) {
		sc, err := s.Scope("eng")
		require.NoError(t, err)
		require.NoError(t, sc.Create(t.Context(), "k", ""))
		require.NoError(t, sc.Commit(t.Context(), "base", "k"))
		for _, parent := range []string{"", "base"} {
			m, err := sc.Prepare(t.Context(), "ns/1/extract-"+parent, parent)
			require.NoError(t, err)
			require.Len(t, m, 1)
			require.False(t, m[0].ReadOnly())
			if !s.Driver().Properties().Rebase {
				require.Equal(t, "bind", m[0].Type)
				continue
			}
			require.Equal(t, "overlay", m[0].Type)
			require.NotEmpty(t, value(m[0].Options, "upperdir="))
		}
		v, err := sc.View(t.Context(), "nothing", "")
		require.NoError(t, err)
		require.Empty(t, value(v[0].Options, "upperdir="))
	})
}
