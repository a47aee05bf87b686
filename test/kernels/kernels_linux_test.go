package kernels

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	full    = flag.Bool("full", false, "all suites on all kernels, and other file systems and kernel defaults")
	long    = flag.Bool("long", false, "with -full: leave nothing out on any kernel, which takes hours")
	update  = flag.Bool("update", false, "with -full or -aufs: write what came of it into docs/kernels.md")
	only    = flag.String("only", "", "run only this suite, such as smoke")
	chosen  = flag.String("kernels", "", "run only these machines, such as 6.1,host; with -update the other columns stay")
	aufsDir = flag.String("aufs", "", "run the suite of aufs on a kernel built with this checkout of aufs-standalone")
)

// here is this machine's own kernel.
var here = machine{name: "host"}

// kernels are the releases of Debian that are booted, oldest first.
var kernels = []machine{
	{"5.10", []string{"--suite", "bullseye"}},
	{"6.1", []string{"--suite", "bookworm"}},
	{"6.12", []string{"--suite", "trixie"}},
	{"sid", []string{"--suite", "sid"}},
}

// changedDefaults is a kernel whose overlay is set as some distributions set
// it.
var changedDefaults = machine{"6.12 with changed defaults", []string{
	"--suite", "trixie",
	"--parameter", "overlay.redirect_dir=Y", "--parameter", "overlay.metacopy=Y",
	"--parameter", "overlay.index=Y", "--parameter", "overlay.xino_auto=Y", "--parameter", "overlay.nfs_export=Y",
}}

// The file systems of the matrix with the backends on each. The usual ones only
// show, where an unusual one fails, whether its difference is the reason.
var (
	usualFileSystems   = []string{"ext4:overlay2+vfs", "xfs:overlay2+vfs", "btrfs:overlay2+btrfs+vfs"}
	unusualFileSystems = []string{"ext4-no-dir-index:overlay2+vfs", "xfs-no-reflink:overlay2+vfs", "btrfs-mixed:overlay2+btrfs+vfs"}
)

const place = "/tmp/smoke" // of the smoke script's stores in an emulated machine

func smoke(dir, stacks string, backends ...string) run {
	return run{"smoke", "smoke", append([]string{"smoke", dir, stacks}, backends...)}
}

func onFileSystems(label, stacks string, items ...string) run {
	return run{"smoke", "filesystems", append([]string{label, stacks}, items...)}
}

// A round runs machines as subtests and collects what they said.
type round struct {
	programs *programs
	// together: as many machines at a time as go test runs parallel tests.
	together bool

	mu      sync.Mutex
	goldens *goldens
	columns []*column
	// parts of the document get the columns in these orders, once each is complete.
	parts map[string][]string
}

// on runs programs on a machine, each as a subtest with the tests that ran
// there as subtests in turn.
func (s *round) on(t *testing.T, m machine, runs ...run) {
	runs = slices.DeleteFunc(runs, func(r run) bool { return *only != "" && r.suite != *only })
	if *chosen != "" && !slices.Contains(strings.Split(*chosen, ","), m.name) {
		return
	}
	if len(runs) == 0 {
		return
	}
	c := &column{name: m.name}
	s.columns = append(s.columns, c)
	t.Run(m.name, func(t *testing.T) {
		if s.together {
			t.Parallel()
		}
		release, logs := m.execute(t, s.programs, runs)
		t.Logf("kernel %s", release)
		s.mu.Lock()
		defer s.mu.Unlock()
		c.release = release
		for _, l := range logs {
			c.addLog(l)
			s.goldens.add(m.name, l.golden)
			l.replay(t)
		}
		if *update {
			s.write(t, c)
		}
	})
}

// write puts a column into the part of the document that it belongs to: at
// once, as other machines may take hours, or never end.
func (s *round) write(t *testing.T, c *column) {
	t.Helper()
	require.Empty(t, *only, "%s is not written: only a part ran", document)
	for name, order := range s.parts {
		if slices.Contains(order, c.name) {
			require.NoError(t, writeColumn(document, name, c, order, time.Now()))
		}
	}
}

// replay gives every test of a log as a subtest, with what it said.
func (l suiteLog) replay(t *testing.T) {
	t.Run(l.suite, func(t *testing.T) {
		bad := false
		for _, r := range l.shown() {
			bad = bad || r.end == failed
			t.Run(r.name, func(t *testing.T) {
				switch r.end {
				case failed:
					t.Errorf("failed there:\n%s", lastLines(strings.Join(r.output, "\n"), 60))
				case skipped:
					t.Skip(strings.Join(r.output, "\n"))
				}
			})
		}
		if l.status != 0 && !bad {
			t.Errorf("ended with %d:\n%s", l.status, l.tail(40))
		}
	})
}

