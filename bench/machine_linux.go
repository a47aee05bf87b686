package bench

import (
	"bufio"
	"bytes"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// machine tells what the kernel says of the machine. What it does not say stays
// empty.
func machine() Machine {
	m := Machine{Arch: runtime.GOARCH, CPUs: runtime.NumCPU()}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		m.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		m.Memory = int64(info.Totalram) * int64(info.Unit) //nolint:gosec // it fits
	}
	m.OS = strings.Trim(field("/etc/os-release", "PRETTY_NAME", "="), `"`)
	m.CPU = field("/proc/cpuinfo", "model name", ":")
	m.Virtual = strings.Contains(" "+field("/proc/cpuinfo", "flags", ":")+" ", " hypervisor ")
	return m
}

// field returns what a file of lines "NAME SEPARATOR VALUE" says of a name.
func field(path, name, separator string) string {
	raw, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for s := bufio.NewScanner(bytes.NewReader(raw)); s.Scan(); {
		left, right, ok := strings.Cut(s.Text(), separator)
		if ok && strings.TrimSpace(left) == name {
			return strings.TrimSpace(right)
		}
	}
	return ""
}

// load returns the load of the last minute.
func load() float64 {
	raw, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(raw), " ")
	v, _ := strconv.ParseFloat(first, 64) //nolint:errcheck // 0 is as good as any
	return v
}

// cpuTimes are ticks of all processors since the start of the machine.
type cpuTimes struct{ all, steal float64 }

// stealColumn is that of /proc/stat, see proc(5).
const stealColumn = 8

func readCPU() (t cpuTimes) {
	raw, err := os.ReadFile("/proc/stat")
	if err != nil {
		return t
	}
	line, _, _ := strings.Cut(string(raw), "\n")
	for i, f := range strings.Fields(line) {
		v, err := strconv.ParseFloat(f, 64)
		if err != nil || i > stealColumn {
			continue
		}
		t.all += v
		if i == stealColumn {
			t.steal = v
		}
	}
	return t
}

func (t cpuTimes) stealSince(before cpuTimes) float64 {
	if t.all <= before.all {
		return 0
	}
	return (t.steal - before.steal) / (t.all - before.all)
}
