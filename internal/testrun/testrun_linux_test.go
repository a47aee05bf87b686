package testrun

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestMain lets the tests run this binary as the command testrun, and as a test
// binary that makes a mess.
func TestMain(m *testing.M) {
	if len(os.Args) < 3 || os.Args[1] != "as" {
		os.Exit(m.Run())
	}
	rest := os.Args[3:]
	switch os.Args[2] {
	case "leader":
		os.Exit(Lead(rest, 0))
	case "watcher":
		os.Exit(Watch(rest, Limits{Silence: 10 * time.Minute, Total: time.Hour}))
	case "impatient watcher":
		os.Exit(Watch(rest, Limits{Silence: 5 * time.Second, Total: time.Hour}))
	case "mess":
		os.Exit(makeMess(rest[0]))
	case "late killer":
		os.Exit(killLate())
	}
}

// as is the command line that runs this binary in one of its roles.
func as(role string, command ...string) []string {
	return append([]string{"/proc/self/exe", "as", role}, command...)
}

// makeMess makes what tests make, says what that is, and then ends as told.
func makeMess(how string) int {
	switch how {
	case "clean":
		return 0
	case "ending":
		if exec.Command("sleep", "0.5").Start() != nil {
			return 2
		}
		return 0
	}
	m, err := newMess()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	fmt.Println("made", m.run, m.temp, m.memory, m.daemon, m.loop)
	switch how {
	case "stay":
		select {}
	case "fail":
		return 3
	}
	return 0
}

// A mess is what a test binary has made.
type mess struct {
	run, temp, memory string
	daemon            int
	loop              string // "-" where no file system can be mounted
}

func newMess() (m mess, err error) {
	m = mess{run: os.Getenv(RunEnv), temp: os.Getenv("TMPDIR"), memory: os.Getenv(MemoryEnv), loop: "-"}
	if m.memory == "" {
		m.memory = "-"
	} else if err := os.Mkdir(filepath.Join(m.memory, "d"), 0o700); err != nil {
		return m, err
	}
	closed := filepath.Join(m.temp, "closed/dir")
	if err := os.MkdirAll(closed, 0o700); err != nil {
		return m, err
	}
	if err := os.Chmod(filepath.Dir(closed), 0); err != nil {
		return m, err
	}
	daemon := exec.Command("sleep", "10000")
	daemon.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	daemon.Stdout = os.Stdout // as many a daemon, which keeps the pipe open
	if err := daemon.Start(); err != nil {
		return m, err
	}
	m.daemon = daemon.Process.Pid
	return m, m.mount()
}

// mount mounts a tmpfs, and in it the image of a file system beside it.
func (m *mess) mount() error {
	tmpfs, target := filepath.Join(m.temp, "tmpfs"), filepath.Join(m.temp, "ext4")
	for _, dir := range []string{tmpfs, target} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
	}
	if unix.Mount("mess", tmpfs, "tmpfs", 0, "size=32m") != nil {
		return nil // the test says so
	}
	image := filepath.Join(tmpfs, "image")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		return err
	}
	if err := os.Truncate(image, 16<<20); err != nil {
		return err
	}
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		return nil
	}
	for _, c := range [][]string{{"mkfs.ext4", "-q", "-F", image}, {"mount", "-o", "loop", image, target}} {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", c[0], err, out)
		}
	}
	loops, err := loopsOf(m.temp)
	if err == nil && len(loops) == 1 {
		m.loop = loops[0]
	}
	return err
}

// A process is this binary in one of its roles.
type process struct {
	*exec.Cmd
	t      *testing.T
	in     *os.File // what out reads from
	out    *bufio.Reader
	errors bytes.Buffer
}

