package drivertest

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// state says what is in the store: what the layer holds, and all names on disk.
func (f *faults) state() []string {
	f.t.Helper()
	f.settled()
	ids, err := f.d.Layers(f.ctx())
	require.NoError(f.t, err)
	slices.Sort(ids)
	var all []string
	if slices.Contains(ids, faultID) {
		all = f.describe(faultID)
	}
	if f.op.rewrites {
		return all
	}
	return append(all, f.names()...)
}

// describe says what a layer is and holds, as far as that can be said.
func (f *faults) describe(id driver.ID) []string {
	f.t.Helper()
	r, err := f.recorder().Record(f.ctx(), id)
	require.NoError(f.t, err)
	all := []string{fmt.Sprintf("%s: %+v", id, r)}
	v, err := f.d.View(f.ctx(), id)
	if err != nil {
		return append(all, fmt.Sprintf("%s: %v", id, err)) // unpacked without its parents
	}
	defer v.Close()
	tree := fstest.FromView(f.t, v)
	for _, p := range tree.Paths() {
		n := tree[p]
		if n.Mtime.After(time.Now().Add(-time.Hour)) {
			n.Mtime = time.Time{} // of this run
		}
		all = append(all, fmt.Sprintf("%s: %s %s %s", id, p, n.Attrs(), n.Body))
	}
	changes, err := writeDiff(f.store, id)
	require.NoError(f.t, err)
	return append(all, fmt.Sprintf("%s: %x", id, sha256.Sum256(changes)))
}

// names lists what is on disk, but not what a mount keeps beside the layer's
// own files: the names of that hold numbers of inodes.
func (f *faults) names() (all []string) {
	f.t.Helper()
	require.NoError(f.t, filepath.WalkDir(f.dir, func(path string, _ fs.DirEntry, err error) error {
		rel, ok := strings.CutPrefix(path, f.dir+"/")
		if ok && !strings.HasPrefix(rel, string(faultID)+"/work/") && !strings.Contains(rel, "/.wh..wh.plnk/") {
			all = append(all, rel)
		}
		return err
	}))
	return all
}

// settled waits until what was removed is gone. What could not be deleted, and
// the driver says so, Cleanup deletes.
func (f *faults) settled() {
	f.t.Helper()
	placer, ok := f.d.(driver.Placer)
	if !ok || placer.Leftovers() {
		require.NoError(f.t, f.d.Cleanup(f.ctx()))
	}
	require.Eventually(f.t, func() bool {
		removed := func(name string) bool { return strings.Contains(name, ".trash-") }
		return !slices.ContainsFunc(f.topNames(), removed)
	}, fstest.Patience, time.Millisecond, "what was removed stays")
}

// topNames lists the directories that hold layers.
func (f *faults) topNames() (all []string) {
	for _, pattern := range []string{"/.*", "/.*/*/.*"} {
		found, err := filepath.Glob(f.dir + pattern)
		require.NoError(f.t, err)
		all = append(all, found...)
	}
	return all
}
