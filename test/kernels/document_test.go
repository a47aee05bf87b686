package kernels

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func parsed(t *testing.T, text string) *log {
	t.Helper()
	l, err := parseLog(strings.NewReader(text))
	require.NoError(t, err)
	return l
}

func TestTheTableHasARowForEachSuiteAndAColumnForEachKernel(t *testing.T) {
	smoke := parsed(t, "--- PASS: smoke/vfs/import (1.00s)\n--- PASS: smoke/vfs/demo (2.00s)\n--- PASS: smoke/overlay2/import (1.50s)\n")
	suite := parsed(t, "--- PASS: TestA (0.10s)\n--- SKIP: TestB (0.00s)\n--- FAIL: TestC (0.00s)\n")
	old, current := &column{name: "5.10", release: "5.10.0-1"}, &column{name: "host", release: "6.18.1"}
	old.addLog(suiteLog{run: run{"smoke", "smoke", nil}, log: smoke})
	old.addLog(suiteLog{run: run{"mount", "mount.test", nil}, log: suite, status: 1, seconds: 40})
	current.addLog(suiteLog{run: run{"tar", "tar.test", nil}, log: parsed(t, "panic: no\n"), status: 2, seconds: 3})
	current.addLog(suiteLog{run: run{"diff", "diff.test", nil}, log: parsed(t, "--- PASS: TestD (0.00s)\n"), status: 2, seconds: 4})
	require.Equal(t, `Run on 2026-11-28.

| | 5.10 | host |
|---|---|---|
| kernel | 5.10.0-1 | 6.18.1 |
| smoke: overlay2 | 1 passed, 2 s |  |
| smoke: vfs | 2 passed, 3 s |  |
| snapctl demo | 1 passed, 2 s |  |
| mount | 1 passed, 1 FAILED, 1 skipped, 40 s |  |
| tar |  | 1 FAILED, 3 s |
| diff |  | 1 passed, 1 FAILED, 4 s |

Failed on 5.10: `+"`mount: TestC`"+`.

Failed on host: `+"`tar ended with 2`"+`.

Failed on host: `+"`diff ended with 2`"+`.
`, table([]*column{old, current}, time.Date(2026, 11, 28, 1, 2, 3, 0, time.UTC)))
}

func TestAPartOfTheDocumentIsReplaced(t *testing.T) {
	doc := "a\n<!-- begin: x -->\nold\n<!-- end: x -->\nb\n"
	changed, err := replaceBetween(doc, "x", "new\n")
	require.NoError(t, err)
	require.Equal(t, "a\n<!-- begin: x -->\nnew\n<!-- end: x -->\nb\n", changed)
	_, err = replaceBetween(doc, "y", "new\n")
	require.ErrorContains(t, err, "no lines")
}

// The document must have the places that long runs write to.
func TestTheDocumentHasItsPlaces(t *testing.T) {
	doc, err := os.ReadFile(document)
	require.NoError(t, err)
	for _, name := range []string{"all suites", "file systems and defaults", "aufs"} {
		_, err := replaceBetween(string(doc), name, "")
		require.NoError(t, err)
	}
}

// What has been run stays in the document until the next run.
func TestTheDocumentHasResults(t *testing.T) {
	doc, err := os.ReadFile(document)
	require.NoError(t, err)
	for name, rows := range map[string][]string{
		"all suites":                {"| kernel | 5.10.", "| smoke: overlay2 | ", "| overlay2 | ", "| vfs | ", "| btrfs | ", "| aufs | ", "| snapctl demo | "},
		"file systems and defaults": {"| kernel | 6.1.", "| ext4-no-dir-index: overlay2 | ", "| xfs-no-reflink: overlay2 | ", "| btrfs-mixed: btrfs | "},
		"aufs":                      {"| kernel | 6.1.", "| smoke: aufs | ", "| aufs | "},
	} {
		_, part, _ := strings.Cut(string(doc), "<!-- begin: "+name+" -->")
		part, _, _ = strings.Cut(part, "<!-- end: "+name+" -->")
		require.Regexp(t, "Run on 20[0-9-]+", part, name)
		for _, row := range rows {
			require.Contains(t, part, row, name)
		}
	}
}