func run(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(args[0], args[1:]...), t: t}
	p.Env = append(os.Environ(), RunEnv+"=", leaderEnv+"=")
	p.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	p.Stderr = &p.errors
	in, out, err := os.Pipe()
	require.NoError(t, err)
	p.Stdout, p.in, p.out = out, in, bufio.NewReader(in)
	require.NoError(t, p.Start())
	require.NoError(t, out.Close())
	t.Cleanup(func() {
		_ = p.Process.Kill() // of what a failed test has left
		_ = p.Wait()
		_ = in.Close()
	})
	return p
}

// made waits until the mess is made.
func (p *process) made() mess {
	p.t.Helper()
	var m mess
	line, err := p.out.ReadString('\n')
	if err != nil {
		_ = p.Wait() // for all that it says
	}
	require.NoError(p.t, err, &p.errors)
	_, err = fmt.Sscanln(line, new(string), &m.run, &m.temp, &m.memory, &m.daemon, &m.loop)
	require.NoError(p.t, err, line)
	if m.loop == "-" {
		p.t.Log("no mounts and loop devices are tested: they cannot be had here")
	}
	return m
}

// end waits for the end and returns the status and all that was said.
func (p *process) end() (code int, said string) {
	p.t.Helper()
	out, err := io.ReadAll(p.out)
	require.NoError(p.t, err)
	_ = p.Wait() // the status says it
	return p.ProcessState.ExitCode(), string(out) + p.errors.String()
}

func requireThere(t *testing.T, m mess) {
	t.Helper()
	require.DirExists(t, filepath.Join(m.temp, "closed"))
	require.True(t, isOf(m.daemon, m.run), "the daemon lives")
	if m.memory != "-" {
		require.DirExists(t, filepath.Join(m.memory, "d"))
	}
	if m.loop != "-" {
		require.True(t, holds(m.loop, m.temp), "the loop device is in use")
		mounts, err := mountsOf(m.temp, nil)
		require.NoError(t, err)
		require.Len(t, mounts, 2)
	}
}

func requireGone(t *testing.T, m mess) {
	t.Helper()
	require.NoDirExists(t, m.run)
	require.NoDirExists(t, m.memory)
	require.NoDirExists(t, filepath.Join(memoryBase(), filepath.Base(m.run)))
	require.False(t, isOf(m.daemon, m.run), "the daemon is gone")
	if m.loop != "-" {
		require.False(t, holds(m.loop, m.temp), "the loop device is free")
	}
	mounts, err := mountsOf(m.temp, nil) // the loop device may be somebody else's by now
	require.NoError(t, err)
	require.Empty(t, mounts)
	left, err := processesOf(m.run)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestTheNextRunRemovesWhatAKilledOneHasLeft(t *testing.T) {
	for name, victims := range map[string]func(p *process, m mess) []int{
		"the leader is killed": func(p *process, _ mess) []int { return []int{p.Process.Pid} },
		"all that could clean up is killed": func(p *process, m mess) []int {
			watcher := parent(parentOf(t, m))
			return []int{watcher, p.Process.Pid}
		},
		"everything but the daemon is killed": func(p *process, m mess) []int {
			binary := parentOf(t, m)
			return []int{parent(binary), binary, p.Process.Pid}
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := run(t, as("leader", as("watcher", as("mess", "stay")...)...)...)
			m := p.made()
			requireThere(t, m)
			for _, pid := range victims(p, m) {
				if pid == p.Process.Pid {
					require.NoError(t, p.Process.Kill())
				} else { // it may have ended with the one before
					require.NoError(t, kill(pid, m.run))
				}
			}
			_ = p.Wait() // it was killed
			code, said := run(t, as("leader", "true")...).end()
			require.Zero(t, code, said)
			requireGone(t, m)
		})
	}
}

// parentOf returns the process that has made the mess.
func parentOf(t *testing.T, m mess) int {
	t.Helper()
	pid := parent(m.daemon)
	require.NotZero(t, pid)
	return pid
}

