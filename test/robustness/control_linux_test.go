package robustness

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/test/robustness/cutdisk"
)

// These tests are the controls: each makes something lose what was
// acknowledged, and fails unless that is found.

// A disk that lies about flushes does lose what was acknowledged. A test that
// does not see that would see no fault of a command either.
func TestALyingDiskIsCaughtLosingWhatWasAcknowledged(t *testing.T) {
	requirements(t)
	if testing.Short() {
		t.Skip("not in short mode: it tells of these tests, and not of the product")
	}
	seed := seedOf(t)
	random := randomFor(seed, t.Name())
	r := record(t, fileSystems[0], "overlay2", cutdisk.Lying, random)
	o := &outcome{fs: "ext4, on a disk that lies", backend: "overlay2", seed: seed}
	ends := r.ends(t)
	for i := 2; i < len(ends); i += 3 {
		// The disk has what came until the step before the last but one, and nothing of
		// what came after that.
		c := r.log.CutKeeping(ends[i], ends[i-2])
		if c.Loses(r.log) {
			o.lostWrites++
		}
		o.add(r.after(t, moment{ends[i], i + 1}, c))
	}
	t.Logf("of %d cuts %d lost what was acknowledged: %v", o.cuts, o.broken[lost], o.broken)
	require.Zero(t, o.broken[unmounted], "a cut that only loses the last writes leaves a file system")
	require.Positive(t, o.broken[lost], "a disk that lies was not caught")
	if *update {
		control := &results{}
		control.add(o)
		require.NoError(t, control.write("a disk that lies"))
	}
}

// A faultySync is a place of the product at which something is synced, and what
// stands there in a command that forgets to.
type faultySync struct {
	name, file, right, wrong string
}

var faultySyncs = []faultySync{
	{"of layers", "internal/layerdir/sync_linux.go", "unix.Syncfs(int(s.dir.Fd()))", "unix.Access(s.root, unix.F_OK)"},
	{"of directories", "internal/durable/fs.go", "errors.Join(d.Sync(), d.Close())", "d.Close()"},
}

// A command that forgets to sync is caught on a disk that does not lie.
func TestACommandThatDoesNotSyncIsCaughtLosingWhatWasAcknowledged(t *testing.T) {
	requirements(t)
	if testing.Short() {
		t.Skip("-short: it builds snapctl twice")
	}
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("go is not installed")
	}
	seed, control := seedOf(t), &results{}
	for _, f := range faultySyncs {
		t.Run(f.name, func(t *testing.T) {
			random := randomFor(seed, t.Name())
			r := recordWith(t, f.build(t), fileSystems[0], "overlay2", cutdisk.Honest, random)
			o := &outcome{fs: "ext4, no syncs " + f.name, backend: "overlay2", seed: seed}
			ends := r.ends(t)
			for i := 0; i < len(ends); i += 3 {
				c := r.log.RandomCut(ends[i], r.fs.Sector, random)
				if c.Loses(r.log) {
					o.lostWrites++
				}
				o.add(r.after(t, moment{ends[i], i + 1}, c))
			}
			t.Logf("of %d cuts: %v", o.cuts, o.broken)
			require.Positive(t, o.broken[lost]+o.broken[torn], "the missing syncs were not noticed")
			control.add(o)
		})
	}
	if *update && !t.Failed() {
		require.NoError(t, control.write("commands that do not sync"))
	}
}

// build builds a snapctl with the fault.
func (f faultySync) build(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("../..", f.file))
	require.NoError(t, err)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(string(text), f.right), "%s has no %s", f.file, f.right)
	dir := t.TempDir()
	faulty := filepath.Join(dir, "faulty.go")
	require.NoError(t, os.WriteFile(faulty, []byte(strings.Replace(string(text), f.right, f.wrong, 1)), 0o600))
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{path: faulty}})
	require.NoError(t, err)
	list, program := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "snapctl")
	require.NoError(t, os.WriteFile(list, overlay, 0o600))
	cmd := exec.Command("go", "build", "-overlay", list, "-o", program, "../../cmd/snapctl")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	return program
}
