package drivertest

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/layerkeep/layerkeep/mount"
)

// inContainer runs a shell script in dir as root of a new user namespace with
// the map, or as what this process is without one.
func inContainer(tb testing.TB, m *mount.IDMap, dir, script string) error {
	tb.Helper()
	root, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	cmd := exec.Command("/bin/sh", "-c", script)
	// The path leads through a directory that is closed to others.
	cmd.Dir = fmt.Sprintf("/proc/self/fd/%d", root.Fd())
	if m != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags: syscall.CLONE_NEWUSER, UidMappings: ranges(m.UIDs), GidMappings: ranges(m.GIDs),
			GidMappingsEnableSetgroups: true, Credential: &syscall.Credential{},
		}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("the script: %w\n%s", err, out)
	}
	return nil
}

func ranges(list []mount.IDRange) []syscall.SysProcIDMap {
	out := make([]syscall.SysProcIDMap, len(list))
	for i, r := range list {
		out[i] = syscall.SysProcIDMap{ContainerID: int(r.Container), HostID: int(r.Host), Size: int(r.Size)}
	}
	return out
}
