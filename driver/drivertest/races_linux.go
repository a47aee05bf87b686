package drivertest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	. "github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/rmtree"
)

// raceLayer is the layer that a container changes, raceSecret what is in the
// canary's file.
const (
	raceLayer  = driver.ID("raced")
	raceSecret = "the canary's secret"
)

// A raceOp is an operation on a layer that a container changes at full speed.
// Its error does not matter: it can only guess what it finds.
type raceOp struct {
	name string
	// gone: the mount is gone, and the container has it open still.
	gone bool
	// once: the operation cannot be done again once it has been done.
	once bool
	do   func(st *store) error
}

func raceOps() []raceOp {
	shown := func(read func(st *store, buf *bytes.Buffer) error) func(st *store) error {
		return func(st *store) error {
			var buf bytes.Buffer
			err := read(st, &buf)
			require.NotContains(st.t, buf.String(), raceSecret, "a file outside of the layer was read")
			return err
		}
	}
	diff := shown(func(st *store, buf *bytes.Buffer) error {
		_, err := driver.Diff(st.ctx(), st.d, raceLayer, buf, driver.DiffOptions{Warn: func(string, string) {}})
		return err
	})
	view := shown(func(st *store, buf *bytes.Buffer) error {
		v, err := st.d.View(st.ctx(), raceLayer)
		if err != nil {
			return err
		}
		defer v.Close()
		tree, err := ReadView(v)
		for _, n := range tree {
			fmt.Fprint(buf, n)
		}
		return err
	})
	usage := func(st *store) error { _, err := st.d.Usage(st.ctx(), raceLayer); return err }
	apply := func(st *store) error {
		layer := Layer(st.t, File("a/new", "n"), File("b/f", "new"), Whiteout("a/f"), Opaque("b"), Dir("c"), Link("c/l", "b/f"), Whiteout("d"))
		_, err := st.d.ApplyDiff(st.ctx(), raceLayer, bytes.NewReader(layer), driver.ApplyOptions{Fresh: true})
		return err
	}
	seal := func(st *store) error { return st.d.Seal(st.ctx(), raceLayer) }
	remove := func(st *store) error { return st.d.Remove(st.ctx(), raceLayer) }
	onTop := func(st *store) error {
		if err := seal(st); err != nil {
			return err
		}
		err := st.d.Create(st.ctx(), "top", []driver.ID{raceLayer}, driver.CreateOptions{})
		if err != nil {
			return err
		}
		_, err = st.d.ApplyDiff(st.ctx(), "top", bytes.NewReader(Layer(st.t, File("a/f", "top"), Whiteout("b"))), driver.ApplyOptions{})
		return err
	}
	return []raceOp{
		{"Diff", false, false, diff},
		{"View", false, false, view},
		{"Usage", false, false, usage},
		{"Diff", true, false, diff},
		{"View", true, false, view},
		{"Usage", true, false, usage},
		{"ApplyDiff", true, false, apply},
		{"Seal", true, true, seal},
		{"Create and ApplyDiff on it", true, true, onTop},
		{"Remove", true, true, func(st *store) error {
			if err := remove(st); err != nil {
				return err
			}
			return st.d.Cleanup(st.ctx())
		}},
	}
}

// testRaces lets a container swap, rename, link and replace files while each
// operation runs. What is outside of the store stays as it is and is never
// read, and nothing waits for a fifo.
func (s *suite) testRaces(t *testing.T) {
	if !s.can.mounts || !s.can.owners {
		t.Skip("layers cannot be mounted, or devices not made, here")
	}
	for _, op := range raceOps() {
		name := op.name + " of a mounted layer"
		if op.gone {
			name = op.name + " of a layer whose mount is gone"
		}
		t.Run(name, func(t *testing.T) { s.race(t, op) })
	}
}

func (s *suite) race(t *testing.T, op raceOp) {
	canary := filepath.Join(s.Dir, "canary")
	makeCanary(t, canary)
	before := FromPath(t, canary)
	stores, most := 12, 150*time.Millisecond
	if testing.Short() {
		stores, most = 4, 50*time.Millisecond
	}
	var made int64
	for i := range stores {
		made += s.raceOnce(t, op, canary, int64(i), most)
	}
	require.Positive(t, made, "the container changed nothing")
	RequireEqual(t, before, FromPath(t, canary), "the canary")
	require.ErrorIs(t, os.Remove(filepath.Join(canary, "d/frozen")), unix.EPERM, "it is immutable still")
}

func makeCanary(t *testing.T, dir string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "d"), 0o750))
	t.Cleanup(func() { require.NoError(t, rmtree.Remove(dir)) })
	for _, name := range []string{"f", "d/f", "d/frozen"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(raceSecret), 0o640))
	}
	f, err := os.Open(filepath.Join(dir, "d/frozen"))
	require.NoError(t, err)
	defer f.Close()
	if err := AddFlag(int(f.Fd()), unix.STATX_ATTR_IMMUTABLE); err != nil {
		t.Skipf("no file can be made immutable here: %v", err)
	}
}

