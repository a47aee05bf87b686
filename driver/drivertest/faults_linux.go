package drivertest

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// RunFaults lets the system calls on files that a method of the driver makes
// fail, one at a time, with EIO and, where they write, with ENOSPC. Whichever
// fails, the method returns that error and the store is as before, or the
// method does the same as without it, for a reason in the list of spared calls;
// then the next try works. It runs on the first file system of cfg, on a few
// calls of each method; with the flag -faults on all, and on some without the
// fast paths, too.
func RunFaults(t *testing.T, cfg Config) {
	if os.Geteuid() != 0 {
		t.Skip("scratch file systems and files of other owners need root")
	}
	if testing.Short() {
		t.Skip("not in short mode: it takes seconds for each method")
	}
	fs := cfg.filesystems(t)[0]
	t.Run("fast", func(t *testing.T) { runFaults(t, cfg, fs, driver.Fallbacks{SingleThread: true}, false) })
	if *faultsTime > 0 {
		t.Run("without any fast path", func(t *testing.T) { runFaults(t, cfg, fs, allFallbacks, true) })
	}
}

func runFaults(t *testing.T, cfg Config, fs fstest.FS, off driver.Fallbacks, sampled bool) {
	cfg.Dir, cfg.Options.Fallbacks = fstest.Scratch(t, fs), off
	t.Setenv("TMPDIR", t.TempDir()) // a mount point there stays when its removal fails
	s := newSuite(t, cfg)
	for _, op := range s.faultOps() {
		op.sampled = sampled
		t.Run(op.name, func(t *testing.T) { newFaults(t, s, op).each() })
	}
}

// faultsTime bounds the time for one operation. Where it is over fewer calls
// are tried, which the log says; they come in no order, so that these are some
// of everywhere.
var faultsTime = flag.Duration("faults", 0, "for how long the calls of one operation are made to fail, one after the other; 0: only a few of them")

// faults lets the calls of one operation fail.
type faults struct {
	*store
	op    faultOp
	calls *fstest.Calls
	// done is what the operation returns, and the store afterwards, without a
	// fault.
	done   any
	after  []string
	before []string
}

func newFaults(t *testing.T, s *suite, op faultOp) *faults {
	f := &faults{store: s.open(t), op: op, calls: fstest.NewCalls(t)}
	chain := f.layer("base", nil, everythingBase()...)
	f.layer("mid", chain, fstest.File("d/x", "mid"), fstest.Whiteout("gone"), fstest.Opaque("o"), fstest.File("o/new", "n"), fstest.Dir("more"))
	return f
}

// each lets each call fail.
func (f *faults) each() {
	f.op.prepare(f.store) // the first layer makes what the store needs once
	f.clear()
	made := 0
	for range 2 { // the second time the driver remembers what it has read
		f.op.prepare(f.store)
		f.before = f.state()
		var err error
		made, _ = f.calls.Fail(f.t, 0, 0, func() { f.done, err = f.op.run(f.store) })
		require.NoError(f.t, err)
		f.after = f.state()
		f.clear()
	}
	require.Positive(f.t, made)
	parents := append(f.describe("base"), f.describe("mid")...)
	start, tried := time.Now(), 0
	for _, n := range f.op.sample(made) {
		if *faultsTime > 0 && time.Since(start) > *faultsTime {
			break
		}
		tried++
		name := f.fail(n, unix.EIO)
		if writes(name) {
			f.fail(n, unix.ENOSPC)
		}
	}
	require.Equal(f.t, parents, append(f.describe("base"), f.describe("mid")...), "the parents are as they were")
	f.t.Logf("%d of %d calls", tried, made)
}

// fail lets the nth call fail and returns its name.
func (f *faults) fail(n int, errno unix.Errno) string {
	f.op.prepare(f.store)
	descriptors, mounts := fstest.OpenDescriptors(f.t), mountsBelow(f.t, f.dir)
	var got any
	var err error
	_, name := f.calls.Fail(f.t, n, errno, func() { got, err = f.op.run(f.store) })
	what := fmt.Sprintf("call %d, %s: %v, in %s", n, name, errno, f.where())
	require.Eventually(f.t, func() bool { return fstest.OpenDescriptors(f.t) <= descriptors }, fstest.Patience, time.Millisecond, "descriptors are left open: %s", what)
	require.Equal(f.t, mounts, mountsBelow(f.t, f.dir), what)
	if err == nil {
		f.withoutIt(got, name, errno, what)
		f.clear()
		return name
	}
	what += fmt.Sprintf(": %v", err)
	require.ErrorIs(f.t, err, errno, what)
	now := f.state()
	switch {
	case errors.Is(err, driver.ErrTorn) && (syncs(name) || f.in("internal/layerdir.unmark", "internal/layerdir.(*Store).syncLayer", "btrfs.(*backend).unlimited")):
		require.NoError(f.t, f.d.Remove(f.ctx(), faultID), what)
		f.op.prepare(f.store)
	case f.late(name): // the next try ends what this one has begun
	case f.op.spoils != nil && !slices.Equal(f.before, now): // the next try ends it, or says so
	case f.op.resumes != nil && f.begun():
	default:
		require.Equal(f.t, f.before, now, "nothing stays of it: %s", what)
	}
	got, err = f.op.run(f.store)
	if f.op.spoils != nil && errors.Is(err, f.op.spoils) {
		require.NoError(f.t, f.d.Remove(f.ctx(), faultID), what)
		f.op.prepare(f.store)
		got, err = f.op.run(f.store)
	}
	require.NoError(f.t, err, "the next try: %s", what)
	f.requireDone(got, "the next try: "+what)
	f.clear()
	return name
}

