package check_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/check"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/driver/all/alltest"
	"github.com/layerkeep/layerkeep/image"
	. "github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/snapshotter"
)

// A place is a store with an image "test:1" of three layers, a committed
// snapshot "done" over it, an active snapshot "work" over that, and a committed
// snapshot "loose" without a parent.
type place struct {
	root, backend string
}

func newPlace(t *testing.T, backend string) place {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("not root: layers have the owners that they name")
	}
	fs := Ext4
	if backend == "btrfs" {
		fs = Btrfs
	}
	p := place{filepath.Join(Scratch(t, fs), "store"), backend}
	snaps, images := p.open(t)
	_, err := images.Import(t.Context(), source(t), image.ImportOptions{Name: "test:1"})
	require.NoError(t, err)
	img, err := images.Image(t.Context(), "test:1")
	require.NoError(t, err)
	fill := func(key, parent string, entries ...Entry) {
		require.NoError(t, snaps.Create(t.Context(), key, parent))
		_, err := snaps.Apply(t.Context(), key, bytes.NewReader(Layer(t, entries...)), driver.ApplyOptions{})
		require.NoError(t, err)
	}
	fill("done key", img.Snapshot, File("d/done", "done"), Whiteout("base/gone"))
	require.NoError(t, snaps.Commit(t.Context(), "done", "done key"))
	fill("work", "done", File("d/work", "work"))
	fill("loose key", "", File("loose", "loose"))
	require.NoError(t, snaps.Commit(t.Context(), "loose", "loose key", snapshots.WithLabels(map[string]string{"a": "b"})))
	require.NoError(t, snaps.Close())
	return p
}

// source returns the image as an OCI layout.
func source(t *testing.T) image.Source {
	t.Helper()
	return sourceOf(t,
		[]Entry{Dir("base"), File("base/a", "aaaa"), File("base/gone", "g"), Symlink("base/l", "a"), Link("base/b", "base/a"), Dir("d")},
		[]Entry{File("base/c", strings.Repeat("c", 10_000)), File("d/x", "x").WithXattr("user.k", "v")},
		[]Entry{Whiteout("d/x"), File("d/y", "yy").WithMode(0o4755)},
	)
}

// sourceOf returns an image of these layers.
func sourceOf(t *testing.T, layers ...[]Entry) image.Source {
	t.Helper()
	img := empty.Image
	for _, entries := range layers {
		raw := Layer(t, entries...)
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil })
		require.NoError(t, err)
		img, err = mutate.AppendLayers(img, layer)
		require.NoError(t, err)
	}
	config, err := img.ConfigFile()
	require.NoError(t, err)
	config.OS, config.Architecture = "linux", "amd64"
	img, err = mutate.ConfigFile(img, config)
	require.NoError(t, err)
	dir := t.TempDir()
	l, err := layout.Write(dir, empty.Index)
	require.NoError(t, err)
	require.NoError(t, l.AppendImage(img))
	src, err := image.ParseSource(dir, nil)
	require.NoError(t, err)
	return src
}

func (p place) open(t *testing.T) (*snapshotter.Snapshotter, *image.Store) {
	t.Helper()
	snaps, err := snapshotter.Open(t.Context(), p.root, snapshotter.Options{Driver: p.backend})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, snaps.Close()) })
	images, err := image.Open(snaps)
	require.NoError(t, err)
	return snaps, images
}

// check opens the store and checks it.
func (p place) check(t *testing.T, opts check.Options) ([]check.Finding, check.Summary) {
	t.Helper()
	snaps, images := p.open(t)
	var found []check.Finding
	sum, err := check.Run(t.Context(), snaps, images, opts, func(f check.Finding) { found = append(found, f) })
	require.NoError(t, err)
	require.Equal(t, len(found), sum.Findings)
	require.NoError(t, snaps.Close())
	return found, sum
}

