package kernels

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fakeQemu stands for the emulator. It says its process ID, and then does what
// $FAKE tells: the lines of the console and the results are those of a guest.
const fakeQemu = `#!/bin/sh
for a; do
	case $a in
	file:*/console.log) console=${a#file:} ;;
	file=*/out.img,*) out=${a#file=} && out=${out%%,*} ;;
	esac
done
say() { echo "$*" >>"$console"; }
[ -z "${FAKE_PID-}" ] || echo $$ >"$FAKE_PID"
[ -z "${FAKE_BOOTS-}" ] || echo boot >>"$FAKE_BOOTS"
[ "$FAKE" != dies-once ] || [ $(wc -l <"$FAKE_BOOTS") = 1 ] || FAKE=ends
case $FAKE in
dies-once) say '[    5.3] Oops: int3: 0000' && exit 0 ;;
never-boots) exec sleep 1000 ;;
refuses) echo "qemu: no such kernel" >&2 && exit 1 ;;
hangs) say 'VM-UP fake after 1 s' && say 'VM-RUN 1-prog' && exec sleep 1000 ;;
dies) say 'VM-UP fake after 1 s' && say 'VM-RUN 1-prog' && exit 0 ;;
ends | waits)
	say 'VM-UP fake after 1 s'
	say 'VM-RUN 1-prog'
	[ $FAKE = ends ] || until [ -e "$FAKE_GO" ]; do sleep 0.05; done
	dir=$(mktemp -d)
	echo "1-prog $FAKE_STATUS 3" >"$dir/results"
	echo fake >"$dir/release"
	echo 'the last word' >"$dir/1-prog.log"
	printf '%s\n' "${FAKE_DMESG-}" >"$dir/dmesg.log"
	tar -cf "$out" -C "$dir" .
	rm -rf "$dir"
	say VM-DONE
	;;
esac
`

// fakeAptGet stands for apt-get; $FAKE_APT says what it can do. It counts its
// downloads in the file $FAKE_DOWNLOADS.
const fakeAptGet = `#!/bin/sh
case "$*" in
indextargets*) [ "$FAKE_APT" = nothing ] || printf 'http://127.0.0.1:9/%s/\n' $FAKE_MIRRORS ;;
*update) [ "$FAKE_APT" = all ] || { echo "E: Failed to fetch http://127.0.0.1:9/debian/" >&2 && exit 100; } ;;
*download\ --print-uris*) echo "'http://127.0.0.1:9/k.deb' k.deb 1 SHA256:0" ;;
*download*) echo download >>"$FAKE_DOWNLOADS" && sleep 0.3 && echo deb >k.deb ;;
*) exit 100 ;;
esac
`

// fakeDpkgDeb unpacks a kernel that nothing can boot.
const fakeDpkgDeb = `#!/bin/sh
mkdir -p "$3/boot" "$3/lib/modules/1.0-fake"
echo kernel >"$3/boot/vmlinuz-1.0-fake"
`

// A scriptTest calls scripts/test-vm with a cache and programs of its own.
type scriptTest struct {
	*testing.T
	bin, cache, image, prog string
	env                     []string
}

func newScriptTest(t *testing.T) *scriptTest {
	t.Helper()
	if testing.Short() {
		t.Skip("not in short mode: the script waits for seconds")
	}
	if os.Getuid() != 0 {
		t.Skip("not root: the script has to be")
	}
	for _, tool := range []string{"busybox", "mkfs.ext4", "cpio", "depmod", "setpriv", "flock"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("no %s here", tool)
		}
	}
	dir := t.TempDir()
	s := &scriptTest{T: t, bin: filepath.Join(dir, "bin"), cache: filepath.Join(dir, "cache"), image: filepath.Join(dir, "image"), prog: filepath.Join(dir, "prog")}
	require.NoError(t, os.Mkdir(s.bin, 0o755))
	s.fake("qemu-system-x86_64", fakeQemu)
	require.NoError(t, os.WriteFile(s.image, make([]byte, 4096), 0o644))
	require.NoError(t, os.WriteFile(s.prog, []byte("#!/bin/sh\n"), 0o755))
	s.set("PATH=" + s.bin + ":" + os.Getenv("PATH"))
	s.set("LAYERKEEP_VM=" + s.cache)
	return s
}

