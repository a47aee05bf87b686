package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const passing = `{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"run","Package":"p","Test":"TestA/ext4"}
{"Action":"run","Package":"p","Test":"TestA/ext4/W1"}
{"Action":"output","Package":"p","Test":"TestA/ext4/W1","Output":"noise\n"}
{"Action":"pass","Package":"p","Test":"TestA/ext4/W1"}
{"Action":"run","Package":"p","Test":"TestA/ext4/W2"}
{"Action":"output","Package":"p","Test":"TestA/ext4/W2","Output":"=== RUN   TestA/ext4/W2\n"}
{"Action":"output","Package":"p","Test":"TestA/ext4/W2","Output":"    a_test.go:3: no xfs here\n"}
{"Action":"output","Package":"p","Test":"TestA/ext4/W2","Output":"--- SKIP: TestA/ext4/W2 (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestA/ext4/W2"}
{"Action":"pass","Package":"p","Test":"TestA/ext4"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Output":"PASS\n"}
{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s\n"}
{"Action":"pass","Package":"p"}
`

const failing = `{"Action":"run","Package":"q","Test":"TestB"}
{"Action":"output","Package":"q","Test":"TestB","Output":"    b_test.go:9: the reason\n"}
{"Action":"fail","Package":"q","Test":"TestB"}
{"Action":"output","Package":"q","Output":"FAIL\tq\t0.1s\n"}
{"Action":"fail","Package":"q"}
`

func report1(t *testing.T, stream string) (string, bool) {
	t.Helper()
	var out strings.Builder
	ok, err := run(strings.NewReader(stream), &out, "as root", "")
	require.NoError(t, err)
	return out.String(), ok
}

func TestAPassingRunShowsClosingLinesSuitesAndSkips(t *testing.T) {
	out, ok := report1(t, passing)
	require.True(t, ok)
	require.Contains(t, out, "ok  \tp\t0.1s\n")
	require.Regexp(t, `TestA/ext4 +1 passed, 1 skipped`, out)
	require.Contains(t, out, "skipped as root: 1\n  p\n    no xfs here: TestA/ext4/W2\n")
	require.NotContains(t, out, "noise")
}

func TestAFailingRunShowsWhatFailedAndWhy(t *testing.T) {
	out, ok := report1(t, passing+failing)
	require.False(t, ok)
	require.Contains(t, out, "FAILED TestB")
	require.Contains(t, out, "the reason")
	require.Contains(t, out, "FAIL in q")
}

func TestATestThatNeverEndedIsAFailure(t *testing.T) {
	out, ok := report1(t, `{"Action":"run","Package":"q","Test":"TestHangs"}
{"Action":"output","Package":"q","Test":"TestHangs","Output":"panic: test timed out\n"}
{"Action":"fail","Package":"q"}
`)
	require.False(t, ok)
	require.Contains(t, out, "FAILED TestHangs")
	require.Contains(t, out, "panic: test timed out")
}

func TestABinaryThatExitsInATestIsAFailure(t *testing.T) {
	out, ok := report1(t, `{"Action":"run","Package":"q","Test":"TestExits"}
{"Action":"pass","Package":"q"}
`)
	require.False(t, ok)
	require.Contains(t, out, "FAILED TestExits")
}

func TestAPackageWithoutAnEndIsAFailure(t *testing.T) {
	for name, stream := range map[string]string{
		"at once":   `{"Action":"start","Package":"q"}`,
		"in a test": `{"Action":"start","Package":"q"}` + "\n" + `{"Action":"run","Package":"q","Test":"TestCut"}`,
		"between tests": `{"Action":"start","Package":"q"}` + "\n" + `{"Action":"run","Package":"q","Test":"TestA"}` + "\n" +
			`{"Action":"pass","Package":"q","Test":"TestA"}`,
	} {
		t.Run(name, func(t *testing.T) {
			out, ok := report1(t, stream+"\n")
			require.False(t, ok)
			require.Contains(t, out, "FAIL\tq\tno end was reported\n")
			require.Contains(t, out, "FAIL in q")
		})
	}
}

func TestAPackageThatDoesNotBuildIsAFailure(t *testing.T) {
	out, ok := report1(t, `{"Action":"build-output","ImportPath":"q","Output":"q.go:1: nonsense\n"}
{"Action":"build-fail","ImportPath":"q"}
`)
	require.False(t, ok)
	require.Contains(t, out, "q.go:1: nonsense")
}

func TestLinesThatAreNoEventsAreAFailure(t *testing.T) {
	_, ok := report1(t, "go: cannot find module\n")
	require.False(t, ok)
}

func TestSkipsOfSeveralRunsGoToOneFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "skips")
	for _, label := range []string{"as root", "as nobody"} {
		_, err := run(strings.NewReader(passing), &strings.Builder{}, label, file)
		require.NoError(t, err)
	}
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Contains(t, string(text), "skipped as root:")
	require.Contains(t, string(text), "skipped as nobody:")
}

func TestReasonsThatDifferOnlyInATemporaryPathAreOne(t *testing.T) {
	one := reason([]string{"    a_test.go:3: no overlay on /tmp/TestA1/001/store: not permitted\n", "--- SKIP: TestA (0.00s)\n"})
	other := reason([]string{"    a_test.go:4: no overlay on /tmp/TestB2/001/store: not permitted\n"})
	require.Equal(t, "no overlay on /tmp/…: not permitted", one)
	require.Equal(t, one, other)
}

// With -count each test runs several times under one name.
func TestAFailureIsShownWhenTheNextRunOfTheTestPasses(t *testing.T) {
	again := strings.Replace(passing, `{"Action":"start","Package":"p"}`+"\n", "", 1)
	first := strings.Replace(again, `{"Action":"pass","Package":"p","Test":"TestA/ext4/W1"}`, `{"Action":"output","Package":"p","Test":"TestA/ext4/W1","Output":"the reason\n"}
{"Action":"fail","Package":"p","Test":"TestA/ext4/W1"}`, 1)
	first = first[:strings.Index(first, `{"Action":"output","Package":"p","Output":"PASS`)]
	out, ok := report1(t, first+strings.Replace(again, `{"Action":"pass","Package":"p"}`, `{"Action":"fail","Package":"p"}`, 1))
	require.False(t, ok)
	require.Regexp(t, `TestA/ext4 +1 passed, 1 FAILED, 2 skipped`, out)
	require.Contains(t, out, "FAILED TestA/ext4/W1")
	require.Contains(t, out, "the reason")
	require.Contains(t, out, "1 passed, 1 FAILED, 2 skipped")
}