// keys returns the snapshots of the image, base first.
func (p place) keys(t *testing.T) []string {
	t.Helper()
	snaps, images := p.open(t)
	img, err := images.Image(t.Context(), "test:1")
	require.NoError(t, err)
	require.NoError(t, snaps.Close())
	var keys []string
	for _, l := range img.Layers {
		keys = append(keys, l.ChainID.String())
	}
	return keys
}

// copies reports whether a layer also has the files of the layers below.
func (p place) copies() bool { return p.backend == "vfs" || p.backend == "btrfs" }

// layer returns the directory of the layer of a snapshot.
func (p place) layer(t *testing.T, key string) string {
	t.Helper()
	snaps, _ := p.open(t)
	layers, err := snaps.Inspect(t.Context())
	require.NoError(t, err)
	require.NoError(t, snaps.Close())
	i := slices.IndexFunc(layers, func(l snapshotter.Layer) bool { return l.Name == key })
	require.GreaterOrEqual(t, i, 0, key)
	if p.backend == "aufs" { // the records are beside files that other engines know
		return filepath.Join(p.root, p.backend, ".layerkeep/layers", string(layers[i].ID))
	}
	return filepath.Join(p.root, p.backend, string(layers[i].ID))
}

// file returns the path of a file in the layer of a snapshot itself.
func (p place) file(t *testing.T, key, name string) string {
	t.Helper()
	dir := map[string]string{"overlay2": "fs", "vfs": "tree", "btrfs": "vol/fs"}[p.backend]
	if p.backend == "aufs" {
		return filepath.Join(p.root, p.backend, "diff", filepath.Base(p.layer(t, key)), name)
	}
	return filepath.Join(p.layer(t, key), dir, name)
}

// blob returns the file of the blob of one layer of the image.
func (p place) blob(t *testing.T, i int) string {
	t.Helper()
	snaps, images := p.open(t)
	img, err := images.Image(t.Context(), "test:1")
	require.NoError(t, err)
	require.NoError(t, snaps.Close())
	return filepath.Join(p.root, "content/blobs/sha256", img.Layers[i].Blob.Digest.Encoded())
}

// flip changes a byte in the middle of a file, and nothing else that is
// visible.
func flip(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	raw[len(raw)/2] ^= 1
	require.NoError(t, os.Chmod(path, 0o600))
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteAt(raw, 0)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.NoError(t, os.Chmod(path, info.Mode()))
	require.NoError(t, os.Chtimes(path, time.Time{}, info.ModTime()))
}

// thaw makes the sealed subvolumes of a store writable.
func thaw(t *testing.T, p place) {
	t.Helper()
	vols, err := filepath.Glob(filepath.Join(p.root, "btrfs/*/vol"))
	require.NoError(t, err)
	require.NotEmpty(t, vols)
	for _, vol := range vols {
		out, err := exec.CommandContext(t.Context(), "btrfs", "property", "set", "-f", "-ts", vol, "ro", "false").CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
}

// edit rewrites the record of a layer.
func edit(t *testing.T, layer string, change func(record map[string]any)) {
	t.Helper()
	path := filepath.Join(layer, "layer.json")
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	record := map[string]any{}
	require.NoError(t, json.Unmarshal(raw, &record))
	change(record)
	delete(record, "sum") // as if it had been written without one
	raw, err = json.Marshal(record)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, raw, 0o600))
}

func TestASoundStoreHasNoFindings(t *testing.T) {
	for _, backend := range []string{"overlay2", "vfs", "btrfs", "aufs"} {
		t.Run(backend, func(t *testing.T) {
			alltest.SkipInShort(t, backend)
			p := newPlace(t, backend)
			for _, readData := range []bool{false, true} {
				found, sum := p.check(t, check.Options{ReadData: readData})
				require.Empty(t, found)
				require.Equal(t, 6, sum.Snapshots)
				require.Equal(t, 1, sum.Images)
				if readData {
					require.Equal(t, 5, sum.Blobs, "three layers, a manifest and a config")
					require.Equal(t, 1, sum.Unread, "the active one")
				}
			}
			// A check without findings has changed nothing.
			found, _ := p.check(t, check.Options{ReadData: true})
			require.Empty(t, found)
		})
	}
}

