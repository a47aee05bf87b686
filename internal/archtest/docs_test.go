package archtest

import (
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// A document that names the tests of a promise must not go on naming one that
// is gone.
func TestTheTestsThatDocumentsNameExist(t *testing.T) {
	there := map[string]bool{}
	for _, s := range sources(t) {
		for _, decl := range s.file.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && s.isTest() {
				there[fn.Name.Name] = true
			}
		}
	}
	documents, err := filepath.Glob(moduleRoot + "/docs/*.md")
	require.NoError(t, err)
	decisions, err := filepath.Glob(moduleRoot + "/docs/adr/*.md")
	require.NoError(t, err)
	documents = append(documents, decisions...)
	documents = append(documents, moduleRoot+"/README.md", moduleRoot+"/ARCHITECTURE.md")
	name := regexp.MustCompile(`\b(Test|Fuzz|Benchmark)[A-Z]\w+`)
	found := 0
	for _, path := range documents {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, test := range name.FindAllString(string(text), -1) {
			found++
			require.True(t, there[test], "%s names %s, which no test file has", path, test)
		}
	}
	require.Greater(t, found, 20)
}
