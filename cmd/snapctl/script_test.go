package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/driver/all"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/mount"
)

// The scripts of testdata/script run for overlay2, and those that tell
// something of it for each other backend: in a temporary directory or, where
// the backend does not work there, on a btrfs. They run on a store that each
// command opens and, with two of the backends, on one that 'snapctl serve' has
// open all the time. They have $ROOT, the store; $SNAPCTL_ROOT names it too.
//
// Conditions: [mount] mounting works, as root or in a user namespace;
// [hostroot] root of the machine; [driver:NAME] the backend under test;
// [writable] it mounts writable snapshots; [quota] it limits sizes; [rootless]
// it works in a user namespace; [borrows] it can stand on the layers of an
// additional store; [served] a service has the store.
//
// Commands: see scriptParams.commands.
func TestScripts(t *testing.T) {
	for _, b := range all.Backends() {
		for _, way := range []string{"", "/served"} {
			t.Run(b.Name+way, func(t *testing.T) {
				if testing.Short() && b.Name+way != "overlay2" {
					t.Skip("not in short mode: overlay2 that has the store by itself stands for all there")
				}
				if way != "" && !isHostRoot() {
					t.Skip("not root of the machine: a service does the same for all users, and has tests of its own without root")
				}
				if way != "" && b.Name != "overlay2" && b.Name != "btrfs" {
					t.Skip("through a service, overlay2 and btrfs stand for all: the backends are far below it")
				}
				dir, props, borrows := scriptDir(t, b)
				p := scriptParams{driver: b.Name, props: props, borrows: borrows, served: way != "", services: new(sync.Map)}
				testscript.Run(t, testscript.Params{
					Files:              scriptsFor(t, b.Name),
					WorkdirRoot:        dir,
					Setup:              p.setUp,
					Condition:          p.condition,
					Cmds:               p.commands(),
					RequireUniqueNames: true,
				})
			})
		}
	}
}

// scriptParams say how scripts run.
type scriptParams struct {
	driver string
	props  driver.Properties
	served bool
	// borrows: the backend is a driver.Borrower.
	borrows bool
	// services are those running, by their roots.
	services *sync.Map
}

// asksOfTheBackend is in scripts that do not do the same whatever the backend
// is.
var asksOfTheBackend = regexp.MustCompile(`\[!?(driver:\w+|writable|quota|borrows|rootless)\]|\$DRIVER`)

// onAllBackends are scripts in which each backend does something of its own all
// the same.
var onAllBackends = []string{"mount.txtar", "gc.txtar", "check.txtar", "repair.txtar"}

// notInShort are scripts that take seconds, and tell of single commands what
// the others do not need.
var notInShort = []string{"damaged.txtar", "nested.txtar", "readonly.txtar", "repair.txtar", "store.txtar", "usage.txtar"}

// scriptsFor returns the scripts that tell something of a backend: all for
// overlay2, for the others those that ask what the backend is or can.
func scriptsFor(t *testing.T, backend string) (scripts []string) {
	t.Helper()
	all, err := filepath.Glob("testdata/script/*.txtar")
	require.NoError(t, err)
	for _, path := range all {
		if testing.Short() && slices.Contains(notInShort, filepath.Base(path)) {
			continue
		}
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		if backend == "overlay2" || slices.Contains(onAllBackends, filepath.Base(path)) || asksOfTheBackend.Match(text) {
			scripts = append(scripts, path)
		}
	}
	require.NotEmpty(t, scripts)
	return scripts
}

// scriptDir finds a directory in which the backend works, and what it can
// there.
func scriptDir(t *testing.T, b all.Backend) (_ string, _ driver.Properties, borrows bool) {
	t.Helper()
	dir := t.TempDir()
	props, borrows, err := openedIn(t, b, dir)
	if errors.Is(err, driver.ErrUnsupported) {
		t.Logf("no directory for backend %s: %v", b.Name, err)
		dir = fstest.Scratch(t, fstest.Btrfs)
		props, borrows, err = openedIn(t, b, dir)
	}
	if errors.Is(err, driver.ErrUnsupported) {
		t.Skipf("backend %s does not work here: %v", b.Name, err)
	}
	require.NoError(t, err)
	return dir, props, borrows
}

func openedIn(t *testing.T, b all.Backend, dir string) (_ driver.Properties, borrows bool, _ error) {
	t.Helper()
	root := filepath.Join(dir, "probe")
	d, err := b.New(t.Context(), root, driver.Options{})
	if err != nil {
		return driver.Properties{}, false, err
	}
	_, borrows = d.(driver.Borrower)
	return d.Properties(), borrows, errors.Join(d.Close(), os.RemoveAll(root))
}

func (p scriptParams) setUp(env *testscript.Env) error {
	env.Setenv("ROOT", filepath.Join(env.WorkDir, "store"))
	env.Setenv(rootEnv, filepath.Join(env.WorkDir, "store"))
	env.Setenv(driverEnv, p.driver)
	env.Setenv("TMPDIR", filepath.Join(env.WorkDir, ".tmp"))
	env.Setenv("DRIVER", p.driver)
	env.Setenv("SOURCE_DATE_EPOCH", "")
	env.Setenv(addressEnv, "")
	env.Setenv(additionalEnv, "")
	env.Defer(func() { unmountBelow(env.WorkDir) })
	if err := os.MkdirAll(filepath.Join(env.WorkDir, ".tmp"), 0o700); err != nil || !p.served {
		return err
	}
	return p.serve(env.Getenv("ROOT"), env.Defer, env.T().Fatal)
}