// ours are digests of what is written by Layerkeep alone. A change that makes
// them others changes layers that people have: it has to be meant.
var ours = map[string]string{
	"diff":       "344fc87ece8e3f3a647b5382c2382cba667847af48efd4d5ee2205f554405ab9",
	"diff-moved": "120682f0dd1e39f4c24f2fa5a15bcb32e3cd31ba1d9d6eaf0b6ff2ea235c2562",
	"export":     "2744d22c85e4023acf643ba0ceed02c3ed7986ec53d7729ef8e856e8d170cfc8",
}

func (s *round) requireSameDigests(t *testing.T) {
	t.Run("trees and diffs are the same everywhere", func(t *testing.T) {
		if len(s.goldens.seen) == 0 {
			t.Skip("no machine ran")
		}
		s.goldens.add("the machines before", ours)
		require.Empty(t, s.goldens.differences())
	})
}

func requireRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("not root: emulated machines are run once, as root")
	}
	if testing.Short() {
		t.Skip("emulated machines take minutes")
	}
}

func TestKernels(t *testing.T) {
	requireRoot(t)
	if *full || *aufsDir != "" {
		t.Skip("the flags ask for another run")
	}
	s := &round{goldens: newGoldens(), programs: build(t, []string{"mount", "overlay2"}, []int{1, 60})}
	s.on(t, here, smoke(filepath.Join(t.TempDir(), "smoke"), "1", "overlay2", "vfs"))
	for i, m := range kernels[:3] {
		runs := []run{smoke(place, "1+60", "overlay2")}
		if i == 0 { // vfs asks little of a kernel, and nothing new
			runs = append(runs, smoke(place, "1", "vfs"))
		}
		s.on(t, m, append(runs, s.programs.shortTests("-test.skip="+slow+"|"+slower)...)...)
	}
	s.requireSameDigests(t)
}

func TestAllKernels(t *testing.T) {
	requireRoot(t)
	if !*full {
		t.Skip("make test-kernels runs every suite on every kernel")
	}
	packages := []string{"mount", "overlay2", "btrfs", "vfs", "aufs", "snapshotter", "tar", "diff"}
	others, more, fileSystems := "1", []string{"-test.skip=" + slow}, unusualFileSystems
	if *long {
		others, more, fileSystems = "1+60+130+500", nil, append(usualFileSystems, fileSystems...)
	}
	// An emulated machine leaves a part of two processors idle.
	s := &round{goldens: newGoldens(), programs: build(t, packages, []int{1, 60, 130, 500}), together: true}
	otherDisks := machine{"6.1 on other file systems", kernels[1].options}
	s.parts = map[string][]string{"all suites": namesOf(append(slices.Clone(kernels), here)), "file systems and defaults": namesOf([]machine{otherDisks, changedDefaults})}
	t.Run("on", func(t *testing.T) {
		for _, m := range kernels {
			s.on(t, m, allSuites(s.programs, place, others, more...)...)
		}
		s.on(t, here, allSuites(s.programs, filepath.Join(t.TempDir(), "smoke"), "1+60+130+500")...)
		s.on(t, otherDisks, onFileSystems("-", "1", fileSystems...))
		s.on(t, changedDefaults, append([]run{smoke(place, "1+60", "overlay2")}, s.programs.shortTests(more...)[:2]...)...)
	})
	s.requireSameDigests(t)
	require.NotEmpty(t, s.columns, "no machine is called %q", *chosen)
}

func namesOf(machines []machine) (names []string) {
	for _, m := range machines {
		names = append(names, m.name)
	}
	return names
}

// allSuites are the smoke script on the three backends and the short suites
// with more arguments. How many layers one mount can have is a question for
// overlay2 alone; fewer will do for the others where time is short.
func allSuites(p *programs, dir, others string, more ...string) []run {
	runs := []run{smoke(dir, "1+60+130+500", "overlay2"), smoke(dir, others, "vfs"), onFileSystems("smoke", others, "btrfs:btrfs")}
	return append(runs, p.shortTests(more...)...)
}

func TestAufs(t *testing.T) {
	requireRoot(t)
	if *aufsDir == "" {
		t.Skip("make test-aufs AUFS=DIR runs the whole suite of aufs on a kernel that has it")
	}
	s := &round{goldens: newGoldens(), programs: build(t, []string{"aufs"}, []int{1, 60}), parts: map[string][]string{"aufs": {"aufs"}}}
	whole := run{"aufs", "aufs.test", []string{"-test.v", "-test.timeout=90m"}}
	s.on(t, machine{"aufs", []string{"--aufs", *aufsDir, "--limit", "7200"}}, smoke(place, "1+60", "aufs", "overlay2"), whole)
	s.requireSameDigests(t)
}
