package layerdir

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// A namespace is a mount namespace as one of the processes in it sees it.
type namespace struct {
	pid   int
	table []byte // as in proc_pid_mountinfo(5)
}

// otherNamespaces returns every mount namespace that a process is in, as far as
// they can be looked at, but that of this thread.
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

// NamespaceLives reports whether a process lives in the mount namespace of a
// name as readlink(2) gives it: "mnt:[4026531841]". Processes that this one may
// not look at do not count; to root all show.
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

// isHidden reports whether an error about a process says that it has ended,
// which of a mount table is said by EINVAL, or that it is not ours to look at.
func isHidden(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) ||
		errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL)
}
