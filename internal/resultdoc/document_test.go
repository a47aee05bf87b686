package resultdoc

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAPartIsReadAndReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "doc.md")
	require.NoError(t, os.WriteFile(path, []byte("a\n<!-- begin: x -->\nold\n<!-- end: x -->\nb\n"), 0o600))
	part, err := Part(path, "x")
	require.NoError(t, err)
	require.Equal(t, "old\n", part)
	require.NoError(t, Replace(path, "x", "new\nlines\n"))
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "a\n<!-- begin: x -->\nnew\nlines\n<!-- end: x -->\nb\n", string(text))
}

func TestAPartThatIsMissingIsNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "doc.md")
	for _, text := range []string{"", "<!-- begin: x -->\n", "<!-- end: x -->\n<!-- begin: x -->\n", "<!-- begin: y -->\n<!-- end: y -->\n"} {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		_, err := Part(path, "x")
		require.ErrorContains(t, err, path+": no lines \"<!-- begin: x -->\"")
		require.Error(t, Replace(path, "x", "new"))
		after, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, text, string(after))
	}
	_, err := Part(path+"missing", "x")
	require.ErrorIs(t, err, os.ErrNotExist)
}
