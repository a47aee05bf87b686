package realimage

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// runc runs a shell script in a container on a mounted root file system and
// returns what it printed.
func runc(t *testing.T, root, script string) string {
	t.Helper()
	bundle := t.TempDir()
	config, err := json.Marshal(containerConfig(root, script))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(bundle, "config.json"), config, 0o600))
	name := fmt.Sprintf("layerkeep-test-%d", os.Getpid())
	return run(t, "runc", "--root", filepath.Join(bundle, "state"), "run", "--bundle", bundle, name)
}

// containerConfig is the least a container needs. It sets no resource limits
// and names no cgroup, so that it starts wherever runc can.
func containerConfig(root, script string) map[string]any {
	type object = map[string]any
	capabilities := []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_MKNOD"}
	return object{
		"ociVersion": "1.0.2",
		"hostname":   "layerkeep",
		"process": object{
			"user":            object{"uid": 0, "gid": 0},
			"args":            []string{"/bin/sh", "-c", script},
			"env":             []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"},
			"cwd":             "/",
			"noNewPrivileges": true,
			"capabilities":    object{"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
		},
		"root": object{"path": root},
		"mounts": []object{
			{"destination": "/proc", "type": "proc", "source": "proc"},
			{"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": []string{"nosuid", "mode=755"}},
		},
		"linux": object{
			"namespaces": []object{{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}, {"type": "network"}},
		},
	}
}