// A damage is something that happens to a store, with the findings of a check.
type damage struct {
	harm func(t *testing.T, p place)
	// says has parts of the lines of a check, one for each finding: without reading
	// the data, and with reading it.
	says, reading []string
	backends      []string
}

var damages = map[string]damage{
	"a byte of a file of an imported layer": {
		harm:    func(t *testing.T, p place) { t.Helper(); flip(t, p.file(t, p.keys(t)[1], "base/c")) },
		reading: []string{"base/c: /base/c: content is not that of the tar"},
	},
	"a file of an imported layer is gone": {
		harm:    func(t *testing.T, p place) { t.Helper(); require.NoError(t, os.Remove(p.file(t, p.keys(t)[2], "d/y"))) },
		reading: []string{"d: /d: mtime is", "d/y: /d/y: is missing"},
	},
	"a mode of a file of an imported layer": {
		harm: func(t *testing.T, p place) {
			t.Helper()
			require.NoError(t, os.Chmod(p.file(t, p.keys(t)[2], "d/y"), 0o755))
		},
		reading: []string{"mode is"},
	},
	"a byte of a committed layer": {
		harm:    func(t *testing.T, p place) { t.Helper(); flip(t, p.file(t, "done", "d/done")) },
		reading: []string{"snapshot done (layer"},
	},
	"a whole layer of an image": {
		harm: func(t *testing.T, p place) {
			t.Helper()
			require.NoError(t, RemoveAll(p.layer(t, p.keys(t)[2])))
		},
		says:     []string{"its layer is missing", "it cannot be read", "it cannot be read"},
		reading:  []string{"its layer is missing", "it cannot be read", "it cannot be read"},
		backends: []string{"overlay2"},
	},
	"a record": {
		harm: func(t *testing.T, p place) {
			t.Helper()
			require.NoError(t, os.WriteFile(filepath.Join(p.layer(t, "loose"), "layer.json"), []byte(`{"version":1,`), 0o600))
		},
		says:    []string{"layer.json: unexpected end"},
		reading: []string{"layer.json: unexpected end"},
	},
	"a record that says another name": {
		harm: func(t *testing.T, p place) {
			t.Helper()
			edit(t, p.layer(t, "loose"), func(r map[string]any) { r["note"].(map[string]any)["name"] = "other" })
		},
		says:    []string{`it was committed "other" on "", now it is committed "loose"`},
		reading: []string{`it was committed "other" on "", now it is committed "loose"`},
	},
	"a flipped bit in what a record says of its snapshot": {
		harm: func(t *testing.T, p place) {
			t.Helper()
			path := filepath.Join(p.layer(t, "loose"), "layer.json")
			raw, err := os.ReadFile(path)
			require.NoError(t, err)
			flipped := bytes.Replace(raw, []byte(`"a":"b"`), []byte(`"a":"c"`), 1)
			require.NotEqual(t, raw, flipped)
			require.NoError(t, os.WriteFile(path, flipped, 0o600))
		},
		says:    []string{"its checksum is wrong"},
		reading: []string{"its checksum is wrong"},
	},
	"a record of another store": {
		harm: func(t *testing.T, p place) {
			t.Helper()
			edit(t, p.layer(t, "loose"), func(r map[string]any) { r["note"].(map[string]any)["store"] = "THEIRS" })
		},
		says:    []string{"it was made in the store THEIRS"},
		reading: []string{"it was made in the store THEIRS"},
	},
	"a record from after the database": {
		harm: func(t *testing.T, p place) {
			t.Helper()
			edit(t, p.layer(t, "loose"), func(r map[string]any) { r["note"].(map[string]any)["generation"] = 1_000_000 })
		},
		says:    []string{"the database is older than this layer"},
		reading: []string{"the database is older than this layer"},
	},
	"a record that is not sealed": {
		harm: func(t *testing.T, p place) {
			t.Helper()
			edit(t, p.layer(t, "loose"), func(r map[string]any) { delete(r, "sealed") })
		},
		says:     []string{"it was never sealed"},
		reading:  []string{"it was never sealed"},
		backends: []string{"overlay2", "vfs"},
	},
	"a record with other parents": {
		harm: func(t *testing.T, p place) {
			t.Helper()
			edit(t, p.layer(t, "work"), func(r map[string]any) { r["parents"] = r["parents"].([]any)[1:] })
		},
		says:     []string{"it stands on the layers"},
		reading:  []string{"it stands on the layers"},
		backends: []string{"overlay2"},
	},
	"a layer that no snapshot has": {
		harm: func(t *testing.T, p place) {
			t.Helper()
			snaps, _ := p.open(t)
			require.NoError(t, snaps.Driver().Create(t.Context(), "77", nil, driver.CreateOptions{Note: json.RawMessage(`{"name":"lost","kind":"active"}`)}))
			require.NoError(t, snaps.Close())
		},
		says:    []string{`layer (layer 77): no snapshot has this layer: it was active "lost"`},
		reading: []string{`layer (layer 77): no snapshot has this layer: it was active "lost"`},
	},
	"a torn layer": {
		harm: func(t *testing.T, p place) {
			t.Helper()
			require.NoError(t, os.WriteFile(filepath.Join(p.layer(t, "work"), "torn"), nil, 0o600))
		},
		says:    []string{"it is torn"},
		reading: []string{"it is torn"},
	},
	"a bit of what tells which files were copied": {
		harm:     func(t *testing.T, p place) { t.Helper(); flip(t, filepath.Join(p.layer(t, "done"), "manifest")) },
		says:     []string{"snapshot done (layer 4): what tells which of its files were copied unchanged"},
		reading:  []string{"snapshot done (layer 4): what tells which of its files were copied unchanged"},
		backends: []string{"vfs"},
	},
	"the end of what tells which files were copied": {
		harm: func(t *testing.T, p place) {
			t.Helper()
			require.NoError(t, os.Truncate(filepath.Join(p.layer(t, p.keys(t)[1]), "manifest"), 40))
		},
		says:     []string{"manifest: unexpected EOF"},
		reading:  []string{"manifest: unexpected EOF"},
		backends: []string{"vfs"},
	},
	"all that tells which files were copied": {
		harm: func(t *testing.T, p place) {
			t.Helper()
			require.NoError(t, os.Remove(filepath.Join(p.layer(t, "work"), "manifest")))
		},
		says:     []string{"manifest: no such file"},
		reading:  []string{"manifest: no such file"},
		backends: []string{"vfs"},
	},
	"a byte of a blob": {
		harm:    func(t *testing.T, p place) { t.Helper(); flip(t, p.blob(t, 1)) },
		reading: []string{"blob sha256:"},
	},
	"the end of a blob": {
		harm: func(t *testing.T, p place) {
			t.Helper()
			info, err := os.Stat(p.blob(t, 1))
			require.NoError(t, err)
			require.NoError(t, os.Truncate(p.blob(t, 1), info.Size()-1))
		},
		says:    []string{"image test:1: the blob of its layer 2"},
		reading: []string{"blob sha256:", "image test:1: the blob of its layer 2"},
	},
	"a whole blob": {
		harm:    func(t *testing.T, p place) { t.Helper(); require.NoError(t, os.Remove(p.blob(t, 0))) },
		says:    []string{"image test:1: the blob of its layer 1, sha256:"},
		reading: []string{"it cannot be compared with its blob", "image test:1: the blob of its layer 1, sha256:"},
	},
	"a manifest": {
		harm: func(t *testing.T, p place) {
			t.Helper()
			snaps, images := p.open(t)
			img, err := images.Image(t.Context(), "test:1")
			require.NoError(t, err)
			require.NoError(t, snaps.Close())
			flip(t, filepath.Join(p.root, "content/blobs/sha256", img.Target.Digest.Encoded()))
		},
		says:    []string{"image test:1: its manifest cannot be read"},
		reading: []string{"image test:1: its manifest cannot be read", "blob sha256:"},
	},
}

