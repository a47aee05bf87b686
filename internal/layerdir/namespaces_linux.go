package layerdir

import (
	"os"
	"path/filepath"
	"strconv"
)

// A namespace is a mount namespace as one of the processes in it sees it.
type namespace struct {
	pid   int
	table []byte // as in proc_pid_mountinfo(5)
}

// otherNamespaces returns every mount namespace that a process is in, as far as they can
// be looked at, but that of this thread.
func otherNamespaces() ([]namespace, error) {
	own, err := os.Readlink("/proc/thread-self/ns/mnt")
	if err != nil {
		return nil, err
	}
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{own: true}
	var found []namespace
	for _, p := range processes {
		name, err := os.Readlink(p + "/ns/mnt")
		if err != nil || seen[name] {
			continue // it has ended, or is not ours to look at
		}
		table, err := os.ReadFile(p + "/mountinfo")
		if err != nil {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(p))
		if err != nil {
			continue
		}
		seen[name] = true
		found = append(found, namespace{pid, table})
	}
	return found, nil
}