// serve starts a service of the store in root, which the commands of the script
// find by themselves. It ends with the script.
func (p scriptParams) serve(root string, later func(func()), fatal func(...any), additional ...string) error {
	var more []string
	for _, dir := range additional {
		more = append(more, "--additional", dir)
	}
	service, err := serveFor(root, p.driver, more...)
	if err != nil {
		return err
	}
	p.services.Store(root, service)
	later(func() {
		if s, running := p.services.LoadAndDelete(root); running {
			if err := s.(*served).stop(); err != nil {
				fatal(err)
			}
		}
	})
	return nil
}

// unmountBelow unmounts what a script that failed left mounted.
func unmountBelow(dir string) {
	out, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return
	}
	targets := []string{}
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) > 1 && within(f[1], dir) {
			targets = append(targets, f[1])
		}
	}
	for _, target := range slices.Backward(targets) {
		_ = mount.Unmount(target) // the test fails on what stays, when it removes the directory
	}
}

func (p scriptParams) condition(cond string) (bool, error) {
	name, isDriver := strings.CutPrefix(cond, "driver:")
	switch {
	case isDriver:
		return name == p.driver, nil
	case cond == "mount":
		return canMount(), nil
	case cond == "hostroot":
		return isHostRoot(), nil
	case cond == "writable":
		return p.props.MountsWritable, nil
	case cond == "quota":
		return p.props.Quota, nil
	case cond == "borrows":
		return p.borrows, nil
	case cond == "served":
		return p.served, nil
	case cond == "rootless":
		return p.props.Rootless, nil
	default:
		return false, fmt.Errorf("unknown condition %q", cond)
	}
}

// commands are the commands that the scripts have besides testscript's own.
func (p scriptParams) commands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"fails":     scriptFails,
		"layer":     scriptLayer,
		"oci":       scriptOCI,
		"demoimage": scriptDemoImage,
		"damage":    scriptDamage,
		"truncate":  scriptTruncate,
		"lock":      scriptLock,
		"same":      scriptSame,
		"empty":     scriptEmpty,
		"serve":     p.scriptServe,
		"unserve":   p.scriptUnserve,
	}
}

// fails CODE COMMAND...: the command exits with the code and says why in one
// line on standard error.
func scriptFails(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: fails CODE COMMAND...")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	if exit, ok := err.(*exec.ExitError); ok {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if fmt.Sprint(code) != args[0] {
		ts.Fatalf("exit code %d, not %s", code, args[0])
	}
	stderr := ts.ReadFile("stderr")
	if args[1] == "snapctl" && (strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "snapctl: ")) {
		ts.Fatalf("standard error is not one line of snapctl's: %q", stderr)
	}
}

// lock COMMAND...: runs the script's snapctl command line while another process
// (this one) has the store open; the command must come with its own
// expectation.
func scriptLock(ts *testscript.TestScript, neg bool, args []string) {
	a := &app{streams: streams{Err: os.Stderr}}
	a.global = globalOptions{root: ts.Getenv(rootEnv), driver: ts.Getenv(driverEnv)}
	s, err := a.openHere(context.Background(), lockTimeout)
	ts.Check(err)
	defer func() { ts.Check(s.Close()) }()
	scriptFails(ts, neg, args)
}

// serve [DIR...]: starts a service of the store $SNAPCTL_ROOT, with these
// additional ones, and sets $SOCKET.
func (p scriptParams) scriptServe(ts *testscript.TestScript, _ bool, args []string) {
	root := ts.Getenv(rootEnv)
	ts.Check(p.serve(root, ts.Defer, func(args ...any) { ts.Fatalf("%v", args) }, args...))
	s, _ := p.services.Load(root)
	ts.Setenv("SOCKET", s.(*served).address)
}

// unserve [kill]: ends the service of the store $SNAPCTL_ROOT.
func (p scriptParams) scriptUnserve(ts *testscript.TestScript, _ bool, args []string) {
	s, running := p.services.LoadAndDelete(ts.Getenv(rootEnv))
	switch {
	case !running:
		ts.Fatalf("no service of %s", ts.Getenv(rootEnv))
	case len(args) > 0:
		ts.Check(s.(*served).kill())
	default:
		ts.Check(s.(*served).stop())
	}
}

// same FILE FILE: both have the same bytes.
func scriptSame(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: [!] same FILE FILE")
	}
	if same := ts.ReadFile(args[0]) == ts.ReadFile(args[1]); same == neg {
		ts.Fatalf("%s and %s: same is %v", args[0], args[1], same)
	}
}

// empty DIR: nothing is in it.
func scriptEmpty(ts *testscript.TestScript, neg bool, args []string) {
	for _, dir := range args {
		entries, err := os.ReadDir(ts.MkAbs(dir))
		ts.Check(err)
		if (len(entries) == 0) == neg {
			ts.Fatalf("%s holds %v", dir, entries)
		}
	}
}
