package kernels

import (
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWrongUsageOfTheScriptIsRefused(t *testing.T) {
	s := newScriptTest(t)
	for _, c := range []struct {
		name, why string
		args      []string
	}{
		{"no program", "no program to run", nil},
		{"an unknown option", "unknown option --what", []string{"--what", "x", s.prog}},
		{"an option without a value", "--suite needs a value", []string{"--suite"}},
		{"a program that does not exist", "no program /nowhere", []string{"/nowhere,-test.v"}},
		{"a file that does not exist", "no file /nowhere", []string{"--add", "/nowhere", s.prog}},
		{"no number", "--memory lots: not a number", []string{"--memory", "lots", s.prog}},
		{"a suite that is a path", "--suite a/b: not a name", []string{"--suite", "a/b", s.prog}},
		{"a suite above the cache", "--suite ..: not a name", []string{"--suite", "..", s.prog}},
		{"a kernel that is a path", "--kernel ../x: not a name", []string{"--kernel", "../x", s.prog}},
		{"a kernel without a name", "--kernel : not a name", []string{"--kernel", "", s.prog}},
		{"a program with a blank in its name", "must have no blanks", []string{s.file("a/b c")}},
		{"a program with a tab in its name", "must have no blanks", []string{s.file("a/b\tc")}},
		{"an argument with a blank", "must have no blanks", []string{s.prog + ",-test.run=a b"}},
		{"a program with a line break in its path", "must be one line", []string{s.file("b\nc/prog")}},
		{"a program named run.list", "has a file run.list of its own", []string{s.file("run.list")}},
		{"a program named out", "has a file out of its own", []string{s.file("out") + ",-test.v"}},
		{"a file named limit", "has a file limit of its own", []string{"--add", s.file("limit"), s.prog}},
		{"a file named parameters", "has a file parameters of its own", []string{"--add", s.file("parameters"), s.prog}},
		{"two programs of one name", "another file is named prog too", []string{s.prog, s.file("other/prog")}},
		{"a parameter of no module", "not of the form MODULE.NAME=VALUE", []string{"--parameter", "metacopy=Y", s.prog}},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, said := runScript(t, s.env, c.args...)
			require.Equal(t, badUsage, status, said)
			require.Contains(t, said, c.why)
			require.Len(t, strings.Split(strings.TrimSpace(said), "\n"), 1)
		})
	}
}

func TestWhatCannotBeHadHereHasAStatusOfItsOwn(t *testing.T) {
	t.Run("no root", func(t *testing.T) {
		s := newScriptTest(t)
		// Another user may not come to the script, so its check is read for him.
		check, err := os.ReadFile("../../scripts/vm/host.sh")
		require.NoError(t, err)
		cmd := exec.CommandContext(t.Context(), "setpriv", "--reuid", "65534", "--clear-groups", "sh", "-s")
		cmd.Dir = "/"
		cmd.Stdin = strings.NewReader("fail() { echo \"$2\"; exit \"$1\"; }\n" + string(check) + "check_host\n")
		cmd.Env = s.env
		out, _ := cmd.CombinedOutput() // its status is looked at
		require.Equal(t, notPossible, cmd.ProcessState.ExitCode(), string(out))
		require.Equal(t, "not root\n", string(out))
	})
	t.Run("no qemu", func(t *testing.T) {
		s := newScriptTest(t)
		s.set("PATH=" + everythingBut(t, "qemu-system-x86_64"))
		s.require(notPossible, "missing programs; install: qemu-system-x86 seabios", s.ownImage()...)
	})
	t.Run("not enough memory", func(t *testing.T) {
		s := newScriptTest(t)
		s.require(notPossible, "not enough memory", s.ownImage("--memory", "99999999")...)
	})
	t.Run("not enough disk", func(t *testing.T) {
		s := newScriptTest(t)
		s.require(notPossible, "not enough disk", s.ownImage("--disk", "99999999")...)
	})
	t.Run("no cache", func(t *testing.T) {
		s := newScriptTest(t)
		require.NoError(t, os.WriteFile(s.cache, nil, 0o644))
		s.require(notPossible, "cannot make "+s.cache, s.ownImage()...)
	})
	t.Run("no sources of apt", func(t *testing.T) {
		s := newScriptTest(t)
		s.fakeArchives("nothing")
		s.require(notPossible, "apt knows no archive of Debian here", "--disk", "1", s.prog)
	})
	t.Run("no archives", func(t *testing.T) {
		s := newScriptTest(t)
		s.fakeArchives("sources")
		s.require(notPossible, "no lists of bookworm in the archives: Failed to fetch", "--disk", "1", s.prog)
	})
}

