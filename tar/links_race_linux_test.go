package tar

import (
	stdtar "archive/tar"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Links to files that a writer still makes, links to such links, and removals
// and replacements of both directly after. The order in the stream must decide.
func TestLinksToFilesInTheMakingKeepTheOrderOfTheStream(t *testing.T) {
	var buf bytes.Buffer
	w := stdtar.NewWriter(&buf)
	file := func(name, body string) {
		require.NoError(t, w.WriteHeader(&stdtar.Header{Name: name, Mode: 0o644, Uid: os.Geteuid(), Gid: os.Getegid(), Size: int64(len(body))}))
		_, err := w.Write([]byte(body))
		require.NoError(t, err)
	}
	link := func(name, to string) {
		require.NoError(t, w.WriteHeader(&stdtar.Header{Typeflag: stdtar.TypeLink, Name: name, Linkname: to}))
	}
	const n = 300
	for i := range n {
		dir := fmt.Sprintf("d%d/", i)
		require.NoError(t, w.WriteHeader(&stdtar.Header{Typeflag: stdtar.TypeDir, Name: dir, Mode: 0o755, Uid: os.Geteuid(), Gid: os.Getegid()}))
		file(dir+"a", strings.Repeat(fmt.Sprint(i, "."), 4000))
		link(dir+"b", dir+"a")
		link(dir+"c", dir+"b")
		file(dir+"a", "new") // b and c keep the old content
		link(dir+"e", dir+"c")
		for k := range 20 {
			link(fmt.Sprintf("%sl%d", dir, k), dir+"e")
		}
		file(dir+"c", "third")
	}
	require.NoError(t, w.Close())
	root := t.TempDir()
	staging, err := os.Open(root)
	require.NoError(t, err)
	defer staging.Close()
	_, applied, err := Unpack(t.Context(), staging, &buf, UnpackOptions{})
	require.NoError(t, err)
	require.EqualValues(t, n*27, applied.Entries)
	for i := range n {
		dir := filepath.Join(root, fmt.Sprintf("d%d", i))
		body := func(name string) string {
			b, err := os.ReadFile(filepath.Join(dir, name))
			require.NoError(t, err)
			return string(b)
		}
		old := strings.Repeat(fmt.Sprint(i, "."), 4000)
		require.Equal(t, "new", body("a"))
		require.Equal(t, old, body("b"))
		require.Equal(t, "third", body("c"))
		var st unix.Stat_t
		require.NoError(t, unix.Lstat(filepath.Join(dir, "l19"), &st))
		require.EqualValues(t, 22, st.Nlink, "b, e and twenty more")
	}
}
