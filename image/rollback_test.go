package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/durable"
	"github.com/layerkeep/layerkeep/tar"
)

// noise does not compress, so the blob is long enough to be cut anywhere.
func noise(n int) string {
	var out bytes.Buffer
	for i := 0; out.Len() < n; i++ {
		out.WriteString(digest.FromString(fmt.Sprint(i)).Encoded())
	}
	return out.String()[:n]
}

// TestABadLayerLeavesNothing: with any error in the last or the first layer,
// the store is unchanged and the error gives the reason.
func TestABadLayerLeavesNothing(t *testing.T) {
	good := layerSpec{raw: makeTar(t, file{name: "good", body: noise(50_000)}), packed: tar.Gzip}
	tarOfBad := func(f ...file) layerSpec { return layerSpec{raw: makeTar(t, f...), packed: tar.Gzip} }
	change := func(fn func([]byte) []byte) func(*maker, *ocispec.Manifest, int) {
		return func(m *maker, man *ocispec.Manifest, i int) {
			d := &man.Layers[i]
			name := blobName(d.Digest)
			m.files[name] = fn(bytes.Clone(m.files[name]))
		}
	}
	for name, c := range map[string]struct {
		bad    layerSpec
		break_ func(m *maker, man *ocispec.Manifest, i int)
		is     error
	}{
		"a changed byte":        {tarOfBad(file{name: "bad", body: noise(60_000)}), change(func(b []byte) []byte { b[len(b)/2] ^= 1; return b }), ErrDigest},
		"a blob cut short":      {tarOfBad(file{name: "bad", body: noise(60_000)}), change(func(b []byte) []byte { return b[:len(b)/2] }), ErrDigest},
		"a blob with a tail":    {tarOfBad(file{name: "bad", body: "x"}), change(func(b []byte) []byte { return append(b, 0) }), ErrDigest},
		"another sound blob":    {tarOfBad(file{name: "bad", body: "x"}), change(func(b []byte) []byte { return sameLength(t, b) }), ErrDigest},
		"a missing blob":        {tarOfBad(file{name: "bad", body: "x"}), func(m *maker, man *ocispec.Manifest, i int) { delete(m.files, blobName(man.Layers[i].Digest)) }, ErrMissingBlob},
		"truncated gzip":        {tarOfBad(file{name: "bad", body: noise(60_000)}), redigest(func(b []byte) []byte { return b[:len(b)-20] }), driver.ErrInvalidLayer},
		"gzip called plain":     {layerSpec{raw: makeTar(t, file{name: "bad"}), packed: tar.Gzip, mediaType: ocispec.MediaTypeImageLayer}, nil, ErrMediaType},
		"plain called zstd":     {layerSpec{raw: makeTar(t, file{name: "bad"}), mediaType: ocispec.MediaTypeImageLayerZstd}, nil, ErrMediaType},
		"not what diffID says":  {tarOfBad(file{name: "bad", body: "x"}), redigest(func([]byte) []byte { return pack(t, makeTar(t, file{name: "other"}), tar.Gzip) }), driver.ErrDigest},
		"no tar":                {layerSpec{raw: []byte(noise(2048))}, nil, driver.ErrInvalidLayer},
		"a name that goes out":  {tarOfBad(file{name: "../../../../tmp/image-escape", body: "x"}), nil, driver.ErrInvalidLayer},
		"a link to nothing":     {tarOfBad(file{name: "bad", hardlink: "missing"}), nil, driver.ErrInvalidLayer},
		"a Windows layer":       {tarOfBad(file{name: "Files/"}, file{name: "Files/Windows/x", body: "x"}, file{name: "Hives/"}), nil, driver.ErrInvalidLayer},
		"an invalid whiteout":   {tarOfBad(file{name: ".wh..", body: ""}), nil, driver.ErrInvalidLayer},
		"a layer over a file":   {tarOfBad(file{name: "good/below", body: ""}), nil, driver.ErrInvalidLayer},
		"not a layer's content": {layerSpec{raw: []byte("%PDF-1.4 " + noise(600)), packed: tar.Zstd}, nil, driver.ErrInvalidLayer},
	} {
		t.Run(name, func(t *testing.T) {
			onEachDriver(t, func(t *testing.T, s *Store) {
				m := newMaker(t)
				m.add(m.image(imageSpec{layers: []layerSpec{good}}), "")
				s.mustImport(t, m.dir(), ImportOptions{Name: "kept"})
				before := s.contents(t)
				ways := []int{1}
				if s.snaps.Driver().Properties().Rebase {
					ways = append(ways, 4)
				}
				for _, parallel := range ways {
					m := newMaker(t)
					more := layerSpec{raw: makeTar(t, file{name: "more", body: noise(1000)})}
					m.add(m.image(imageSpec{
						layers: []layerSpec{good, more, c.bad, more},
						manifest: func(man *ocispec.Manifest) {
							if c.break_ != nil {
								c.break_(m, man, 2)
							}
						},
					}), "")
					_, err := s.importFrom(m.dir(), ImportOptions{Name: "bad", Parallel: parallel})
					require.ErrorIs(t, err, c.is)
					require.ErrorContains(t, err, "layer 3 of 4")
					require.Equal(t, before, s.contents(t))
					s.requireNoLeak(t)
				}
				_, err := os.Lstat("/tmp/image-escape")
				require.ErrorIs(t, err, os.ErrNotExist)
			})
		})
	}
}