func TestDamageIsFound(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(damages)) {
		d := damages[name]
		backends := d.backends
		if backends == nil {
			backends = []string{"overlay2", "vfs", "btrfs", "aufs"}
		}
		for _, backend := range backends {
			t.Run(name+"/"+backend, func(t *testing.T) {
				p := newPlace(t, backend)
				if backend == "btrfs" {
					thaw(t, p)
				}
				d.harm(t, p)
				for _, readData := range []bool{false, true} {
					want := d.says
					if readData {
						want = d.reading
					}
					found, _ := p.check(t, check.Options{ReadData: readData})
					var lines []string
					for _, f := range found {
						lines = append(lines, f.String())
					}
					require.Len(t, found, len(want), "reading the data: %v: %q", readData, lines)
					for i, part := range want {
						require.Contains(t, lines[i], part, "reading the data: %v: %q", readData, lines)
					}
				}
			})
		}
	}
}

func TestAFindingNamesTheImagesThatItTakesDown(t *testing.T) {
	p := newPlace(t, "overlay2")
	flip(t, p.file(t, p.keys(t)[1], "base/c"))
	found, _ := p.check(t, check.Options{ReadData: true})
	require.Len(t, found, 1)
	require.Equal(t, []string{"test:1"}, found[0].Images)
	require.Equal(t, "base/c", found[0].Path)
	require.Equal(t, check.Snapshot, found[0].Part)
}

