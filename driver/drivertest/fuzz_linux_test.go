package drivertest_test

import (
	"math/rand/v2"
	"testing"

	"github.com/layerkeep/layerkeep/driver/drivertest"
	"github.com/layerkeep/layerkeep/overlay2"
	"github.com/layerkeep/layerkeep/vfs"
)

// FuzzApply makes layers of bytes and compares what two backends make of them
// with the model; see [drivertest.RunFuzz].
func FuzzApply(f *testing.F) {
	f.Add([]byte{})
	for seed := range uint64(3) {
		input := make([]byte, 60)
		rnd := rand.New(rand.NewPCG(seed, 0))
		for i := range input {
			input[i] = byte(rnd.UintN(256))
		}
		f.Add(input)
	}
	drivertest.RunFuzz(f, []drivertest.Subject{
		{Name: "overlay2", Config: drivertest.Config{New: overlay2.New}},
		{Name: "vfs", Config: drivertest.Config{New: vfs.New}},
	})
}
