package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/driver/all"
	"github.com/layerkeep/layerkeep/driver/all/alltest"
	"github.com/layerkeep/layerkeep/internal/durable"
	"github.com/layerkeep/layerkeep/snapshotter"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// onEachDriver runs a test on a new store of every backend that works on this
// machine.
func onEachDriver(t *testing.T, test func(t *testing.T, s *Store)) {
	for _, name := range all.Names() {
		t.Run(name, func(t *testing.T) {
			alltest.SkipInShort(t, name)
			test(t, newStore(t, name))
		})
	}
}

// newStore opens a new store. It needs root on Linux. The store is in a
// temporary directory, or on a scratch btrfs if the driver needs that.
func newStore(t testing.TB, driverName string) *Store {
	t.Helper()
	dir := alltest.Place(t, t.TempDir(), driverName)
	return reopen(t, filepath.Join(dir, "store"), driverName)
}

func reopen(t testing.TB, root, driverName string) *Store {
	t.Helper()
	snaps, err := snapshotter.Open(context.Background(), root, snapshotter.Options{Driver: driverName})
	if err != nil && os.Geteuid() != 0 {
		t.Skipf("driver %s does not work here without root: %v", driverName, err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, snaps.Close()) })
	s, err := Open(snaps)
	require.NoError(t, err)
	return s
}

func (s *Store) mustImport(t testing.TB, source string, opts ImportOptions) Image {
	t.Helper()
	img, err := s.importFrom(source, opts)
	require.NoError(t, err)
	return img
}

func (s *Store) importFrom(source string, opts ImportOptions) (Image, error) {
	src, err := ParseSource(source, nil)
	if err != nil {
		return Image{}, err
	}
	return s.Import(context.Background(), src, opts)
}

// tree returns the tree of a snapshot, one line for each path.
func (s *Store) tree(t testing.TB, key string) []string {
	t.Helper()
	view, err := s.snaps.OpenView(context.Background(), key)
	require.NoError(t, err)
	defer view.Close()
	root, err := view.Root()
	require.NoError(t, err)
	defer root.Close()
	var lines []string
	node, err := root.Stat()
	require.NoError(t, err)
	lines = append(lines, fmt.Sprintf(". %o %d", node.Mode, node.Mtime.Unix()))
	walkDir(t, root, "", &lines)
	return lines
}

func walkDir(t testing.TB, d diff.Dir, prefix string, lines *[]string) {
	names, err := d.Names()
	require.NoError(t, err)
	for _, name := range names {
		n, err := d.Lookup(name)
		require.NoError(t, err)
		line := fmt.Sprintf("%s%s %o %d:%d %d", prefix, name, n.Mode, n.UID, n.GID, n.Mtime.Unix())
		switch {
		case n.IsRegular():
			f, err := d.Open(name)
			require.NoError(t, err)
			raw, err := io.ReadAll(f)
			require.NoError(t, err)
			require.NoError(t, f.Close())
			line += " " + digest.FromBytes(raw).Encoded()[:12]
		case n.IsSymlink():
			to, err := d.Readlink(name)
			require.NoError(t, err)
			line += " -> " + to
		}
		*lines = append(*lines, line)
		if n.IsDir() {
			sub, err := d.OpenDir(name)
			require.NoError(t, err)
			walkDir(t, sub, prefix+name+"/", lines)
			require.NoError(t, sub.Close())
		}
	}
}

// paths returns only the paths of a snapshot.
func (s *Store) paths(t testing.TB, key string) []string {
	var names []string
	for _, line := range s.tree(t, key)[1:] {
		name, _, _ := strings.Cut(line, " ")
		names = append(names, name)
	}
	return names
}

// contents returns everything that a store has, for tests that nothing has
// changed.
type contents struct {
	Snapshots, Blobs, Images, Ingest []string
}

func (s *Store) contents(t testing.TB) contents {
	t.Helper()
	var c contents
	require.NoError(t, s.snaps.Walk(context.Background(), func(_ context.Context, info snapshots.Info) error {
		c.Snapshots = append(c.Snapshots, info.Kind.String()+" "+info.Name)
		return nil
	}))
	require.NoError(t, s.blobs.walk(func(d digest.Digest, _ int64) error {
		c.Blobs = append(c.Blobs, d.String())
		return nil
	}))
	slices.Sort(c.Blobs)
	images, err := s.List(context.Background())
	require.NoError(t, err)
	for _, img := range images {
		c.Images = append(c.Images, img.Name+" "+img.Target.Digest.String())
	}
	ingest, err := os.ReadDir(filepath.Join(s.blobs.dir, ingestDir))
	require.NoError(t, err)
	for _, e := range ingest {
		c.Ingest = append(c.Ingest, e.Name())
	}
	return c
}

// layersOnDisk counts the layers of the driver. There must not be more of them
// than snapshots.
func (s *Store) requireNoLeak(t testing.TB) {
	t.Helper()
	rows := 0
	require.NoError(t, s.snaps.DB().View(func(tx *meta.Tx) error {
		return tx.WalkSnapshots(func(meta.Snapshot) error { rows++; return nil })
	}))
	layers, err := s.snaps.Driver().Layers(context.Background())
	require.NoError(t, err)
	require.Len(t, layers, rows)
	require.Empty(t, s.pins.count)
	require.Empty(t, s.pins.fresh)
	require.Empty(t, s.pins.leaving)
	require.Empty(t, s.running.set)
}

