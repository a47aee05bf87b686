package main

import (
	stdtar "archive/tar"
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/driver/all"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/snapshotter"
)

// changesEnv is the number of changes to measure the memory with.
const changesEnv = "LAYERKEEP_CHANGES"

// peakEnv makes snapctl, as the tests run it, tell what memory it took.
const peakEnv = "SNAPCTL_TEST_PEAK"

// tellPeak writes the peak of the resident memory, in KiB, to standard error.
func tellPeak() {
	if os.Getenv(peakEnv) == "" {
		return
	}
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		if peak, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			fmt.Fprintln(os.Stderr, strings.Fields(peak)[0])
		}
	}
}

// A manyChanges is a parent and a layer over it with n changes.
type manyChanges struct {
	name       string
	base, edit func(w *entries, n int)
	// perChange is how many bytes a change may take, beside very few.
	perChange int
}

// entries writes a layer of empty files.
type entries struct {
	tar *stdtar.Writer
	err error
}

func (w *entries) add(h stdtar.Header) {
	if h.Mode == 0 {
		h.Mode = 0o644
	}
	h.ModTime = time.Unix(1_700_000_000, 0)
	if w.err == nil {
		w.err = w.tar.WriteHeader(&h)
	}
}

func (w *entries) file(path string, mode int64) {
	w.add(stdtar.Header{Name: path, Typeflag: stdtar.TypeReg, Mode: mode})
}

func (w *entries) link(path, target string) {
	w.add(stdtar.Header{Name: path, Typeflag: stdtar.TypeLink, Linkname: target})
}

// inDirs and inOne are the paths of the i-th file.
func inDirs(top string, i int) string { return fmt.Sprintf("%s/d%05d/file%07d", top, i/100, i) }
func inOne(top string, i int) string  { return fmt.Sprintf("%s/file%07d", top, i) }

// each writes n files whose paths are those of at.
func each(at func(string, int) string, mode int64) func(*entries, int) {
	return func(w *entries, n int) {
		for i := range n {
			w.file(at("top", i), mode)
		}
	}
}

// gone writes whiteouts of them.
func gone(at func(string, int) string) func(*entries, int) {
	return func(w *entries, n int) {
		for i := range n {
			dir, name := filepath.Split(at("top", i))
			w.file(dir+".wh."+name, 0o644)
		}
	}
}

// pairs writes n names, each two of which are one file.
func pairs(second func(i int) string) func(*entries, int) {
	return func(w *entries, n int) {
		for i := range n / 2 {
			w.file(inDirs("top", i), 0o644)
			w.link(second(i), inDirs("top", i))
		}
	}
}

func beside(i int) string { return inDirs("top", i) + "x" }
func apart(i int) string  { return inDirs("upper", i) }

func nothing(w *entries, _ int) { w.file("something", 0o644) }

func manyChangeCases() []manyChanges {
	return []manyChanges{
		{name: "added, in many directories", base: nothing, edit: each(inDirs, 0o644)},
		{name: "modified, in many directories", base: each(inDirs, 0o644), edit: each(inDirs, 0o600)},
		{name: "deleted, in many directories", base: each(inDirs, 0o644), edit: gone(inDirs)},
		{name: "added, in one directory", base: nothing, edit: each(inOne, 0o644), perChange: 250},
		{name: "modified, in one directory", base: each(inOne, 0o644), edit: each(inOne, 0o600), perChange: 250},
		{name: "deleted, in one directory", base: each(inOne, 0o644), edit: gone(inOne), perChange: 250},
		{name: "pairs of links side by side, added", base: nothing, edit: pairs(beside)},
		{name: "pairs of links apart, added", base: nothing, edit: pairs(apart), perChange: 250},
		{name: "pairs of links side by side, deleted", base: pairs(beside), edit: func(w *entries, n int) {
			for i := range n / 2 {
				for _, path := range []string{inDirs("top", i), beside(i)} {
					dir, name := filepath.Split(path)
					w.file(dir+".wh."+name, 0o644)
				}
			}
		}},
		{name: "pairs of links side by side, parted", base: pairs(beside), edit: func(w *entries, n int) {
			for i := range n / 2 {
				w.file(inDirs("top", i), 0o600)
				w.file(beside(i), 0o600)
			}
		}},
		{name: "one of each pair of links, modified", base: pairs(apart), edit: func(w *entries, n int) {
			for i := range n / 2 {
				w.file(apart(i), 0o600)
			}
		}, perChange: 250},
		{name: "links to the parent's files", base: each(inDirs, 0o644), edit: func(w *entries, n int) {
			for i := range n / 2 {
				w.link(beside(i), inDirs("top", i))
			}
		}, perChange: 250},
		{name: "few, beside many directories", base: func(w *entries, n int) {
			for i := range n {
				w.add(stdtar.Header{Name: fmt.Sprintf("some/rather/long/path/d%03d/dir%07d/", i/1000, i), Typeflag: stdtar.TypeDir, Mode: 0o755})
			}
		}, edit: nothing},
	}
}