// redigest changes a blob and its descriptor, so that only its content is
// wrong.
func redigest(fn func([]byte) []byte) func(*maker, *ocispec.Manifest, int) {
	return func(m *maker, man *ocispec.Manifest, i int) {
		old := man.Layers[i]
		man.Layers[i] = m.blob(old.MediaType, fn(bytes.Clone(m.files[blobName(old.Digest)])))
	}
}

// sameLength returns a valid gzip of another tar, with the length of b.
func sameLength(t testing.TB, b []byte) []byte {
	other := pack(t, makeTar(t, file{name: "bax", body: "y"}), tar.Gzip)
	for len(other) < len(b) {
		other = append(other, 0)
	}
	return other[:len(b)]
}

func TestACancelledImportLeavesNothing(t *testing.T) {
	onEachDriver(t, func(t *testing.T, s *Store) {
		var layers []layerSpec
		for i := range 4 {
			layers = append(layers, layerSpec{raw: makeTar(t, file{name: fmt.Sprint("f", i), body: noise(300_000)}), packed: tar.Gzip})
		}
		m := newMaker(t)
		m.add(m.image(imageSpec{layers: layers}), "")
		src := Source{Path: m.dir()}
		for layer := range layers {
			for _, state := range []LayerState{LayerStarted, LayerDone} {
				for _, parallel := range []int{1, 4} {
					ctx, cancel := context.WithCancel(context.Background())
					p := &states{on: func(i int, st LayerState) {
						if i == layer && st == state {
							cancel()
						}
					}}
					_, err := s.Import(ctx, src, ImportOptions{Name: "app", Progress: p, Parallel: parallel})
					require.ErrorIs(t, err, context.Canceled)
					require.Equal(t, contents{}, s.contents(t))
					s.requireNoLeak(t)
				}
			}
			ctx, cancel := context.WithCancel(context.Background())
			p := &states{onRead: func(i int, _ int64) {
				if i == layer {
					cancel()
				}
			}}
			_, err := s.Import(ctx, src, ImportOptions{Name: "app", Progress: p})
			require.ErrorIs(t, err, context.Canceled)
			require.Equal(t, contents{}, s.contents(t))
		}
		s.mustImport(t, m.dir(), ImportOptions{Name: "app"})
	})
}

