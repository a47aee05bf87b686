package privilege

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"
)

// asChild makes the test binary the process that gives up.
const asChild = "LAYERKEEP_PRIVILEGE_TEST"

func TestMain(m *testing.M) {
	if os.Getenv(asChild) == "" {
		os.Exit(m.Run())
	}
	if errno, err := strconv.Atoi(os.Getenv(asChild)); err == nil && errno > 0 {
		if err := refuse(uint32(errno), unix.SYS_PRCTL, unix.SYS_CAPGET, unix.SYS_CAPSET); err != nil {
			panic(err)
		}
	}
	if err := GiveUp(); err != nil {
		panic(err)
	}
	tasks, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil {
		panic(err)
	}
	for _, path := range append(tasks, "/proc/self/status") {
		status, err := os.ReadFile(path)
		if err != nil {
			continue // a thread that has ended
		}
		os.Stdout.Write(status)
	}
	out, err := exec.Command("cat", "/proc/self/status").Output()
	if err != nil {
		panic(err)
	}
	os.Stdout.Write(out)
	if err := GiveUp(); err != nil { // there is nothing left to give up
		panic(err)
	}
}

// refuse has the kernel answer system calls of all threads with an error, as a
// sandbox does.
func refuse(errno uint32, calls ...uint32) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	filter := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}} // seccomp_data.nr
	for _, nr := range calls {
		filter = append(filter,
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: nr},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | errno})
	}
	filter = append(filter, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if _, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program))); e != 0 {
		return e
	}
	return nil
}

// statuses are the fields of each status that a child has written.
func statuses(t *testing.T, how string) (all []map[string]string) {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), asChild+"="+how)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	require.NoError(t, err)
	for s := bufio.NewScanner(strings.NewReader(string(out))); s.Scan(); {
		key, value, _ := strings.Cut(s.Text(), ":")
		if key == "Name" {
			all = append(all, map[string]string{})
		}
		all[len(all)-1][key] = strings.TrimSpace(value)
	}
	return all
}

func mask(t *testing.T, hex string) (mask uint64) {
	t.Helper()
	mask, err := strconv.ParseUint(hex, 16, 64)
	require.NoError(t, err)
	return mask
}

func TestAllThreadsAndProgramsHaveNoMoreThanIsNeeded(t *testing.T) {
	var allowed uint64
	for _, v := range needed {
		allowed |= 1 << v
	}
	status, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	before := map[string]uint64{}
	for line := range strings.Lines(string(status)) {
		if key, value, _ := strings.Cut(line, ":"); strings.HasPrefix(key, "Cap") {
			before[key] = mask(t, strings.TrimSpace(value))
		}
	}
	all := statuses(t, "free")
	require.GreaterOrEqual(t, len(all), 4, "threads, the process and a program")
	for _, s := range all {
		require.Equal(t, "1", s["NoNewPrivs"])
		for _, set := range []string{"CapEff", "CapPrm"} {
			require.Equal(t, before[set]&allowed, mask(t, s[set]), "%s of %s", set, s["Name"])
		}
		if before["CapEff"]&(1<<cap.SETPCAP) != 0 {
			require.Equal(t, before["CapBnd"]&allowed, mask(t, s["CapBnd"]), "of %s", s["Name"])
		}
	}
	if os.Geteuid() == 0 {
		require.NotZero(t, mask(t, all[0]["CapEff"])&(1<<unix.CAP_CHOWN))
	}
}

func TestWhatASandboxForbidsIsNotGivenUp(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EPERM, unix.EACCES, unix.ENOSYS} {
		require.NotEmpty(t, statuses(t, strconv.Itoa(int(errno))), errno)
	}
}
