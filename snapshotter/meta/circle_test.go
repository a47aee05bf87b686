package meta

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestACircleIsFoundSoonAndNoWayIsTakenForOne(t *testing.T) {
	for _, before := range []int{0, 1, 7, 100} {
		for _, around := range []int{1, 2, 3, 64, 99} {
			var c Circle
			n := 0
			for !c.Closed(fmt.Sprint(min(n, before), (n-min(n, before))%around)) {
				n++
				require.Less(t, n, 3*(before+around)+3, "%d, then %d around", before, around)
			}
			require.GreaterOrEqual(t, n, before+around)
		}
	}
	var c Circle
	for n := range 10_000 {
		require.False(t, c.Closed(fmt.Sprint(n)))
	}
}
