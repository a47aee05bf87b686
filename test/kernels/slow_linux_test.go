package kernels

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A test that was renamed would be run in emulated machines again.
func TestEveryTestThatIsLeftOutExists(t *testing.T) {
	files, err := filepath.Glob("../../*/*_test.go")
	require.NoError(t, err)
	var tests []string
	for _, f := range files {
		text, err := os.ReadFile(f)
		require.NoError(t, err)
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllStringSubmatch(string(text), -1) {
			tests = append(tests, m[1])
		}
	}
	for part := range strings.SplitSeq(slow+"|"+slower, "|") {
		require.Regexp(t, part, strings.Join(tests, " "), part)
	}
}
