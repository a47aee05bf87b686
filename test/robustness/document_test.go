package robustness

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const document = "../../docs/durability.md"

var update = flag.Bool("update", false, "write what came of the run into docs/durability.md")

func now() time.Time { return time.Now() }

// replaceBetween puts text between the two marker lines that a document has for
// name.
func replaceBetween(doc, name, text string) (string, error) {
	begin, end := "<!-- begin: "+name+" -->\n", "<!-- end: "+name+" -->\n"
	i := strings.Index(doc, begin)
	j := strings.Index(doc, end)
	if i < 0 || j < i {
		return "", fmt.Errorf("no lines %q and %q", begin, end)
	}
	return doc[:i+len(begin)] + text + doc[j:], nil
}

// writeDocument replaces a part of docs/durability.md.
func writeDocument(name, text string) error {
	doc, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	changed, err := replaceBetween(string(doc), name, text)
	if err != nil {
		return fmt.Errorf("%s: %w", document, err)
	}
	return os.WriteFile(document, []byte(changed), 0o644)
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
	for _, name := range []string{"power cuts", "a disk that lies", "commands that do not sync", "killed processes"} {
		_, err := replaceBetween(string(doc), name, "")
		require.NoError(t, err)
	}
}

func TestTheTableHasARowForEachFileSystemAndBackend(t *testing.T) {
	var r results
	clean, bad := &outcome{fs: "xfs", backend: "vfs", lostWrites: 1}, &outcome{fs: "ext4", backend: "vfs"}
	clean.add(nil)
	clean.add(nil)
	bad.add([]finding{{lost, "a"}, {lost, "b"}, {torn, "c"}})
	bad.add([]finding{{unmounted, "d"}})
	r.add(clean)
	r.add(bad)
	require.Equal(t, `Run on 2026-11-28 with the seed 7.

| file system | backend | cuts | the disk lost writes | lost | torn | stray | a command failed | not mounted |
|---|---|---|---|---|---|---|---|---|
| ext4 | vfs | 2 | 0 | 1 | 1 | 0 | 0 | 1 |
| xfs | vfs | 2 | 1 | 0 | 0 | 0 | 0 | 0 |
`, r.table(7, time.Date(2026, 11, 28, 1, 2, 3, 0, time.UTC)))
}

func TestTheTableOfKillsHasARowForEachProcessAndSignal(t *testing.T) {
	var s kills
	for range 2 {
		s.add(&killOutcome{fs: "ext4", backend: "vfs", signal: "killed", kills: 5, hits: 4})
		s.add(&killOutcome{fs: "ext4", backend: "vfs", signal: "killed", served: true, kills: 5, hits: 5, broken: 1})
	}
	require.Equal(t, `Run on 2026-11-28 with the seed 7.

| file system | backend | process | signal | commands | killed at work | lost or torn |
|---|---|---|---|---|---|---|
| ext4 | vfs | the command | killed | 10 | 8 | 0 |
| ext4 | vfs | the service | killed | 10 | 10 | 2 |
`, s.table(7, time.Date(2026, 11, 28, 1, 2, 3, 0, time.UTC)))
}
