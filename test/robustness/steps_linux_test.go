package robustness

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/image"
)

// importImage imports an image, through the client of a service in one of two
// cases.
func (w *workload) importImage(img ociImage) {
	w.t.Helper()
	change := func(s *state) {
		s.images[img.name] = img.manifest.String()
		parent := ""
		for _, key := range img.chain {
			if _, there := s.snapshots[key]; !there {
				s.snapshots[key] = snapshot{"committed", parent, w.known(key)}
			}
			parent = key
		}
	}
	if !w.byClient() {
		w.command(change, "import", "--name", img.name, "oci:"+img.layout)
		return
	}
	source, err := image.ParseSource("oci:"+img.layout, nil)
	require.NoError(w.t, err)
	_, err = w.service.Import(w.t.Context(), source, image.ImportOptions{Name: img.name})
	require.NoError(w.t, err)
	w.did("import by the client", change)
}

func (w *workload) byClient() bool { return w.service != nil && w.random.IntN(2) == 0 }

// otherImage imports the second image, or removes it.
func (w *workload) otherImage() {
	w.t.Helper()
	img := w.images[1]
	if _, there := w.now.images[img.name]; !there {
		w.importImage(img)
		return
	}
	w.removed(func(s *state) { delete(s.images, img.name) }, "rmi", img.name)
}

// layer makes a snapshot, applies a layer to it and commits it; now and then it
// stops before the end.
func (w *workload) layer() {
	w.t.Helper()
	parent, key, name, layer := w.parent(), w.newName("work"), w.newName("layer"), randomLayer(w.t, w.random)
	made := func(s *state) { s.snapshots[key] = snapshot{"active", parent, w.known(key)} }
	committed := func(s *state) {
		delete(s.snapshots, key)
		s.snapshots[name] = snapshot{"committed", parent, w.known(name)}
	}
	until := 1 + min(2, w.random.IntN(6))
	if w.byClient() {
		w.layerByClient(until, parent, key, name, layer, made, committed)
		return
	}
	args := []string{"prepare", key}
	if parent != "" {
		args = append(args, parent)
	}
	w.command(made, args...)
	if until > 1 {
		file := filepath.Join(w.memory, "layer.tar")
		require.NoError(w.t, os.WriteFile(file, layer, 0o600))
		w.command(made, "apply", key, file)
	}
	if until > 2 {
		w.command(committed, "commit", name, key)
	}
}

func (w *workload) layerByClient(until int, parent, key, name string, layer []byte, made, committed func(*state)) {
	w.t.Helper()
	require.NoError(w.t, w.service.Create(w.t.Context(), key, parent, nil))
	w.did("make by the client", made)
	if until > 1 {
		_, err := w.service.Apply(w.t.Context(), key, bytes.NewReader(layer), driver.ApplyOptions{Sync: true})
		require.NoError(w.t, err)
		w.did("apply by the client", made)
	}
	if until > 2 {
		require.NoError(w.t, w.service.Commit(w.t.Context(), name, key, nil))
		w.did("commit by the client", committed)
	}
}

// edit mounts a new writable snapshot, changes files in it, unmounts it and
// commits it. Nobody was promised anything of its content while it was mounted.
func (w *workload) edit() {
	w.t.Helper()
	parent, key, name := w.images[0].chain[1], w.newName("box"), w.newName("boxed")
	w.command(func(s *state) { s.snapshots[key] = snapshot{kind: "active", parent: parent} }, "mount", "--rw", key, w.images[0].name, w.mount)
	write := func(name string, length int) {
		require.NoError(w.t, os.WriteFile(filepath.Join(w.mount, name), []byte(text(w.random, length)), 0o644))
	}
	write("data/written", 1+w.random.IntN(100_000))
	write("data/00", w.random.IntN(5000))
	require.NoError(w.t, os.Remove(filepath.Join(w.mount, "data/01")))
	require.NoError(w.t, os.Mkdir(filepath.Join(w.mount, "made"), 0o700))
	write("made/file", 100)
	require.NoError(w.t, os.Chmod(filepath.Join(w.mount, "bin/program"), 0o700))
	if w.random.IntN(2) == 0 {
		require.NoError(w.t, os.Rename(filepath.Join(w.mount, "etc"), filepath.Join(w.mount, "renamed")))
	}
	w.command(func(s *state) { s.snapshots[key] = snapshot{"active", parent, w.known(key)} }, "umount", w.mount)
	if w.random.IntN(4) == 0 {
		return
	}
	w.command(func(s *state) {
		delete(s.snapshots, key)
		s.snapshots[name] = snapshot{"committed", parent, w.known(name)}
	}, "commit", name, key)
}

