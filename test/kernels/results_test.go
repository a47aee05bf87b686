package kernels

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const someLog = `== 1-x.test
=== RUN   TestA
=== RUN   TestA/one
    a_test.go:3: no xfs here
=== RUN   TestA/two
GOLDEN diff abc
=== NAME  TestA/one
    more of it
--- PASS: TestA (0.50s)
    --- SKIP: TestA/one (0.10s)
    --- PASS: TestA/two (0.40s)
=== RUN   TestB
    b_test.go:9: the reason
--- FAIL: TestB (0.02s)
=== RUN   TestHangs
panic: test timed out
`

func TestALogIsReadAsGoTestWroteIt(t *testing.T) {
	l, err := parseLog(strings.NewReader(someLog))
	require.NoError(t, err)
	ends := map[string]string{}
	for _, r := range l.shown() {
		ends[r.name] = r.end
	}
	require.Equal(t, map[string]string{"TestA/one": skipped, "TestA/two": passed, "TestB": failed, "TestHangs": failed}, ends)
	require.Equal(t, map[string]string{"diff": "abc"}, l.golden)
	require.Equal(t, []string{"    a_test.go:3: no xfs here", "    more of it"}, l.shown()[0].output)
	require.Contains(t, l.tail(1), "timed out")
}

func TestCountsOfALog(t *testing.T) {
	l, err := parseLog(strings.NewReader(someLog))
	require.NoError(t, err)
	var c count
	for _, r := range l.shown() {
		c.add(r)
	}
	require.Equal(t, [3]int{1, 2, 1}, [3]int{c.passed, c.failed, c.skipped})
	require.InDelta(t, 0.52, c.seconds, 1e-9)
}

func TestGoldenDigestsThatDifferAreNamed(t *testing.T) {
	g := newGoldens()
	g.add("host", map[string]string{"diff": "a", "tree": "t"})
	g.add("5.10", map[string]string{"diff": "a", "tree": "t"})
	require.Empty(t, g.differences())
	g.add("6.1", map[string]string{"diff": "b", "tree": "t"})
	require.Equal(t, []string{"diff: a on host, 5.10; b on 6.1"}, g.differences())
}