func TestTheModulesOfAKernelMayNeedZstd(t *testing.T) {
	s := newScriptTest(t)
	s.fakeArchives("all")
	s.fake("modprobe", "#!/bin/sh\necho insmod \"$2/ext4.ko.zst\"\n")
	s.set("PATH=" + s.bin + ":" + everythingBut(t, "zstd"))
	s.require(notPossible, "the modules of 1.0-fake are packed with zstd, which is missing; install: zstd", "--disk", "1", "--kernel", "k", s.prog)
}

func TestArchivesOfDebugSymbolsAreLeftOut(t *testing.T) {
	s := newScriptTest(t)
	s.fakeArchives("sources")
	s.set("FAKE_MIRRORS=debian-debug debian-security debian-security-debug debian")
	s.require(notPossible, "no lists of bookworm", "--disk", "1", s.prog)
	sources, err := os.ReadFile(filepath.Join(s.cache, "apt/bookworm/sources.list"))
	require.NoError(t, err)
	const signed = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://127.0.0.1:9/"
	require.Equal(t, signed+"debian/ bookworm main\n"+signed+"debian-security/ bookworm-security main\n", string(sources))
	s.set("FAKE_MIRRORS=debian-debug")
	require.NoError(t, os.RemoveAll(s.cache))
	s.require(notPossible, "apt knows no archive of Debian here", "--disk", "1", s.prog)
}

func TestTheScriptNeedsNoHome(t *testing.T) {
	s := newScriptTest(t)
	t.Setenv("HOME", "") // so that it is set again at the end
	require.NoError(t, os.Unsetenv("HOME"))
	s.set("LAYERKEEP_VM=")
	s.set("XDG_CACHE_HOME=")
	status, said := runScript(t, s.env, "--help")
	require.Equal(t, ranAll, status, said)
}

func TestWhatTheScriptSaysIsLoggedAtOnce(t *testing.T) {
	s := newScriptTest(t)
	goOn := filepath.Join(s.bin, "go-on")
	s.set("FAKE=waits")
	s.set("FAKE_STATUS=0")
	s.set("FAKE_GO=" + goOn)
	log := func(line string) {
		t.Log(line)
		if strings.HasPrefix(line, "== running 1-prog ") { // the emulator waits for this file
			if err := os.WriteFile(goOn, nil, 0o644); err != nil {
				t.Error(err)
			}
		}
	}
	status, said := runScriptWith(t, log, s.env, s.ownImage("--timeout", "60", "--out", filepath.Join(s.bin, "out"))...)
	require.Equal(t, ranAll, status, said)
}

func TestAKernelInTheCacheNeedsNoArchives(t *testing.T) {
	s := newScriptTest(t)
	s.set("FAKE=ends")
	s.set("FAKE_STATUS=0")
	s.fakeArchives("all")
	s.require(ranAll, "done", "--disk", "1", "--kernel", "k", s.prog)
	fresh := filepath.Join(s.cache, "apt/bookworm/fresh")
	require.NoError(t, os.Chtimes(fresh, stamp, stamp)) // long ago
	s.fakeArchives("sources")
	s.require(ranAll, "done", "--disk", "1", "--kernel", "k", s.prog)
	downloads, err := os.ReadFile(filepath.Join(s.bin, "downloads"))
	require.NoError(t, err)
	require.Equal(t, "download\n", string(downloads))
}

