package layerdir

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// A namespace is a mount namespace, as seen by one of the processes in it.
type namespace struct {
	pid   int
	table []byte // the mount table of the process, see proc_pid_mountinfo(5)
}

// otherNamespaces returns every mount namespace that has a process, except the
// namespace of this thread. It skips processes that this process may not
// inspect.
func otherNamespaces() ([]namespace, error) {
	own, err := os.Readlink("/proc/thread-self/ns/mnt")
	if err != nil {
		return nil, err
	}
	processes, err := processes()
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{own: true}
	var found []namespace
	for _, pid := range processes {
		name, err := os.Readlink(procPath(pid, "ns/mnt"))
		if err == nil && seen[name] || isHidden(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		table, err := os.ReadFile(procPath(pid, "mountinfo"))
		if isHidden(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		seen[name] = true
		found = append(found, namespace{pid, table})
	}
	return found, nil
}

// NamespaceLives reports whether a process is in the mount namespace called
// name. The name is in the form that readlink(2) returns: "mnt:[4026531841]".
// Processes that this process may not inspect are not counted; root may inspect
// all.
func NamespaceLives(name string) (bool, error) {
	processes, err := processes()
	if err != nil {
		return false, err
	}
	for _, pid := range processes {
		is, err := os.Readlink(procPath(pid, "ns/mnt"))
		if err != nil && !isHidden(err) {
			return false, err
		}
		if err == nil && is == name {
			return true, nil
		}
	}
	return false, nil
}

// processes lists the processes that /proc shows.
func processes() ([]int, error) {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer proc.Close()
	names, err := proc.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids, nil
}

// isHidden reports whether err means that a process has ended or may not be
// inspected. Reading the mount table of an ended process fails with EINVAL.
func isHidden(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) ||
		errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL)
}
