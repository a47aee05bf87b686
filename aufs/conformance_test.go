package aufs_test

import (
	"path/filepath"
	"testing"

	"github.com/layerkeep/layerkeep/aufs"
	"github.com/layerkeep/layerkeep/aufs/aufstest"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/driver/drivertest"
)

// config makes edits as aufs would, for kernels without aufs.
var config = drivertest.Config{
	New:      aufs.New,
	Overlays: true, // layers are translated for an overlay
	Editor: func(dir string, id driver.ID, parents []driver.ID) drivertest.Editor {
		var lower []string
		for _, p := range parents {
			lower = append(lower, filepath.Join(dir, "diff", string(p)))
		}
		return aufstest.New(filepath.Join(dir, "diff", string(id)), lower)
	},
	Places: func(dir string, id driver.ID) []string {
		return []string{
			filepath.Join(dir, "diff", string(id)), filepath.Join(dir, "layers", string(id)),
			filepath.Join(dir, "mnt", string(id)), filepath.Join(dir, ".layerkeep", "layers", string(id)),
		}
	},
	ReplacesIdle: true,
}

func TestConformance(t *testing.T) {
	drivertest.RunMatrix(t, config)
}

func TestConformanceInAUserNamespace(t *testing.T) {
	drivertest.RunUnprivileged(t, config)
}

func TestNoErrorOfASystemCallVanishes(t *testing.T) {
	drivertest.RunFaults(t, config)
}

func BenchmarkDriver(b *testing.B) {
	drivertest.Benchmark(b, config)
}
