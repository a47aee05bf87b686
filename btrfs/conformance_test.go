package btrfs_test

import (
	"testing"

	"github.com/layerkeep/layerkeep/btrfs"
	"github.com/layerkeep/layerkeep/driver/drivertest"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

var config = drivertest.Config{New: btrfs.New, Filesystems: []fstest.FS{fstest.Btrfs}}

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
