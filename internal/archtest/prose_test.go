package archtest

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// Widths that prose is wrapped at, in characters.
const (
	widthOfMarkdown = 100
	widthOfComment  = 80
)

func TestDocumentsAreWrapped(t *testing.T) {
	found := 0
	require.NoError(t, filepath.WalkDir(moduleRoot, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || filepath.Ext(path) != ".md" {
			return err
		}
		found++
		text, err := os.ReadFile(path)
		for _, n := range wideInMarkdown(string(text)) {
			t.Errorf("%s:%d: more than %d columns", path, n, widthOfMarkdown)
		}
		return err
	}))
	require.Greater(t, found, 20)
}

// wideInMarkdown returns the numbers of lines of prose that are too long.
// Tables, blocks of code, what a program has written, and single words such as
// links may be as wide as they need.
func wideInMarkdown(text string) (numbers []int) {
	code, written := false, false
	for i, line := range strings.Split(text, "\n") {
		switch {
		case strings.HasPrefix(strings.TrimSpace(line), "```"):
			code = !code
		case strings.HasPrefix(line, "<!-- begin"):
			written = true
		case strings.HasPrefix(line, "<!-- end"):
			written = false
		case code, written, strings.HasPrefix(strings.TrimSpace(line), "|"), strings.HasPrefix(line, "    "):
		case tooWide(line, widthOfMarkdown):
			numbers = append(numbers, i+1)
		}
	}
	return numbers
}

// tooWide reports whether a line is too long and could be broken.
func tooWide(line string, width int) bool {
	line = strings.TrimRight(line, " ")
	return utf8.RuneCountInString(line) > width && strings.Contains(strings.TrimLeft(line, "-*/ \t"), " ")
}

func TestCommentsAreWrapped(t *testing.T) {
	for _, s := range sources(t) {
		if s.isGenerated() {
			continue
		}
		for _, group := range s.file.Comments {
			for _, c := range group.List {
				if isProse(c.Text) && tooWide(c.Text, widthOfComment) {
					t.Errorf("%s: more than %d columns: %.60s…", s.path, widthOfComment, c.Text)
				}
			}
		}
	}
}

// isProse reports whether a line of a comment is text, not a directive or code.
func isProse(comment string) bool {
	return strings.HasPrefix(comment, "// ")
}

func TestWhatIsWideIsFound(t *testing.T) {
	long := strings.Repeat("word ", 25)
	require.Equal(t, []int{1, 3, 11}, wideInMarkdown(strings.Join([]string{
		long, "| " + long, "- " + long, "    " + long, "```", long, "```", "<!-- begin: x -->", long, "<!-- end: x -->",
		long, "- <https://example.com/" + strings.Repeat("x", 100) + ">",
	}, "\n")))
	require.True(t, isProse("// "+long))
	require.False(t, isProse("//\t"+long))
	require.False(t, isProse("//go:generate "+long))
}