func (s *scriptTest) set(variable string) { s.env = append(s.env, variable) }

func (s *scriptTest) fake(name, text string) {
	require.NoError(s, os.WriteFile(filepath.Join(s.bin, name), []byte(text), 0o755))
}

// file makes an empty file in a directory of the test and returns its path.
func (s *scriptTest) file(name string) string {
	s.Helper()
	path := filepath.Join(filepath.Dir(s.bin), name)
	require.NoError(s, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(s, os.WriteFile(path, nil, 0o755))
	return path
}

func (s *scriptTest) fakeArchives(ability string) {
	s.fake("apt-get", fakeAptGet)
	s.fake("apt-cache", "#!/bin/sh\ncase \"$*\" in *show*) echo Package: k ;; esac\n")
	s.fake("dpkg-deb", fakeDpkgDeb)
	s.set("FAKE_APT=" + ability)
	s.set("FAKE_MIRRORS=debian")
	s.set("FAKE_DOWNLOADS=" + s.bin + "/downloads")
}

// ownImage is the options that boot the fake kernel, and the program.
func (s *scriptTest) ownImage(options ...string) []string {
	return append(append([]string{"--image", s.image, "--disk", "1"}, options...), s.prog)
}

// require runs the script, which has to end with the status and to say why in
// its last line, and has to leave nothing.
func (s *scriptTest) require(status int, why string, args ...string) {
	s.Helper()
	got, said := runScript(s.T, s.env, args...)
	require.Equal(s, status, got, said)
	require.Contains(s, lastLine(said), why)
	s.requireNothingLeft()
}

func (s *scriptTest) requireNothingLeft() {
	s.Helper()
	left, err := filepath.Glob(filepath.Join(s.cache, "runs", "run.*"))
	require.NoError(s, err)
	require.Empty(s, left)
}

// A running is a script whose fake emulator hangs.
type running struct {
	*exec.Cmd
	emulator int
	ended    chan struct{}
}

// start starts the script and waits until its emulator runs.
func (s *scriptTest) start(args ...string) *running {
	s.Helper()
	fifo := filepath.Join(s.TempDir(), "pid")
	require.NoError(s, syscall.Mkfifo(fifo, 0o600))
	r := &running{Cmd: exec.CommandContext(s.Context(), script, args...), ended: make(chan struct{})}
	r.Env = append(append(os.Environ(), s.env...), "FAKE_PID="+fifo)
	require.NoError(s, r.Start())
	go func() {
		_ = r.Wait() // the status is looked at by who waits for the end
		close(r.ended)
	}()
	s.Cleanup(func() {
		_ = r.Process.Signal(syscall.SIGTERM) // it may have ended
		<-r.ended
	})
	pid, err := os.ReadFile(fifo) // blocks until the emulator writes it
	require.NoError(s, err)
	r.emulator, err = strconv.Atoi(strings.TrimSpace(string(pid)))
	require.NoError(s, err)
	return r
}

// end sends a signal and waits until the script and its emulator are gone.
func (s *scriptTest) end(r *running, sig syscall.Signal) {
	s.Helper()
	if err := r.Process.Signal(sig); !errors.Is(err, os.ErrProcessDone) {
		require.NoError(s, err)
	}
	select {
	case <-r.ended:
	case <-time.After(time.Minute):
		s.Fatalf("the script did not end on %v", sig)
	}
	require.Eventually(s, func() bool { return gone(r.emulator) }, time.Minute, 10*time.Millisecond, "the emulator is left")
}

// gone reports that a process has ended. One that nobody has waited for counts.
func gone(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return true
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(state, "Z")
}