// export writes an image or a snapshot to a file on the same disk, which may be
// there.
func (w *workload) export() {
	w.t.Helper()
	source := w.parent()
	if source == "" {
		source = w.images[0].name
	}
	w.file("export", []string{"export.tar", "other.tar"}[w.random.IntN(2)], source)
	for ; source != ""; source = w.now.snapshots[source].parent {
		if strings.Contains(source, "-") { // made here, and no image's
			w.exported = append(w.exported, source)
		}
	}
}

// writeDiff writes a snapshot's diff to a file on the same disk.
func (w *workload) writeDiff() {
	w.t.Helper()
	if source := w.parent(); source != "" {
		w.file("diff", "diff.tar", source)
	}
}

func (w *workload) file(command, name, source string) {
	w.t.Helper()
	path := filepath.Join(w.target, "files", name)
	args := []string{"export", source, path}
	if command == "diff" {
		args = []string{"diff", "-o", path, source}
	}
	w.command(func(s *state) {
		d, err := digestOf(path)
		require.NoError(w.t, err)
		s.files[name] = d
	}, args...)
}

func digestOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	d, err := digest.FromReader(f)
	return d.String(), err
}

// remove removes a snapshot.
func (w *workload) remove() {
	w.t.Helper()
	all := w.removable()
	if len(all) == 0 {
		return
	}
	key := all[w.random.IntN(len(all))]
	change := func(s *state) { delete(s.snapshots, key) }
	if w.byClient() {
		require.NoError(w.t, w.service.Remove(w.t.Context(), key, false))
		w.did("remove by the client", change)
		return
	}
	w.command(change, "rm", key)
}

// collect collects garbage.
func (w *workload) collect() {
	w.t.Helper()
	w.removed(func(*state) {}, "gc")
}

// startOrStop starts the service of the store, or ends it.
func (w *workload) startOrStop() {
	w.t.Helper()
	nothing := func(*state) {}
	if w.service == nil {
		v, err := w.store.serve(w.t, w.sockets)
		require.NoError(w.t, err)
		w.t.Cleanup(func() { require.NoError(w.t, v.kill()) })
		w.service = v
		w.did("start the service", nothing)
		return
	}
	require.NoError(w.t, w.service.stop())
	w.service = nil
	w.did("stop the service", nothing)
}

// The rows of bulk take more than the database has to have free to be made
// small again.
const (
	bulkRows   = 48
	bulkLabels = 32
	bulkLabel  = 4000 // bytes
)

// bulk makes many snapshots with long labels, removes them all and collects
// garbage, which makes the database small again. Of the first two only the ends
// are acknowledged here.
func (w *workload) bulk() {
	w.t.Helper()
	if w.service == nil {
		w.startOrStop()
	}
	labels := map[string]string{}
	for n := range bulkLabels {
		labels[fmt.Sprintf("containerd.io/snapshot/bulk-%d", n)] = strings.Repeat("x", bulkLabel)
	}
	made := map[string]snapshot{}
	for range bulkRows {
		key := w.newName("bulk")
		require.NoError(w.t, w.service.Create(w.t.Context(), key, "", labels))
		made[key] = snapshot{kind: "active"}
	}
	w.did("make many by the client", func(s *state) { maps.Copy(s.snapshots, made) })
	for key := range made {
		require.NoError(w.t, w.service.Remove(w.t.Context(), key, false))
	}
	w.did("remove many by the client", func(s *state) {
		for key := range made {
			delete(s.snapshots, key)
		}
	})
	before := w.databaseSize()
	w.collect()
	require.Less(w.t, w.databaseSize(), before/2, "the database was made small")
}

func (w *workload) databaseSize() int64 {
	w.t.Helper()
	info, err := os.Stat(filepath.Join(w.store.root, "meta.db"))
	require.NoError(w.t, err)
	return info.Size()
}