func TestARunThatGoesOnIsLeftAlone(t *testing.T) {
	p := run(t, as("leader", as("watcher", as("mess", "stay")...)...)...)
	m := p.made()
	code, said := run(t, as("leader", "true")...).end()
	require.Zero(t, code, said)
	requireThere(t, m)
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	code, said = p.end()
	require.NotZero(t, code, said)
	requireGone(t, m)
}

func TestABinaryThatPassesAndLeavesSomethingHasFailed(t *testing.T) {
	if testing.Short() {
		t.Skip("not in short mode: what is left has ten seconds to go")
	}
	p := run(t, as("leader", as("watcher", as("mess", "pass")...)...)...)
	m := p.made()
	code, said := p.end()
	require.Equal(t, 1, code, said)
	require.Contains(t, said, "left behind")
	require.Contains(t, said, filepath.Join(m.temp, "closed"))
	require.Contains(t, said, "process "+strconv.Itoa(m.daemon)+" (sleep 10000)")
	if m.loop != "-" {
		require.Contains(t, said, "loop device "+m.loop)
		require.Contains(t, said, "mount "+filepath.Join(m.temp, "tmpfs"))
	}
	requireGone(t, m)
}

func TestTheStatusOfABinaryIsThatOfTheRun(t *testing.T) {
	code, said := run(t, as("leader", as("watcher", as("mess", "clean")...)...)...).end()
	require.Zero(t, code, said)
	require.Empty(t, said)
	code, said = run(t, as("leader", as("watcher", as("mess", "ending")...)...)...).end()
	require.Zero(t, code, "a process that ends by itself: %s", said)
	p := run(t, as("leader", as("watcher", as("mess", "fail")...)...)...)
	m := p.made()
	code, said = p.end()
	require.Equal(t, 3, code, said)
	requireGone(t, m)
}

func TestABinaryThatHangsIsEndedAndSaysWhere(t *testing.T) {
	p := run(t, as("leader", as("impatient watcher", as("mess", "stay")...)...)...)
	m := p.made()
	code, said := p.end()
	require.NotZero(t, code, said)
	require.Contains(t, said, "test timed out: silent for")
	require.Contains(t, said, "makeMess(", "the stack")
	requireGone(t, m)
}

func TestAReaderThatHasGoneDoesNotEndTheWatcher(t *testing.T) {
	p := run(t, as("leader", as("impatient watcher", as("mess", "stay")...)...)...)
	m := p.made()
	require.NoError(t, p.in.Close())
	_ = p.Wait() // the status says it
	require.Equal(t, 2, p.ProcessState.ExitCode(), "that of the binary: %s", &p.errors)
	requireGone(t, m)
}

func TestABinaryOfNoRunIsRefused(t *testing.T) {
	code, said := run(t, as("watcher", "true")...).end()
	require.Equal(t, 1, code)
	require.Contains(t, said, "not part of a test run")
}

func TestOnlyWhatIsOfADeadRunIsRemoved(t *testing.T) {
	base := filepath.Join(t.TempDir(), "runs")
	stranger := filepath.Join(t.TempDir(), "stranger")
	require.NoError(t, os.MkdirAll(filepath.Join(stranger, "keep"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(stranger, lockName), nil, 0o600))

	alive, err := startIn(base)
	require.NoError(t, err)
	dead, err := startIn(base)
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Join(dead.Dir, "1/below"), 0o700))
	require.NoError(t, os.Symlink(stranger, filepath.Join(dead.Dir, "link")))
	require.NoError(t, dead.leave())
	require.NoError(t, os.Symlink(stranger, filepath.Join(base, "symlink")))
	young, ancient := filepath.Join(base, "young"), filepath.Join(base, "ancient")
	for _, dir := range []string{young, ancient} {
		require.NoError(t, os.Mkdir(dir, 0o700))
	}
	past := time.Now().Add(-2 * unborn)
	require.NoError(t, os.Chtimes(ancient, past, past))
	shared := filepath.Join(base, "shared") // others can write to it: who knows whose it is
	require.NoError(t, os.Mkdir(shared, 0o700))
	require.NoError(t, os.Chmod(shared, 0o777))
	require.NoError(t, os.WriteFile(filepath.Join(shared, lockName), nil, 0o600))

	removed, err := sweepBase(base)
	require.NoError(t, err)
	require.ElementsMatch(t, []string{dead.Dir, ancient}, removed)
	require.NoDirExists(t, dead.Dir)
	require.NoDirExists(t, ancient)
	for _, dir := range []string{alive.Dir, alive.memory, young, shared, filepath.Join(stranger, "keep")} {
		if dir != "" {
			require.DirExists(t, dir)
		}
	}
	if dead.memory != "" { // another run may be removing it, and its lock is taken then
		require.Eventually(t, func() bool {
			_, err := sweepBase(memoryBase())
			require.NoError(t, err)
			_, err = os.Stat(dead.memory)
			return os.IsNotExist(err)
		}, time.Minute, 10*time.Millisecond)
	}
	require.NoError(t, alive.End())
	require.NoDirExists(t, alive.Dir)
}

