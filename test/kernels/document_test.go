package kernels

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/resultdoc"
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
	var got table
	got.set(old, time.Date(2026, 11, 27, 1, 2, 3, 0, time.UTC))
	got.set(current, time.Date(2026, 11, 28, 1, 2, 3, 0, time.UTC))
	require.Equal(t, `|  | 5.10 | host |
|---|---|---|
| run on | 2026-11-27 | 2026-11-28 |
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
`, got.String())
}

// The results of one kernel take the place of its own, and leave those of
// others.
func TestAColumnIsReplacedByItself(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kernels.md")
	require.NoError(t, os.WriteFile(path, []byte("a\n<!-- begin: x -->\n<!-- end: x -->\nb\n"), 0o600))
	order := []string{"5.10", "6.1", "host"}
	write := func(c *column, day int) {
		t.Helper()
		require.NoError(t, writeColumn(path, "x", c, order, time.Date(2026, 1, day, 0, 0, 0, 0, time.UTC)))
	}
	count := func(passed int) map[string]*count { return map[string]*count{"diff": {passed: passed, seconds: 1}} }
	write(&column{name: "host", release: "6.18", cells: count(1)}, 1)
	write(&column{name: "5.10", release: "5.10.0", cells: count(2), failed: []string{"diff: TestX"}}, 2)
	write(&column{name: "gone", release: "4.0", cells: count(9)}, 2)
	write(&column{name: "host", release: "6.19", cells: count(3)}, 3)
	part, err := resultdoc.Part(path, "x")
	require.NoError(t, err)
	const want = `|  | 5.10 | host |
|---|---|---|
| run on | 2026-01-02 | 2026-01-03 |
| kernel | 5.10.0 | 6.19 |
| diff | 2 passed, 1 s | 3 passed, 1 s |

Failed on 5.10: ` + "`diff: TestX`" + `.
`
	require.Equal(t, want, part)
	write(&column{name: "5.10", release: "5.10.1", cells: count(2)}, 4)
	part, err = resultdoc.Part(path, "x")
	require.NoError(t, err)
	require.NotContains(t, part, "Failed")

	for _, wrong := range []string{"text\n", "| | a |\n|---|---|\n| x | 1 | 2 |\n"} {
		_, err := parseTable(wrong)
		require.ErrorIs(t, err, errTable, wrong)
	}
}

// What has been run stays in the document until the next run.
func TestTheDocumentHasResults(t *testing.T) {
	for name, rows := range map[string][]string{
		"all suites":                {"| kernel | 5.10.", "| smoke: overlay2 | ", "| overlay2 | ", "| vfs | ", "| btrfs | ", "| aufs | ", "| snapctl demo | "},
		"file systems and defaults": {"| kernel | 6.1.", "| ext4-no-dir-index: overlay2 | ", "| xfs-no-reflink: overlay2 | ", "| btrfs-mixed: btrfs | "},
		"aufs":                      {"| kernel | 6.1.", "| smoke: aufs | ", "| aufs | "},
	} {
		part, err := resultdoc.Part(document, name)
		require.NoError(t, err)
		require.Regexp(t, `(?m)^\| run on \| 20[0-9-]+ \|`, part, name)
		for _, row := range rows {
			require.Contains(t, part, row, name)
		}
	}
}