// What a listing of changes takes does not grow with their number, but in cases
// of which docs/memory.md says how.
func TestTheMemoryForListingChangesIsBounded(t *testing.T) {
	n := 20_000
	if text := os.Getenv(changesEnv); text != "" {
		var err error
		n, err = strconv.Atoi(text)
		require.NoError(t, err)
	}
	if testing.Short() {
		t.Skip("takes long")
	}
	if !isHostRoot() {
		t.Skip("not root of the machine: it takes long, and the memory is the same for all users")
	}
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("the kernel does not tell here how much memory a process took: ", err)
	}
	for _, b := range all.Backends() {
		t.Run(b.Name, func(t *testing.T) {
			t.Parallel() // each listing has a process of its own
			root := storeFor(t, b, n)
			cases := manyChangeCases()
			few := cases[0].peak(t, filepath.Join(root, "few"), b.Name, 10)
			for i, c := range cases {
				t.Run(c.name, func(t *testing.T) {
					// On a busy machine the garbage collector lags behind, which only ever adds:
					// the least of some measurements counts.
					most, peak := 6<<20+n*(64+c.perChange), math.MaxInt
					for tries := 0; tries < 3 && peak-few >= most; tries++ {
						peak = min(peak, c.peak(t, filepath.Join(root, fmt.Sprint(i)), b.Name, n))
					}
					require.Less(t, peak-few, most, "bytes more than for a few changes")
				})
			}
		})
	}
}

// storeFor returns a directory on which the backend works, with room for three
// times n files. It is not on a disk: some file systems take long to make files
// where many have just been deleted.
func storeFor(t *testing.T, b all.Backend, n int) string {
	dir := fstest.ScratchSize(t, fstest.Tmpfs, 512+n/250)
	err := tryBackend(t, b, dir)
	if err != nil {
		dir = fstest.ScratchSize(t, fstest.Btrfs, 512+n/250)
		err = tryBackend(t, b, dir)
	}
	if err != nil {
		t.Skipf("backend %s does not work here: %v", b.Name, err)
	}
	return dir
}

func tryBackend(t *testing.T, b all.Backend, dir string) error {
	d, err := b.New(t.Context(), filepath.Join(dir, "try"), driver.Options{})
	if err != nil {
		return err
	}
	return d.Close()
}

// peak lists the changes in a process of its own, and returns the bytes of
// memory that it took.
func (c manyChanges) peak(t *testing.T, root, driverName string, n int) int {
	t.Helper()
	defer os.RemoveAll(root)
	c.make(t, root, driverName, n)

	cmd := exec.Command("snapctl", "--root", root, "--driver", driverName, "changes", "work")
	cmd.Env = append(os.Environ(), peakEnv+"=1", "GOGC=20")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	start := time.Now()
	require.NoError(t, cmd.Start())
	lines, first := 0, time.Duration(0)
	for s := bufio.NewScanner(out); s.Scan(); lines++ {
		if lines == 0 {
			first = time.Since(start)
		}
	}
	require.NoError(t, cmd.Wait(), "%s", &stderr)
	took := time.Since(start)

	kib, err := strconv.Atoi(strings.TrimSpace(stderr.String()))
	require.NoError(t, err)
	t.Logf("%d changes: %d MiB, first after %v of %v", lines, kib>>10, first.Round(time.Millisecond), took.Round(time.Millisecond))
	return kib << 10
}

// make makes a store with a snapshot "work" over another one.
func (c manyChanges) make(t *testing.T, root, driverName string, n int) {
	s, err := snapshotter.Open(t.Context(), root, snapshotter.Options{Driver: driverName})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	layer := func(key, parent string, write func(*entries, int)) {
		require.NoError(t, s.Create(t.Context(), key, parent))
		r, w := io.Pipe()
		go func() {
			e := &entries{tar: stdtar.NewWriter(w)}
			write(e, n)
			if e.err == nil {
				e.err = e.tar.Close()
			}
			_ = w.CloseWithError(e.err)
		}()
		_, err := s.Apply(t.Context(), key, r, driver.ApplyOptions{})
		require.NoError(t, err)
	}
	layer("below", "", c.base)
	require.NoError(t, s.Commit(t.Context(), "base", "below"))
	layer("work", "base", c.edit)
}
