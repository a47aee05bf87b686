package engines

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var someResults = []result{
	{"containerd", "1.6.20", "vfs", "import"},
	{"containerd", "1.6.20", "overlay2", "import"},
	{"containerd", "2.4.2", "overlay2", "remove and gc"},
	{"containerd", "2.4.2", "overlay2", "differ"},
}

func TestTheTableSaysWhatWorked(t *testing.T) {
	require.Equal(t, ""+
		"| | containerd 1.6.20 | containerd 2.4.2 |\n"+
		"|---|---|---|\n"+
		"| import | overlay2, vfs |  |\n"+
		"| differ |  | overlay2 |\n"+
		"| remove and gc |  | overlay2 |\n", table(someResults))
}

func TestATableIsReadAsItWasWritten(t *testing.T) {
	read, err := parseTable(table(someResults))
	require.NoError(t, err)
	require.ElementsMatch(t, someResults, read)
	_, err = parseTable("| | containerd 1 |\n|---|---|\n| import |\n")
	require.ErrorContains(t, err, "1 fields, its head 2")
	_, err = parseTable("| | containerd |\n|---|---|\n| import | vfs |\n")
	require.ErrorContains(t, err, "no version")
}

func TestDifferencesOfATable(t *testing.T) {
	for _, c := range []struct {
		name     string
		seen     []result
		complete bool
		want     []string
	}{
		{"none", someResults, true, nil},
		{"a part of the tests ran", someResults[:1], false, nil},
		{"an operation is new", append([]result{{"containerd", "2.4.2", "vfs", "differ"}}, someResults...), true, []string{"not in the table: containerd 2.4.2, vfs: differ"}},
		{"an operation is gone", someResults[1:], true, []string{"in the table, but not seen: containerd 1.6.20, vfs: import"}},
		{"an engine is new", []result{{"nerd", "1.0.0", "vfs", "import"}}, false, []string{"not in the table: nerd 1.0.0, vfs: import"}},
		{"a distribution has another version", []result{{"containerd", "1.7.24", "vfs", "import"}}, true, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.want, differences(someResults, c.seen, c.complete))
		})
	}
}

func TestTheScriptBuildsTheToolsThatTheTestsRun(t *testing.T) {
	script, err := os.ReadFile("../../scripts/build-test-tools")
	require.NoError(t, err)
	for _, tool := range builtTools {
		require.Contains(t, strings.Fields(strings.ReplaceAll(string(script), `"`, " ")), tool)
	}
}