func TestOnlyWhatIsNamedIsChecked(t *testing.T) {
	p := newPlace(t, "overlay2")
	flip(t, p.file(t, "done", "d/done"))
	for name, want := range map[string]struct{ snapshots, images, findings int }{
		"test:1": {3, 1, 0},
		"loose":  {1, 0, 0},
		"done":   {4, 0, 1},
		"work":   {5, 0, 1},
	} {
		found, sum := p.check(t, check.Options{ReadData: true, Names: []string{name}})
		require.Len(t, found, want.findings, name)
		require.Equal(t, want.snapshots, sum.Snapshots, name)
		require.Equal(t, want.images, sum.Images, name)
	}
	snaps, images := p.open(t)
	_, err := check.Run(t.Context(), snaps, images, check.Options{Names: []string{"nobody"}}, func(check.Finding) {})
	require.ErrorIs(t, err, check.ErrNoName)
}

func TestACheckEndsWhenItIsToldTo(t *testing.T) {
	p := newPlace(t, "vfs")
	snaps, images := p.open(t)
	for after := range 6 {
		n := after
		_, err := check.Run(t.Context(), snaps, images, check.Options{ReadData: true, Read: func(ctx context.Context, _ int) error {
			if n--; n < 0 {
				return io.ErrClosedPipe
			}
			return ctx.Err()
		}}, func(f check.Finding) { t.Errorf("no damage: %v", f) })
		require.ErrorIs(t, err, io.ErrClosedPipe)
	}
}

// A layer directory without a record, and a missing directory of all blobs.
func TestADirectoryThatIsMissingOrTooManyIsFound(t *testing.T) {
	p := newPlace(t, "overlay2")
	require.NoError(t, os.MkdirAll(filepath.Join(p.root, "overlay2", "77", "fs"), 0o700))
	found, _ := p.check(t, check.Options{})
	require.Len(t, found, 1)
	require.Equal(t, check.Layer, found[0].Part)
	require.EqualValues(t, "77", found[0].Layer)
	require.Contains(t, found[0].What, "its record is unreadable")
	require.NoError(t, os.RemoveAll(filepath.Join(p.root, "overlay2", "77")))

	snaps, images := p.open(t)
	defer func() { require.NoError(t, snaps.Close()) }()
	require.NoError(t, RemoveAll(filepath.Join(p.root, "content", "blobs")))
	var blobs []string
	_, err := check.Run(t.Context(), snaps, images, check.Options{ReadData: true}, func(f check.Finding) { blobs = append(blobs, f.String()) })
	require.NoError(t, err)
	require.NotEmpty(t, blobs)
}
