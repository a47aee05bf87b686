package robustness

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/image"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// harmLayer damages a layer of an image, or of a snapshot that was exported,
// and has it made whole again.
func (w *workload) harmLayer() {
	w.t.Helper()
	w.exported = slices.DeleteFunc(w.exported, func(key string) bool { return w.now.snapshots[key].kind != "committed" })
	all := slices.Clone(w.exported)
	for _, img := range w.images {
		if _, there := w.now.images[img.name]; there {
			all = append(all, img.chain...)
		}
	}
	key := all[w.random.IntN(len(all))]
	layer, err := w.store.layerOf(key)
	require.NoError(w.t, err)
	h := harmsOfLayers[w.random.IntN(len(harmsOfLayers))]
	if slices.Contains(w.exported, key) && h.mends(importAgain) {
		h = harmsOfLayers[0] // no image has it
	}
	w.harmed(h, hurt{layer: layer, random: w.random}, func(s *state) {
		for name := range s.snapshots {
			if name == key || w.standsOn(name, key) {
				s.snapshots[name] = w.readable(name)
			}
		}
	})
}

// harmBlob damages the blob of a layer of an image, and has it made whole
// again.
func (w *workload) harmBlob() {
	w.t.Helper()
	blobs := w.images[0].blobs
	h := harmsOfBlobs[w.random.IntN(len(harmsOfBlobs))]
	path := filepath.Join(w.store.root, "content/blobs/sha256", digest.Digest(blobs[w.random.IntN(len(blobs))]).Encoded())
	w.harmed(h, hurt{blob: path}, func(s *state) {
		for name := range s.images {
			out, err := w.store.try("export", name, filepath.Join(w.memory, "harmed.tar"))
			if err != nil {
				s.images[name] = unreadable
				continue
			}
			s.images[name] = strings.TrimSpace(out) // another one where a layer had to be made anew
		}
	})
}

// harmStore damages the database, and has it made again.
func (w *workload) harmStore() {
	w.t.Helper()
	h := harmsOfStores[w.random.IntN(len(harmsOfStores))]
	w.harmed(h, hurt{}, func(s *state) { s.closed = true })
	w.exported = nil // a record of a layer does not tell what was found out later
}

// harmed damages something, notes what can still be read then, and mends it
// with one of the commands that can. What is whole is known from before.
func (w *workload) harmed(h harm, what hurt, change func(*state)) {
	w.t.Helper()
	if w.service != nil { // a repair needs the store alone, and what is open may be cached
		w.startOrStop()
	}
	whole := w.now
	w.t.Logf("%s: %s%s", h.name, what.layer, what.blob)
	require.NoError(w.t, h.do(w.store, what), h.name)
	require.NoError(w.t, syncAll(w.target))
	w.did(h.name, func(s *state) {
		s.whole = &whole
		change(s)
	})
	restored := func(s *state) { *s = whole.clone() }
	args := h.mend[w.random.IntN(len(h.mend))]
	if args[0] != "import" {
		w.command(restored, args...)
	} else {
		w.heal(restored)
	}
	w.collect()
	c := checker{store: w.store, t: w.t, sockets: w.sockets, files: filepath.Join(w.target, "files")}
	require.Empty(w.t, c.clean(w.now), "after %s and %v", h.name, args)
}

// heal imports the images that are there again, by a service in one of two
// cases. Each heals what it meets; all is whole after the last.
func (w *workload) heal(restored func(*state)) {
	w.t.Helper()
	if w.random.IntN(2) == 0 {
		w.startOrStop()
	}
	var there []ociImage
	for _, img := range w.images {
		if _, ok := w.now.images[img.name]; ok {
			there = append(there, img)
		}
	}
	for i, img := range there {
		change := func(*state) {} // each thing is as it was, or whole
		if i == len(there)-1 {
			change = restored
		}
		if w.service == nil {
			w.command(change, "import", "--name", img.name, "oci:"+img.layout)
			continue
		}
		source, err := image.ParseSource("oci:"+img.layout, nil)
		require.NoError(w.t, err)
		_, err = w.service.Import(w.t.Context(), source, image.ImportOptions{Name: img.name})
		require.NoError(w.t, err)
		w.did("import by the client", change)
	}
	if w.service != nil {
		w.startOrStop()
	}
}

func (h harm) mends(with []string) bool {
	return slices.ContainsFunc(h.mend, func(args []string) bool { return slices.Equal(args, with) })
}

// standsOn reports whether a snapshot has another among its parents.
func (w *workload) standsOn(name, key string) bool {
	for name != "" {
		if name = w.now.snapshots[name].parent; name == key {
			return true
		}
	}
	return false
}

// readable is a snapshot with what its diff is now.
func (w *workload) readable(key string) snapshot {
	row := w.now.snapshots[key]
	d, err := w.store.diff(key)
	if row.diff = d; err != nil {
		row.diff = unreadable
	}
	return row
}

// clean says what a store that was mended lacks of what is whole, and what is
// left in it of the damage and of the repair.
func (c *checker) clean(whole state) []finding {
	for _, args := range [][]string{{"gc"}, {"check", "--read-data"}} {
		if out, said, err := c.both(args...); err != nil {
			return failed(fmt.Errorf("snapctl %s: %w: %s%s", strings.Join(args, " "), err, out, said))
		}
	}
	c.harmed = false
	found, findings := c.look()
	if len(findings) > 0 {
		return findings
	}
	names, layers, err := c.leftBesides()
	if err != nil {
		return failed(err)
	}
	if len(names) > 0 || layers != len(found.snapshots) {
		findings = append(findings, finding{stray, fmt.Sprintf("%d layers of %d snapshots, and beside them: %v", layers, len(found.snapshots), names)})
	}
	return append(findings, compare(whole, whole, found, "mending what was damaged")...)
}

// leftBesides is besides without the replaced layers that a later gc deletes.
// Mounts of snapshots are copied into the mount namespace of every process on
// the machine that makes itself one, and keep such a layer until it ends.
func (c *checker) leftBesides() (names []string, layers int, err error) {
	for start := time.Now(); ; time.Sleep(time.Second) {
		names, layers, err = c.besides()
		replaced := func(name string) bool { return strings.HasPrefix(name, ".old-") }
		if err != nil || !slices.ContainsFunc(names, replaced) || time.Since(start) > fstest.Patience {
			return names, layers, err
		}
		if _, err := c.try("gc"); err != nil {
			return names, layers, err
		}
	}
}

// mend does what somebody does after a cut in a store that was damaged: a
// repair, and imports of what only the images' sources have. The next repair
// finds nothing, or repairs what a blob that is there again tells.
func (c *checker) mend(whole state) []finding {
	if out, said, err := c.both(readAndRepair...); err != nil && !strings.Contains(out, "import the image again") {
		return failed(fmt.Errorf("snapctl repair: %w: %s%s", err, out, said))
	}
	for _, img := range c.images {
		if _, there := whole.images[img.name]; !there {
			continue
		}
		if _, err := c.try("import", "--name", img.name, "oci:"+img.layout); err != nil {
			return failed(err)
		}
	}
	if _, err := c.try(readAndRepair...); err != nil {
		return failed(err)
	}
	return c.clean(whole)
}