func TestImportsOfTheSameImageDoTheWorkOnce(t *testing.T) {
	onEachDriver(t, func(t *testing.T, s *Store) {
		m := newMaker(t)
		m.add(m.image(imageSpec{layers: threeLayers(t, tar.Gzip)}), "")
		dir := m.dir()
		var done atomic.Int64
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				p := &states{on: func(_ int, st LayerState) {
					if st == LayerDone {
						done.Add(1)
					}
				}}
				img, err := s.importFrom(dir, ImportOptions{Name: fmt.Sprint("app", i), Progress: p})
				require.NoError(t, err)
				requireProvides(t, s, img.Snapshot, threeLayersShow...)
			})
		}
		wg.Wait()
		require.EqualValues(t, 3, done.Load())
		images, err := s.List(context.Background())
		require.NoError(t, err)
		require.Len(t, images, 8)
		s.requireNoLeak(t)
	})
}

// TestAFailingImportTakesNothingFromAnother runs imports of different images
// with the same lower layers, together with collections. Some imports fail or
// are cancelled.
func TestAFailingImportTakesNothingFromAnother(t *testing.T) {
	onEachDriver(t, func(t *testing.T, s *Store) {
		shared := threeLayers(t, tar.Gzip)
		bad := layerSpec{raw: makeTar(t, file{name: "x", hardlink: "missing"})}
		var wg sync.WaitGroup
		for i := range 12 {
			own := layerSpec{raw: makeTar(t, file{name: fmt.Sprint("own", i), body: noise(1000 * i)})}
			layers := append(append([]layerSpec{}, shared...), own)
			if i%3 == 1 {
				layers = append(layers, bad)
			}
			m := newMaker(t)
			m.add(m.image(imageSpec{layers: layers}), "")
			dir := m.dir()
			wg.Go(func() {
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				p := &states{on: func(n int, st LayerState) {
					if i%3 == 2 && n == 2 && (st == LayerDone || st == LayerExists) {
						cancel()
					}
				}}
				_, err := s.Import(ctx, Source{Path: dir}, ImportOptions{Name: fmt.Sprint("app", i), Progress: p})
				switch i % 3 {
				case 0:
					require.NoError(t, err)
				case 1:
					require.ErrorIs(t, err, driver.ErrInvalidLayer)
				case 2:
					require.ErrorIs(t, err, context.Canceled)
				}
			})
			wg.Go(func() {
				_, err := s.Collect(context.Background())
				require.NoError(t, err)
			})
		}
		wg.Wait()
		images, err := s.List(context.Background())
		require.NoError(t, err)
		require.Len(t, images, 4)
		for _, img := range images {
			require.Subset(t, s.paths(t, img.Snapshot), threeLayersShow)
		}
		s.requireNoLeak(t)
		before := s.contents(t)
		require.Len(t, before.Snapshots, 3+4)
		require.Len(t, before.Blobs, 3+3*4)
		_, err = s.Collect(context.Background())
		require.NoError(t, err)
		require.Equal(t, before, s.contents(t), "nothing was left for a collection")
		for _, img := range images {
			_, err := s.Remove(context.Background(), img.Name)
			require.NoError(t, err)
		}
		require.Equal(t, contents{}, s.contents(t))
	})
}

// TestAFullContentDirectoryLeavesNothing fails each file operation that writes
// a blob.
func TestAFullContentDirectoryLeavesNothing(t *testing.T) {
	injected := errors.New("no space left on device")
	for _, op := range []durable.Op{durable.OpCreate, durable.OpWrite, durable.OpSync, durable.OpClose, durable.OpRename} {
		for after := range 5 {
			t.Run(fmt.Sprint(op, " ", after), func(t *testing.T) {
				s := newStore(t, "vfs")
				m := newMaker(t)
				m.add(m.image(imageSpec{layers: threeLayers(t, tar.Gzip)}), "")
				var n atomic.Int64
				s.blobs.fs = durable.Faulty(durable.OS(), func(o durable.Op, _ string) error {
					if o == op && n.Add(1) > int64(after) {
						return injected
					}
					return nil
				})
				_, err := s.importFrom(m.dir(), ImportOptions{Name: "app"})
				if op == durable.OpWrite && err == nil {
					return // there are fewer writes
				}
				require.ErrorIs(t, err, injected)
				require.Equal(t, contents{}, s.contents(t))
				s.requireNoLeak(t)
			})
		}
	}
}