func TestAKernelThatDoesNotBootIsToldFromOneThatDoes(t *testing.T) {
	for _, c := range []struct {
		fake          string
		status        int
		why           string
		boot, timeout string // seconds
	}{
		{"never-boots", noBoot, "the kernel image did not start the programs within 1 s", "1", "60"},
		{"refuses", noBoot, "the kernel image did not boot", "60", "60"},
		{"dies", noBoot, "the machine ended during prog", "60", "60"},
		{"hangs", timeOver, "prog had not ended after 5 s", "60", "5"},
	} {
		t.Run(c.fake, func(t *testing.T) {
			s := newScriptTest(t)
			s.set("FAKE=" + c.fake)
			s.require(c.status, c.why, s.ownImage("--boot", c.boot, "--timeout", c.timeout)...)
		})
	}
	t.Run("a real emulator and no kernel", func(t *testing.T) {
		s := newScriptTest(t)
		if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
			t.Skip("no qemu here")
		}
		require.NoError(t, os.Remove(filepath.Join(s.bin, "qemu-system-x86_64")))
		require.NoError(t, os.WriteFile(s.image, endlessLoop(), 0o644))
		s.require(noBoot, "did not start the programs within 3 s", s.ownImage("--boot", "3", "--memory", "64")...)
	})
}

// An emulated kernel dies now and then while it boots, by a fault of the
// emulator.
func TestAKernelThatDiesWhileItBootsIsBootedAgain(t *testing.T) {
	for _, c := range []struct {
		fake          string
		boots, status int
		why           string
	}{
		{"dies-once", 2, ranAll, "done"},
		{"refuses", 3, noBoot, "the kernel image did not boot"},
		{"dies", 1, noBoot, "the machine ended during prog"}, // the programs may have done it
	} {
		t.Run(c.fake, func(t *testing.T) {
			s := newScriptTest(t)
			boots := filepath.Join(s.bin, "boots")
			s.set("FAKE=" + c.fake)
			s.set("FAKE_STATUS=0")
			s.set("FAKE_BOOTS=" + boots)
			s.require(c.status, c.why, s.ownImage("--boot", "60", "--timeout", "60")...)
			counted, err := os.ReadFile(boots)
			require.NoError(t, err)
			require.Equal(t, strings.Repeat("boot\n", c.boots), string(counted))
		})
	}
}

// endlessLoop is a kernel image whose first instruction jumps to itself.
func endlessLoop() []byte {
	image := make([]byte, 64<<10)
	image[0x1f1] = 1 // sectors of the set-up code
	copy(image[0x200:], "\xeb\xfeHdrS\x0d\x02")
	image[0x211] = 1                        // loaded high
	copy(image[0x22c:], "\xff\xff\xff\x7f") // where an initramfs may end
	return image
}

func TestTheStatusOfTheScriptIsThatOfItsPrograms(t *testing.T) {
	for status, want := range map[string]int{"0": ranAll, "1": programFailed, "137": programFailed} {
		s := newScriptTest(t)
		s.set("FAKE=ends")
		s.set("FAKE_STATUS=" + status)
		out := filepath.Join(t.TempDir(), "out")
		got, said := runScript(t, s.env, s.ownImage("--out", out)...)
		require.Equal(t, want, got, said)
		require.Contains(t, said, "1-prog: exit "+status+" after 3 s: the last word")
		require.FileExists(t, filepath.Join(out, "1-prog.log"))
		s.requireNothingLeft()
	}
}

