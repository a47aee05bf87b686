package overlay2_test

import (
	"testing"

	"github.com/layerkeep/layerkeep/driver/drivertest"
	"github.com/layerkeep/layerkeep/overlay2"
)

var config = drivertest.Config{New: overlay2.New, Overlays: true}

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
