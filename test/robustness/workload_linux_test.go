package robustness

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/test/robustness/cutdisk"
)

// rounds is how many things a workload does, each of one or several steps.
const rounds = 14

// A workload does random things to the store of a recording and notes what was
// promised.
type workload struct {
	*recording
	t      *testing.T
	random *rand.Rand
	disk   *cutdisk.Disk
	now    state
	steps  []step
	mount  string // where snapshots are mounted
	names  int
	// exported are snapshots whose layers have blobs since they were exported.
	exported []string
	// service has the store open, nil while none does. The commands go through it.
	service *service
}

func (w *workload) run() {
	w.t.Helper()
	require.NoError(w.t, os.Mkdir(filepath.Join(w.target, "files"), 0o755))
	dir, err := os.Open(w.target)
	require.NoError(w.t, err)
	require.NoError(w.t, unix.Syncfs(int(dir.Fd())))
	require.NoError(w.t, dir.Close())
	w.did("make a directory for files", func(*state) {})

	w.command(func(*state) {}, "ls")
	w.importImage(w.images[0])
	do := []func(){
		w.layer, w.layer, w.layer, w.edit, w.edit, w.export, w.writeDiff, w.remove, w.remove,
		w.otherImage, w.otherImage, w.collect, w.startOrStop, w.startOrStop,
		w.harmLayer, w.harmBlob, w.harmStore,
	}
	long := []func(){w.harmLayer, w.harmLayer, w.harmBlob, w.harmStore, w.bulk}
	w.layer() // each at least once, then what comes
	w.edit()
	w.export()
	w.startOrStop()
	w.layer()
	w.remove()
	w.otherImage()
	// Of what takes long, one; all are done in the combinations together.
	long[w.random.IntN(len(long))]()
	for range rounds {
		do[w.random.IntN(len(do))]()
	}
	if w.service != nil {
		w.startOrStop()
	}
	w.collect()
}

// did notes that a step was acknowledged, before anything else is done, and
// then what it changed.
func (w *workload) did(name string, change func(s *state)) {
	w.t.Helper()
	position, err := w.disk.Position()
	require.NoError(w.t, err)
	w.now = w.now.clone()
	change(&w.now)
	w.steps = append(w.steps, step{name, position, w.now})
}

// command runs a command that has to succeed.
func (w *workload) command(change func(s *state), args ...string) {
	w.t.Helper()
	_, err := w.store.try(args...)
	require.NoError(w.t, err)
	w.did("snapctl "+args[0], change)
}

// removed runs a command that says which snapshots it removed.
func (w *workload) removed(change func(s *state), args ...string) {
	w.t.Helper()
	var result struct{ Snapshots []string }
	require.NoError(w.t, w.store.object(&result, args...))
	w.did("snapctl "+args[0], func(s *state) {
		change(s)
		for _, key := range result.Snapshots {
			delete(s.snapshots, key)
		}
	})
}

func (w *workload) newName(what string) string {
	w.names++
	return fmt.Sprintf("%s-%d", what, w.names)
}

// known returns the digest of a snapshot's diff.
func (w *workload) known(key string) string {
	w.t.Helper()
	d, err := w.store.diff(key)
	require.NoError(w.t, err)
	return d
}

// parent chooses a committed snapshot, or none.
func (w *workload) parent() string {
	all := []string{""}
	for _, key := range slices.Sorted(maps.Keys(w.now.snapshots)) {
		if w.now.snapshots[key].kind == "committed" {
			all = append(all, key)
		}
	}
	return all[w.random.IntN(len(all))]
}

// removable lists what rm may remove: what no image and no snapshot needs.
func (w *workload) removable() []string {
	needed := map[string]bool{}
	for _, s := range w.now.snapshots {
		needed[s.parent] = true
	}
	for _, img := range w.images {
		for _, key := range img.chain {
			needed[key] = true
		}
	}
	var all []string
	for _, key := range slices.Sorted(maps.Keys(w.now.snapshots)) {
		if !needed[key] {
			all = append(all, key)
		}
	}
	return all
}