// leave gives the locks of a run back, as when its leader dies.
func (r *Run) leave() error {
	err := r.lock.Close()
	if r.memory != "" {
		err = errors.Join(err, r.memoryLock.Close())
	}
	return err
}

func TestMemoryOfARunThatCannotBeSeenStaysUntilItIsDead(t *testing.T) {
	base := filepath.Join(t.TempDir(), "runs")
	r, err := startIn(base)
	require.NoError(t, err)
	if r.memory == "" {
		require.NoError(t, r.End())
		t.Skip("there is no directory in memory here")
	}
	file := filepath.Join(r.memory, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	unseen := base + " unseen"
	require.NoError(t, os.Rename(base, unseen)) // as in another mount namespace
	_, err = sweepBase(memoryBase())
	require.NoError(t, err)
	require.FileExists(t, file)

	require.NoError(t, r.leave())
	_, err = sweepBase(memoryBase())
	require.NoError(t, err)
	require.NoDirExists(t, r.memory)
}

func TestADirectoryOfSomebodyElseIsNoPlaceForRuns(t *testing.T) {
	own := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(own, link))
	shared := filepath.Join(t.TempDir(), "shared")
	require.NoError(t, os.Mkdir(shared, 0o700))
	require.NoError(t, os.Chmod(shared, 0o777))
	for _, base := range []string{link, shared} {
		_, err := startIn(base)
		require.ErrorContains(t, err, base)
		removed, err := sweepBase(base)
		require.NoError(t, err)
		require.Empty(t, removed)
	}
}

func TestLocalDirectoriesAreOfOneRunThatEndsWithThem(t *testing.T) {
	one, releaseOne, err := Local()
	require.NoError(t, err)
	two, releaseTwo, err := Local()
	require.NoError(t, err)
	require.Equal(t, filepath.Dir(one), filepath.Dir(two))
	require.NoError(t, os.Mkdir(filepath.Join(one, "d"), 0))
	require.NoError(t, releaseOne())
	require.NoDirExists(t, one)
	require.DirExists(t, two)
	require.NoError(t, releaseTwo())
	require.NoDirExists(t, filepath.Dir(one))
}

func TestPathsOfRunsAreShort(t *testing.T) {
	for _, base := range append(bases()[:1], memoryBase()) {
		require.LessOrEqual(t, len(base), maxBase)
	}
	require.True(t, below("/a/b", "/a") && below("/a", "/a") && !below("/ab", "/a"))
}

func TestSlownessIsAtLeastOneAndBounded(t *testing.T) {
	stop := burn(4)
	defer stop()
	factor := slowness()
	require.GreaterOrEqual(t, factor, 1.0)
	require.LessOrEqual(t, factor, float64(slowest))
	require.NotZero(t, compute())
	require.True(t, strings.HasPrefix(commandOf(os.Getpid()), strconv.Itoa(os.Getpid())))
}
