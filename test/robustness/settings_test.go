package robustness

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// What may be set for a run.
const (
	cutsEnv = "LAYERKEEP_ROBUST_CUTS"
	seedEnv = "LAYERKEEP_ROBUST_SEED"
	keepEnv = "LAYERKEEP_ROBUST_KEEP"
)

// How many cuts there are for each file system and backend.
const (
	cutsUsually = 30
	// cutsMore are made each time that all were such that nothing was lost.
	cutsMore = 4
	// cutsEach is how many are made from one recording.
	cutsEach = 50
	// cutsPerRound is the number of cuts for which each command is killed once in
	// every way; with fewer, in one half of the ways.
	cutsPerRound = 100
)

func numberOfCuts(t *testing.T) int {
	t.Helper()
	text := os.Getenv(cutsEnv)
	switch {
	case text != "":
		n, err := strconv.Atoi(text)
		require.NoError(t, err, cutsEnv)
		require.Positive(t, n, cutsEnv)
		return n
	default:
		return cutsUsually
	}
}

// seedOf returns the seed of a run, and logs it. It is that of the day, so that
// what fails does so again while somebody looks for the reason.
func seedOf(t *testing.T) uint64 {
	t.Helper()
	year, month, day := now().UTC().Date()
	seed := uint64(year*10_000 + int(month)*100 + day)
	if text := os.Getenv(seedEnv); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		require.NoError(t, err, seedEnv)
	}
	t.Logf("%s=%d repeats the choices of this run", seedEnv, seed)
	return seed
}

// randomFor returns random numbers that depend on the seed and a name, so that
// each subtest has its own whichever run beside it.
func randomFor(seed uint64, name string) *rand.Rand {
	second := uint64(14695981039346656037) // FNV-1a, which is the same in every process
	for _, c := range []byte(name) {
		second = (second ^ uint64(c)) * 1099511628211
	}
	return rand.New(rand.NewPCG(seed, second))
}