// states records a Progress.
type states struct {
	NoProgress
	on     func(i int, s LayerState)
	onRead func(i int, n int64)
	begun  []ProgressLayer
}

func (p *states) Begin(l []ProgressLayer) { p.begun = l }

func (p *states) Layer(i int, s LayerState) {
	if p.on != nil {
		p.on(i, s)
	}
}

func (p *states) Advance(i int, n int64) {
	if p.onRead != nil {
		p.onRead(i, n)
	}
}

func requireProvides(t testing.TB, s *Store, key string, want ...string) {
	t.Helper()
	require.Equal(t, want, s.paths(t, key))
}

func TestNamesOfImagesAndSnapshotsAreResolved(t *testing.T) {
	ctx := context.Background()
	onEachDriver(t, func(t *testing.T, s *Store) {
		m := newMaker(t)
		m.add(m.image(imageSpec{layers: []layerSpec{{raw: makeTar(t, file{name: "a", body: "1"})}, {raw: makeTar(t, file{name: "b", body: "2"})}}}), "1")
		img := s.mustImport(t, m.dir(), ImportOptions{Name: "app"})
		require.Equal(t, "app:latest", img.Name)
		err := s.snaps.Create(ctx, "work", img.Snapshot)
		require.NoError(t, err)

		for _, name := range []string{
			"app", "app:latest", "docker.io/library/app", img.Target.Digest.String(), img.Target.Digest.Encoded()[:12],
			img.Config.Digest.Encoded()[:8], img.Snapshot,
		} {
			r, err := s.Resolve(ctx, name)
			require.NoError(t, err, name)
			require.Equal(t, img.Snapshot, r.Key, name)
		}
		base := img.Layers[0].ChainID
		r, err := s.Resolve(ctx, base.Encoded()[:10])
		require.NoError(t, err)
		require.Equal(t, base.String(), r.Key)
		require.Nil(t, r.Image)

		for _, name := range []string{"nothing", "app:2", "", "sha256:0000000000", "abc", "App!"} {
			_, err := s.Resolve(ctx, name)
			require.ErrorIs(t, err, ErrNotFound, name)
			_, err = s.Image(ctx, name)
			require.ErrorIs(t, err, ErrNotFound, name)
		}
		_, err = s.Resolve(ctx, "work")
		require.ErrorIs(t, err, ErrNotCommitted)

		require.NoError(t, s.snaps.Commit(ctx, "app", "work"))
		r, err = s.Resolve(ctx, "app")
		require.NoError(t, err)
		require.Equal(t, "app", r.Key, "a snapshot of just this key goes before a tag that is not said")
		r, err = s.Resolve(ctx, "app:latest")
		require.NoError(t, err)
		require.Equal(t, img.Snapshot, r.Key)
	})
}

func TestOpeningDropsWhatAKilledImportLeft(t *testing.T) {
	ctx := context.Background()
	root := filepath.Join(t.TempDir(), "store")
	snaps, err := snapshotter.Open(ctx, root, snapshotter.Options{Driver: "vfs"})
	if errors.Is(err, driver.ErrUnsupported) {
		t.Skipf("driver vfs does not work here: %v", err)
	}
	require.NoError(t, err)
	s, err := Open(snaps)
	require.NoError(t, err)
	err = snaps.Create(ctx, "import-X-0", "", snapshots.WithLabels(map[string]string{LabelImporting: "X"}))
	require.NoError(t, err)
	err = snaps.Create(ctx, "mine", "")
	require.NoError(t, err)
	// If the file system has files without names, a file is left only if the
	// process is killed in a short moment.
	left := filepath.Join(s.blobs.dir, ingestDir, durable.TempPrefix+"1")
	beside := filepath.Join(s.blobs.dir, durable.TempPrefix+"2")
	require.NoError(t, os.WriteFile(beside, nil, 0o600))
	require.NoError(t, os.WriteFile(left, []byte("half a blob"), 0o600))
	require.Len(t, s.contents(t).Ingest, 1)
	require.NoError(t, snaps.Close())

	s = reopen(t, root, "vfs")
	require.Equal(t, contents{Snapshots: []string{"Active mine"}}, s.contents(t))
	require.NoFileExists(t, beside)
}

func TestRecordsAreTheDocumentedJSON(t *testing.T) {
	raw, err := json.Marshal(Image{Name: "a:1"})
	require.NoError(t, err)
	require.JSONEq(t, `{"name":"a:1","target":{"mediaType":"","digest":"","size":0},"config":{"mediaType":"","digest":"","size":0},
		"platform":{"architecture":"","os":""},"layers":null,"snapshot":"","imported":"0001-01-01T00:00:00Z"}`, string(raw))
}

func TestAnImageOfTooManyLayersForTheDriverIsRefusedBeforeAnyWork(t *testing.T) {
	onEachDriver(t, func(t *testing.T, s *Store) {
		most := s.snaps.Driver().Properties().MaxParents
		if most == 0 {
			return // no limit
		}
		m := newMaker(t)
		layer := layerSpec{raw: makeTar(t)}
		m.add(m.image(imageSpec{layers: slices.Repeat([]layerSpec{layer}, most+1)}), "")
		_, err := s.importFrom(m.dir(), ImportOptions{})
		require.ErrorIs(t, err, driver.ErrUnsupported)
		require.Equal(t, contents{}, s.contents(t))
	})
}
