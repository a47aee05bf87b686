package robustness

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/test/robustness/cutdisk"
)

// scratchMiB is the room in memory for a disk, its log and what cuts leave.
const scratchMiB = 2048

// A recording is all that commands did to a disk, and what they promised when.
type recording struct {
	fs     fileSystem
	store  store
	log    *cutdisk.Log
	start  *cutdisk.State
	steps  []step
	images [2]ociImage
	// memory is a directory for images. target is where the disk was mounted; its
	// store is the one in there.
	memory, target string
	sockets        string
}

// record runs a random workload on a new disk.
func record(t *testing.T, fs fileSystem, backend string, honesty cutdisk.Honesty, random *rand.Rand) *recording {
	t.Helper()
	return recordWith(t, snapctl(t), fs, backend, honesty, random)
}

// recordWith is record with another command than the product's.
func recordWith(t *testing.T, program string, fs fileSystem, backend string, honesty cutdisk.Honesty, random *rand.Rand) *recording {
	t.Helper()
	r := &recording{fs: fs, memory: fstest.ScratchSize(t, fstest.Tmpfs, scratchMiB), target: t.TempDir(), sockets: fstest.ShortDir(t)}
	r.store = store{program, filepath.Join(r.target, "store"), backend}
	r.images[0], r.images[1] = images(t, t.TempDir(), random)
	image := filepath.Join(r.memory, "image")
	fs.make(t, image)
	var err error
	r.start, err = cutdisk.ReadState(image)
	require.NoError(t, err)

	disk, err := cutdisk.Start(r.memory, image, honesty)
	requireOrSkip(t, err)
	closed := false
	t.Cleanup(func() {
		if !closed {
			require.NoError(t, disk.Close())
		}
	})
	fs.mountDevice(t, disk.Device, r.target)
	unmountLater(t, r.target)
	w := &workload{t: t, random: random, recording: r, disk: disk, now: newState(), mount: t.TempDir()}
	w.run()
	require.NoError(t, cutdisk.Unmount(r.target))
	r.log, err = disk.Log()
	require.NoError(t, err)
	closed = true
	require.NoError(t, disk.Close())
	require.NoError(t, os.Remove(image))
	r.steps = w.steps
	return r
}

// ends are the numbers of records in the log at which the steps were
// acknowledged.
func (r *recording) ends(t *testing.T) []int {
	t.Helper()
	var ends []int
	for _, s := range r.steps {
		n, err := r.log.Index(s.position)
		require.NoError(t, err, s.name)
		ends = append(ends, n)
	}
	require.True(t, slices.IsSorted(ends))
	return ends
}

// A moment is a place in a recording.
type moment struct {
	// at is the number of records that were done, done the number of steps that
	// were acknowledged.
	at, done int
}

// randomMoments are moments of cuts: one half when a step was acknowledged, the
// others inside a step, most of these when most can be lost. They are sorted.
func (r *recording) randomMoments(t *testing.T, n int, random *rand.Rand) []moment {
	t.Helper()
	ends := r.ends(t)
	moments := make([]moment, n)
	for i := range moments {
		s := 1 + random.IntN(len(ends)-1) // the first is what the test needs, not a command
		at := ends[s]
		if before := ends[s-1]; i%2 == 1 {
			at = before + random.IntN(max(1, at-before))
		}
		if i%2 == 1 && i%8 != 1 {
			at = r.beforeFlush(at)
		}
		done, _ := slices.BinarySearch(ends, at+1) // all that ended at or before it
		moments[i] = moment{at, done}
	}
	slices.SortFunc(moments, func(a, b moment) int { return a.at - b.at })
	return moments
}

// beforeFlush moves a place in the log to just before the next flush that has
// writes before it.
func (r *recording) beforeFlush(at int) int {
	for n := at; n < len(r.log.Records); n++ {
		if r.log.Records[n].Kind == cutdisk.Flush && len(r.log.Tail(n)) > 0 {
			return n
		}
	}
	return at
}

// around returns what was promised at a moment, and what is after the step that
// was under way then, with its name.
func (r *recording) around(m moment) (before, after state, doing string) {
	before, doing = newState(), "nothing"
	if m.done > 0 {
		before = r.steps[m.done-1].after
	}
	after = before
	if m.done < len(r.steps) {
		after, doing = r.steps[m.done].after, r.steps[m.done].name
	}
	return before, after, doing
}