// raceOnce does the operation on a store of its own, again and again while that
// can be repeated, and returns how many changes the container has made
// meanwhile.
func (s *suite) raceOnce(t *testing.T, op raceOp, canary string, seed int64, most time.Duration) int64 {
	st := s.open(t)
	base := st.layer("base", nil, File("a/f", "f"), File("a/d/f", "f"), File("b/f", "b"), File("d/f", "d"), Symlink("s", "a"))
	st.create(raceLayer, base...)
	st.mustApply(raceLayer, File("a/g", "g"), File("b/d/f", "f"), File("c/f", "c"))
	target := st.mountWritable(raceLayer)
	root, err := unix.Open(target, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	if op.gone {
		require.NoError(t, unix.Unmount(target, unix.MNT_DETACH))
	}
	c := &racer{root: root, outside: canary, random: rand.New(rand.NewSource(seed))}
	stop := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() { c.run(stop) })
	for c.made.Load() == 0 && c.tried.Load() < 1000 { // it is at work
		time.Sleep(time.Millisecond)
	}
	for end := time.Now().Add(most); ; {
		err := op.do(st)
		if time.Now().After(end) || err == nil && op.once {
			break
		}
	}
	close(stop)
	running.Wait()
	require.NoError(t, unix.Close(root))
	require.Zero(t, c.opened.Load(), "a fifo of the layer was opened")
	if !op.gone {
		require.NoError(t, unix.Unmount(target, 0))
	}
	for _, id := range []driver.ID{"top", raceLayer} {
		if err := st.d.Remove(st.ctx(), id); !errors.Is(err, driver.ErrNotFound) {
			require.NoError(t, err, "whatever the container has left can be removed")
		}
	}
	require.NoError(t, st.d.Cleanup(st.ctx()))
	return c.made.Load()
}

// A racer changes the files below a directory as the programs of a container
// can.
type racer struct {
	root    int
	outside string // what links lead to
	random  *rand.Rand
	tried   atomic.Int64
	made    atomic.Int64 // changes
	opened  atomic.Int64 // fifos that somebody has opened for reading
}

func (c *racer) run(stop chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		c.tried.Add(1)
		if c.change() == nil {
			c.made.Add(1)
		}
	}
}

// at returns a random directory of the layer, open, and a name in it. As for a
// container, links lead to nothing outside: the canary is not the racer's to
// change.
func (c *racer) at() (dir int, name string, err error) {
	path := "."
	if c.random.Intn(2) == 0 {
		path = c.name("abcds")
	}
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT}
	dir, err = unix.Openat2(c.root, path, &how)
	if path == "." {
		return dir, c.name("abcds"), err
	}
	return dir, c.name("dfg"), err
}

func (c *racer) name(of string) string {
	i := c.random.Intn(len(of))
	return of[i : i+1]
}

// change makes one change, in directories that are closed afterwards.
func (c *racer) change() error {
	dir, name, err := c.at()
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	toDir, to, err := c.at()
	if err != nil {
		return err
	}
	defer unix.Close(toDir)
	switch what := c.random.Intn(12); what {
	case 0, 1, 2, 3:
		return unix.Renameat2(dir, name, toDir, to, unix.RENAME_EXCHANGE)
	case 4:
		return unix.Renameat2(dir, name, toDir, to, 0)
	case 5:
		return unix.Unlinkat(dir, name, unix.AT_REMOVEDIR*c.random.Intn(2))
	case 6:
		return c.freeze(dir, name)
	default:
		_ = unix.Unlinkat(dir, name, 0)
		return c.make(what, dir, name, toDir, to)
	}
}

func (c *racer) make(what, dir int, name string, fromDir int, from string) error {
	switch what {
	case 7:
		target := c.outside + strings.Repeat("/d", c.random.Intn(2))
		if c.random.Intn(2) == 0 {
			target = strings.Repeat("../", 40) + target[1:]
		}
		return unix.Symlinkat(target, dir, name)
	case 8:
		return unix.Linkat(fromDir, from, dir, name, 0)
	case 9:
		if err := unix.Mknodat(dir, name, unix.S_IFIFO|0o644, 0); err != nil {
			return err
		}
		c.watch(dir, name)
		return nil
	case 10:
		return unix.Mknodat(dir, name, unix.S_IFCHR|0o644, int(unix.Mkdev(1, 3)))
	default:
		if c.random.Intn(2) == 0 {
			return unix.Mkdirat(dir, name, 0o755)
		}
		fd, err := unix.Openat(dir, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
		if err != nil {
			return err
		}
		return unix.Close(fd)
	}
}

// freeze makes a file immutable, if it is one.
func (c *racer) freeze(dir int, name string) error {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return err
	}
	return AddFlag(fd, unix.STATX_ATTR_IMMUTABLE)
}

// watch opens a fifo for writing, which works only while somebody has it open
// for reading.
func (c *racer) watch(dir int, name string) {
	for range 5 {
		fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		var st unix.Stat_t // the operation may have put a file there
		if unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFIFO {
			c.opened.Add(1)
		}
		unix.Close(fd)
	}
}
