package large

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

var large = flag.Bool("large", false, "make the trees as large as docs/limits.md says")

// A tree is something large that a container leaves in its root.
type tree struct {
	name string
	// make makes it in a directory, with n of what it is large in.
	make func(t *testing.T, dir string, n int)
	// few and many are n, many with -large.
	few, many int
	// changes is how many changes there are, that of the root directory counted.
	changes func(n int) int
}

const holes = "MiB of holes"

var trees = []tree{
	{"levels", makeLevels, 2000, 100_000, func(n int) int { return n + 2 }},
	{"names", makeNames, 20_000, 5_000_000, func(n int) int { return n + 2 }},
	{holes, makeHoles, 300, 16 << 10, func(int) int { return 2 }},
}

// makeLevels makes a directory in each directory, and a file in the last one.
func makeLevels(t *testing.T, dir string, n int) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	for range n {
		require.NoError(t, unix.Mkdirat(fd, "d", 0o755))
		below, err := unix.Openat(fd, "d", unix.O_PATH|unix.O_CLOEXEC, 0)
		require.NoError(t, errors.Join(err, unix.Close(fd)))
		fd = below
	}
	makeFile(t, fd, "file")
	require.NoError(t, unix.Close(fd))
}

// makeNames makes empty files in one directory.
func makeNames(t *testing.T, dir string, n int) {
	require.NoError(t, os.Mkdir(filepath.Join(dir, "names"), 0o755))
	fd, err := unix.Open(filepath.Join(dir, "names"), unix.O_PATH|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	for i := range n {
		makeFile(t, fd, fmt.Sprintf("name %d", i))
	}
	require.NoError(t, unix.Close(fd))
}

func makeFile(t *testing.T, dir int, name string) {
	fd, err := unix.Openat(dir, name, unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
	require.NoError(t, err)
	require.NoError(t, unix.Close(fd))
}

// makeHoles makes a file that has a few bytes at its beginning, its middle and
// its end alone.
func makeHoles(t *testing.T, dir string, n int) {
	f, err := os.Create(filepath.Join(dir, "holes"))
	require.NoError(t, err)
	size := int64(n) << 20
	for _, at := range []int64{0, size / 2, size - 4} {
		_, err := f.WriteAt([]byte("data"), at)
		require.NoError(t, err)
	}
	require.NoError(t, f.Close())
}

// mostMemory is what a command may have resident, in MiB.
const mostMemory = 1200

func TestLargeTreesGoInAndOut(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root: it mounts snapshots")
	}
	if testing.Short() {
		t.Skip("not in short mode: it makes tens of thousands of files")
	}
	snapctl := filepath.Join(t.TempDir(), "snapctl")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", snapctl, "../../cmd/snapctl")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	for _, backend := range []string{"overlay2", "vfs", "btrfs"} {
		t.Run(backend, func(t *testing.T) {
			for _, one := range trees {
				t.Run(one.name, func(t *testing.T) { inAndOut(t, snapctl, backend, one) })
			}
		})
	}
}

func inAndOut(t *testing.T, snapctl, backend string, one tree) {
	dir, n := t.TempDir(), one.few
	if *large {
		n = one.many
	}
	if backend == "btrfs" {
		dir = fstest.ScratchSize(t, fstest.Btrfs, map[bool]int{false: 1 << 10, true: 16 << 10}[*large])
	}
	s := &store{t: t, snapctl: snapctl, root: filepath.Join(dir, "store"), driver: backend}
	target := filepath.Join(dir, "target")
	require.NoError(t, os.Mkdir(target, 0o700))
	t.Cleanup(func() { _ = unix.Unmount(target, unix.MNT_DETACH) })

	s.run("prepare", nil, nil, "box")
	s.run("mount", nil, nil, "box", target)
	start := time.Now()
	one.make(t, target, n)
	t.Logf("%d %s made in %v", n, one.name, time.Since(start).Round(time.Millisecond))
	s.run("umount", nil, nil, target)
	s.run("commit", nil, nil, "done", "box")

	var changes lineCounter
	s.run("changes", nil, &changes, "done")
	require.Equal(t, one.changes(n), int(changes))
	first, second := sha256.New(), sha256.New()
	// Each command has its store for itself, so the layer goes to another one.
	other := *s
	other.root = filepath.Join(dir, "other")
	other.run("prepare", nil, nil, "again")
	from, to := io.Pipe()
	written := make(chan struct{})
	go func() {
		defer close(written)
		s.run("diff", nil, io.MultiWriter(first, to), "done")
		_ = to.Close()
	}()
	other.run("apply", bufio.NewReaderSize(from, 1<<20), nil, "again", "-")
	_ = from.Close() // if it has failed
	<-written
	other.run("diff", nil, second, "again")
	require.Equal(t, hex.EncodeToString(first.Sum(nil)), hex.EncodeToString(second.Sum(nil)))
	if one.name == holes {
		other.requireHoles()
	}
	s.removeAll("done")
	other.removeAll("again")
}

// A store is a directory that snapctl works on.
type store struct {
	t                     *testing.T
	snapctl, root, driver string
}

// run runs a command, which must succeed in little memory, and returns what it
// printed.
func (s *store) run(name string, in io.Reader, out io.Writer, args ...string) string {
	cmd := exec.CommandContext(s.t.Context(), s.snapctl, append([]string{"--root", s.root, "--driver", s.driver, "-q", name}, args...)...)
	var text, said bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &text, &said
	if out != nil {
		cmd.Stdout = out
	}
	start := time.Now()
	err := cmd.Run()
	if err != nil {
		s.t.Errorf("snapctl %s: %v: %s", name, err, said.String())
		return ""
	}
	usage, _ := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	memory := usage.Maxrss >> 10
	s.t.Logf("%-8s %10v, processor %10v, %5d MiB", name, time.Since(start).Round(time.Millisecond),
		(cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Round(time.Millisecond), memory)
	if memory > mostMemory {
		s.t.Errorf("snapctl %s took %d MiB", name, memory)
	}
	return text.String()
}

// removeAll removes the one snapshot of the store.
func (s *store) removeAll(key string) {
	s.run("rm", nil, nil, key)
	s.run("gc", nil, nil)
	left, err := os.ReadDir(filepath.Join(s.root, s.driver))
	require.NoError(s.t, err)
	for _, e := range left {
		require.True(s.t, strings.HasPrefix(e.Name(), "."), e.Name())
	}
}

// requireHoles requires that no file of the store takes more than a few blocks.
func (s *store) requireHoles() {
	require.NoError(s.t, filepath.WalkDir(filepath.Join(s.root, s.driver), func(path string, e os.DirEntry, err error) error {
		if err != nil || e.Name() != "holes" {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		used := info.Sys().(*syscall.Stat_t).Blocks * 512
		require.Less(s.t, used, int64(1<<20), "%s of %d bytes", path, info.Size())
		return nil
	}))
}

// A lineCounter counts the lines that are written to it.
type lineCounter int

func (c *lineCounter) Write(p []byte) (int, error) {
	*c += lineCounter(bytes.Count(p, []byte("\n")))
	return len(p), nil
}