// late reports whether a call failed when the operation was done but for its
// last step: to put that on disk, or to remove what is not needed any more.
func (f *faults) late(name string) bool {
	return syncs(name) || f.in("internal/durable.osFS.SyncDir", "internal/layerdir.(*Store).syncNames", "aufs.(*store).condemn", "aufs.(*store).erase") ||
		f.in("aufs.normalize") || // which has written down what it changes
		f.in("overlay2.(*overlay).Seal") && !f.in("internal/layerlife.(*Driver).Seal")
}

// begun reports whether the layer says that an operation on it has to be ended.
func (f *faults) begun() bool {
	v, err := f.d.View(f.ctx(), faultID)
	if err == nil {
		require.NoError(f.t, v.Close())
	}
	return errors.Is(err, f.op.resumes)
}

// where says who made the call that failed.
func (f *faults) where() string {
	var in []string
	for _, name := range f.calls.Where() {
		if !strings.HasPrefix(name, "syscall.") && !strings.HasPrefix(name, "golang.org/") && !strings.HasPrefix(name, "driver/drivertest.") {
			in = append(in, name)
		}
	}
	return strings.Join(in, " < ")
}

// withoutIt is for an operation that succeeded all the same.
func (f *faults) withoutIt(got any, name string, errno unix.Errno, what string) {
	if name == "" { // it was not made this time
		f.requireDone(got, what)
		return
	}
	i := slices.IndexFunc(spared, func(s sparedCall) bool {
		return (s.call == "" || s.call == name) && (s.errno == 0 || s.errno == errno) && f.in(s.in)
	})
	if i < 0 {
		f.t.Errorf("the error vanishes: %s", what)
	} else if left := spared[i].leaves; left != "" {
		require.NoError(f.t, fstest.RemoveAll(filepath.Join(f.dir, string(faultID), left)), what)
	}
	f.requireDone(got, what)
}

// in reports whether one of these functions made the call that failed.
func (f *faults) in(functions ...string) bool {
	return slices.ContainsFunc(f.calls.Where(), func(name string) bool { return slices.Contains(functions, name) })
}

func (f *faults) requireDone(got any, what string) {
	f.t.Helper()
	require.Equal(f.t, f.done, got, what)
	require.Equal(f.t, f.after, f.state(), what)
}

// clear removes what is not in every store.
func (f *faults) clear() {
	f.t.Helper()
	ids, err := f.d.Layers(f.ctx())
	require.NoError(f.t, err)
	for _, id := range ids {
		if id != "base" && id != "mid" {
			require.NoError(f.t, f.d.Remove(f.ctx(), id))
		}
	}
	f.settled()
}

// sample returns the calls to fail of n.
func (op faultOp) sample(n int) (calls []int) {
	step := 1
	switch {
	case op.whole && !op.sampled:
	case *faultsTime == 0:
		step = max(1, n/4)
	case op.sampled:
		step = max(1, n/20)
	}
	for i := 1; i <= n; i += step {
		calls = append(calls, i)
	}
	random := rand.New(rand.NewPCG(1, uint64(n))) //nolint:gosec // the same order every time
	random.Shuffle(len(calls), func(i, j int) { calls[i], calls[j] = calls[j], calls[i] })
	return calls
}

func writes(call string) bool {
	return slices.Contains([]string{
		"openat", "mkdirat", "mknodat", "symlinkat", "linkat", "renameat", "renameat2", "write", "pwrite64", "fallocate", "ftruncate", "fsync", "syncfs",
		"setxattr", "lsetxattr", "fsetxattr", "copy_file_range", "ioctl", "fchown", "fchownat", "fchmodat", "utimensat",
	}, call)
}

// syncs reports calls after whose failure nobody knows what is on the disk.
func syncs(call string) bool {
	return slices.Contains([]string{"fsync", "fdatasync", "syncfs", "ioctl"}, call)
}

func mountsBelow(tb testing.TB, dir string) (list []string) {
	tb.Helper()
	table, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(tb, err)
	for line := range strings.SplitSeq(string(table), "\n") {
		if strings.Contains(line, "/"+filepath.Base(filepath.Dir(dir))+"/") {
			list = append(list, line)
		}
	}
	return list
}