func TestAFaultThatTheKernelFoundInItselfFailsTheRun(t *testing.T) {
	for line, want := range map[string]int{
		"[   12.3] BUG: kernel NULL pointer dereference, address: 0000000000000008": programFailed,
		"[   12.3] kernel BUG at fs/btrfs/inode.c:12!":                              programFailed,
		"[   12.3] WARNING: CPU: 1 PID: 77 at fs/overlayfs/dir.c:66 ovl_x+0x1/0x2":  programFailed,
		"[   12.3] WARNING: fs/overlayfs/dir.c:66 at ovl_x+0x1/0x2, CPU#1: a/77":    programFailed, // as newer kernels write it
		"[   12.3] watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [a:77]":        ranAll,        // only slow
		"[   12.3] overlayfs: upper fs does not support tmpfile.":                   ranAll,
	} {
		s := newScriptTest(t)
		s.set("FAKE=ends")
		s.set("FAKE_STATUS=0")
		s.set("FAKE_DMESG=" + line)
		out := filepath.Join(t.TempDir(), "out")
		got, said := runScript(t, s.env, s.ownImage("--out", out)...)
		require.Equal(t, want, got, said)
		complaints, err := os.ReadFile(filepath.Join(out, "complaints"))
		require.NoError(t, err)
		require.Equal(t, want == programFailed, strings.Contains(line, strings.TrimSpace(string(complaints))) && len(complaints) > 0)
		require.Equal(t, want == programFailed, strings.Contains(said, "the kernel complained"))
	}
}

func TestASignalLeavesNothing(t *testing.T) {
	// A shell cannot trap what is ignored where it starts, as SIGHUP is under
	// nohup(1). What this process catches is not ignored in those that it starts.
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGHUP)
	defer signal.Stop(caught)
	for sig, status := range map[syscall.Signal]int{syscall.SIGTERM: 143, syscall.SIGINT: 130, syscall.SIGHUP: 129} {
		s := newScriptTest(t)
		s.set("FAKE=never-boots")
		r := s.start(s.ownImage()...)
		s.end(r, sig)
		require.Equal(t, status, r.ProcessState.ExitCode())
		s.requireNothingLeft()
	}
}

func TestSignalsThatComeTogetherLeaveNothing(t *testing.T) {
	s := newScriptTest(t)
	s.set("FAKE=never-boots")
	r := s.start(s.ownImage()...)
	for range 20 {
		_ = r.Process.Signal(syscall.SIGTERM) // it may have ended
	}
	s.end(r, syscall.SIGINT)
	s.requireNothingLeft()
}

func TestTheNextRunRemovesWhatAKilledOneLeft(t *testing.T) {
	s := newScriptTest(t)
	s.set("FAKE=never-boots")
	living, killed := s.start(s.ownImage()...), s.start(s.ownImage()...)
	s.end(killed, syscall.SIGKILL)
	runs := func() []string {
		found, err := filepath.Glob(filepath.Join(s.cache, "runs", "run.*"))
		require.NoError(t, err)
		return found
	}
	require.Len(t, runs(), 2)
	s.set("FAKE=ends")
	s.set("FAKE_STATUS=0")
	status, said := runScript(t, s.env, s.ownImage()...)
	require.Equal(t, ranAll, status, said)
	require.Len(t, runs(), 1, "that of the run that goes on")
	require.False(t, gone(living.emulator))
	s.end(living, syscall.SIGTERM)
	s.requireNothingLeft()
}

func TestRunsSideBySideFetchAKernelOnce(t *testing.T) {
	s := newScriptTest(t)
	s.set("FAKE=ends")
	s.set("FAKE_STATUS=0")
	s.fakeArchives("all")
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			status, said := runScript(t, s.env, "--disk", "1", "--kernel", "k", s.prog)
			if status != ranAll {
				t.Errorf("ended with %d:\n%s", status, said)
			}
		})
	}
	all.Wait()
	downloads, err := os.ReadFile(filepath.Join(s.bin, "downloads"))
	require.NoError(t, err)
	require.Equal(t, "download\n", string(downloads))
	s.requireNothingLeft()
}

// everythingBut makes a directory of links to all programs but one.
func everythingBut(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	for _, from := range []string{"/usr/sbin", "/usr/bin", "/sbin", "/bin"} {
		entries, err := os.ReadDir(from)
		require.NoError(t, err)
		for _, e := range entries {
			if e.Name() != name {
				_ = os.Symlink(filepath.Join(from, e.Name()), filepath.Join(dir, e.Name())) // one of two directories is enough
			}
		}
	}
	return dir
}
