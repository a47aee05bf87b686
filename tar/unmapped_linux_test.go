package tar

import (
	"testing"

	"github.com/moby/sys/user"
	"github.com/stretchr/testify/require"
)

func TestTheErrorForAnUnmappedIDListsTheRanges(t *testing.T) {
	var m []user.IDMap
	for i := range int64(6) {
		m = append(m, user.IDMap{ID: 100 * (i + 1), ParentID: 7, Count: 10})
	}
	for _, id := range []uint32{100, 109, 500, 609} {
		_, is := outside(m, id)
		require.False(t, is, id)
	}
	for _, id := range []uint32{0, 99, 110, 499, 610, 1<<32 - 2} {
		_, is := outside(m, id)
		require.True(t, is, id)
	}
	for n, want := range map[int]string{
		0: "none", 1: "100-109", 2: "100-109, 200-209", 4: "100-109, 200-209, 300-309, 400-409", 6: "100-109, 200-209, 300-309, 400-409, …",
	} {
		ranges, _ := outside(m[:n], 0)
		require.Equal(t, want, ranges)
	}
}
