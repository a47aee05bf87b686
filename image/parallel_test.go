package image

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"path"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/tar"
)

// layerDiffs returns, for each layer of an image, bytes that describe it
// exactly.
func (s *Store) layerDiffs(t testing.TB, img Image) [][]byte {
	t.Helper()
	var out [][]byte
	for _, l := range img.Layers {
		var buf bytes.Buffer
		_, err := s.snaps.Diff(context.Background(), l.ChainID.String(), &buf, driver.DiffOptions{})
		require.NoError(t, err)
		out = append(out, buf.Bytes())
	}
	return out
}

// needParents makes layers with entries that depend on the layers below.
func needParents(t testing.TB) []layerSpec {
	return []layerSpec{
		{raw: makeTar(t, file{name: "usr/"}, file{name: "usr/lib/"}, file{name: "usr/lib/libc", body: "c"}, file{name: "etc/"}, file{name: "etc/passwd", body: "root"})},
		{raw: makeTar(t, file{name: "lib", symlink: "usr/lib"}, file{name: "var/cache/x", body: "x"})},
		{raw: makeTar(t, file{name: "lib/below", body: "follows the link of the parents"})},
		{raw: makeTar(t, file{name: "etc/shadow", hardlink: "etc/passwd"})},
		{raw: makeTar(t, file{name: "var/.wh.cache"}, file{name: "usr/.wh..wh..opq"}, file{name: "usr/bin/sh", body: "sh"})},
		{raw: makeTar(t, file{name: "lib/"}, file{name: "lib/own", body: "a directory now"})},
		{raw: makeTar(t, file{name: ".wh.etc"}, file{name: "etc/new", body: "n"})},
		{raw: makeTar(t, file{name: "usr/bin/dash", hardlink: "usr/bin/sh"}, file{name: "var/log/y", body: "y"})},
	}
}

func TestLayersUnpackedSideBySideAreAsOneAfterAnother(t *testing.T) {
	m := newMaker(t)
	m.add(m.image(imageSpec{layers: needParents(t)}), "")
	dir := m.dir()
	var want [][]byte
	onEachDriver(t, func(t *testing.T, one *Store) {
		a := one.mustImport(t, dir, ImportOptions{Name: "app", Parallel: 1})
		requireProvides(t, one, a.Snapshot, "etc", "etc/new", "lib", "lib/own", "usr", "usr/bin", "usr/bin/dash", "usr/bin/sh", "var", "var/log", "var/log/y")

		var mu sync.Mutex
		again := map[int]bool{}
		p := &states{on: func(i int, st LayerState) {
			mu.Lock()
			defer mu.Unlock()
			again[i] = again[i] || st == LayerRetry
		}}
		many := newStore(t, one.snaps.Driver().Name())
		b := many.mustImport(t, dir, ImportOptions{Name: "app", Parallel: 8, Progress: p})
		require.Equal(t, one.tree(t, a.Snapshot), many.tree(t, b.Snapshot))
		require.Equal(t, one.layerDiffs(t, a), many.layerDiffs(t, b))
		if one.snaps.Driver().Properties().Rebase {
			require.True(t, again[2] && again[3] && again[7], "these need their parents: %v", again)
			require.False(t, again[0] || again[6], "these do not: %v", again)
		}
		many.requireNoLeak(t)
		if want == nil {
			want = one.layerDiffs(t, a)
		}
		require.Equal(t, want, one.layerDiffs(t, a), "every driver gives the same bytes")
	})
}

// TestRandomImagesUnpackTheSameInParallel tests the same with random images.
func TestRandomImagesUnpackTheSameInParallel(t *testing.T) {
	seeds := uint64(8)
	if testing.Short() {
		seeds = 2
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			m := newMaker(t)
			var layers []layerSpec
			for range 12 {
				layers = append(layers, layerSpec{raw: randomLayer(t, r), packed: tar.Compression(r.IntN(3))})
			}
			m.add(m.image(imageSpec{layers: layers}), "")
			dir := m.dir()
			onEachDriver(t, func(t *testing.T, one *Store) {
				a, errA := one.importFrom(dir, ImportOptions{Name: "app", Parallel: 1})
				many := newStore(t, one.snaps.Driver().Name())
				b, errB := many.importFrom(dir, ImportOptions{Name: "app", Parallel: 6})
				require.Equal(t, errA == nil, errB == nil, "%v / %v", errA, errB)
				if errA != nil {
					require.ErrorIs(t, errA, driver.ErrInvalidLayer)
					require.Equal(t, contents{}, many.contents(t))
					return
				}
				require.Equal(t, one.tree(t, a.Snapshot), many.tree(t, b.Snapshot))
				require.Equal(t, one.layerDiffs(t, a), many.layerDiffs(t, b))
			})
		})
	}
}

// randomLayer uses few names, so that layers affect each other.
func randomLayer(t testing.TB, r *rand.Rand) []byte {
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	var files []file
	used := map[string]bool{}
	for range 1 + r.IntN(6) {
		dir := path.Join(pick("a", "b", "l"), pick("", "", "d", "m"))
		name, kinds := path.Join(dir, pick("x", "y", "z")), 10
		if r.IntN(6) == 0 {
			name, kinds = dir, 5 // no files where other layers have directories, or most images would be invalid
		}
		if used[name] {
			continue
		}
		used[name] = true
		switch r.IntN(kinds) {
		case 0:
			files = append(files, file{name: path.Join(path.Dir(name), ".wh."+path.Base(name))})
		case 1:
			files = append(files, file{name: path.Join(dir, ".wh..wh..opq")})
		case 2, 3:
			files = append(files, file{name: name + "/"})
		case 4:
			files = append(files, file{name: name, symlink: pick("/a", "/b", "/b/d", "m")})
		default:
			files = append(files, file{name: name, body: fmt.Sprint("body ", r.IntN(100))})
		}
	}
	return makeTar(t, files...)
}
