package robustness

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// While a layer is made whole, what stands on it is between two states: a copy
// of the damaged layer differs from the new one. What stands beside it does not
// change.
func TestWhatStandsOnALayerThatIsBeingMendedMayDiffer(t *testing.T) {
	whole := newState()
	for name, parent := range map[string]string{"base": "", "top": "base", "tip": "top", "beside": ""} {
		whole.snapshots[name] = snapshot{"committed", parent, "of " + name}
	}
	harmed := whole.clone()
	harmed.whole = &whole
	harmed.snapshots["base"] = snapshot{"committed", "", "damaged"}
	before, after, mended := mending(harmed, whole)
	require.Equal(t, &whole, mended)
	for _, c := range []struct {
		name, diff string
		broken     int
	}{
		{"base", "damaged", 0},
		{"base", "of base", 0},
		{"base", "another", 1},
		{"top", "another", 0},
		{"tip", "another", 0},
		{"beside", "another", 1},
	} {
		found := harmed.clone()
		found.snapshots[c.name] = snapshot{"committed", whole.snapshots[c.name].parent, c.diff}
		require.Len(t, compare(before, after, found, "snapctl repair"), c.broken, c)
	}
	require.Equal(t, "damaged", harmed.snapshots["base"].diff, "what was given is as it was")
	require.Equal(t, "of top", harmed.snapshots["top"].diff)
}
