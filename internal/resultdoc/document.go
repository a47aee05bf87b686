// Package resultdoc keeps what long test runs have found in the documents of
// the project: between two marker lines that have a name.
//
//	<!-- begin: power cuts -->
//	a table that a run wrote
//	<!-- end: power cuts -->
package resultdoc

import (
	"fmt"
	"os"
	"strings"
)

// Part returns what stands between the marker lines for name in the document at
// path.
func Part(path, name string) (string, error) {
	_, part, _, err := cut(path, name)
	return part, err
}

// Replace replaces what stands between the marker lines for name. A process
// that is killed meanwhile leaves the document as it was.
func Replace(path, name, text string) error {
	before, _, after, err := cut(path, name)
	if err != nil {
		return err
	}
	written := path + ".tmp"
	if err := os.WriteFile(written, []byte(before+text+after), 0o644); err != nil {
		return err
	}
	return os.Rename(written, path)
}

// cut splits a document. The marker lines belong to what is before and after.
func cut(path, name string) (before, part, after string, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", "", "", err
	}
	begin, end := "<!-- begin: "+name+" -->\n", "<!-- end: "+name+" -->\n"
	before, rest, begun := strings.Cut(string(text), begin)
	part, after, ended := strings.Cut(rest, end)
	if !begun || !ended {
		return "", "", "", fmt.Errorf("%s: no lines %q and %q", path, strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	return before + begin, part, end + after, nil
}
