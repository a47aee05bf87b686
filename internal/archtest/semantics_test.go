package archtest

import (
	"go/ast"
	"go/token"
	"maps"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver/drivertest/semantics"
)

const semanticsPage = "docs/semantics.md"

// code matches the code of a statement of docs/semantics.md. The letters are
// those of its sections.
const code = `[ACDHLMORSTW]\d{1,2}`

// A statement is one section of docs/semantics.md.
type statement struct {
	// inTable: the page says that the table of cases tests it.
	inTable bool
	// tests are Go tests, subtests are names of subtests of the suite.
	tests, subtests []string
}

// readStatements returns the statements of the page by their codes. Each is a
// heading that is a code alone, with a paragraph that begins with "Tested by:".
func readStatements(t *testing.T, page string) map[string]statement {
	t.Helper()
	heading := regexp.MustCompile(`(?m)^### (` + code + `)$`)
	testedBy := regexp.MustCompile(`(?ms)^Tested by: (.+?)(\n\n|\z)`)
	test := regexp.MustCompile("`((?:Test|Fuzz)\\w+)`")
	subtest := regexp.MustCompile(`"([^"]+)"`)
	statements := map[string]statement{}
	at := heading.FindAllStringSubmatchIndex(page, -1)
	for i, h := range at {
		name, end := page[h[2]:h[3]], len(page)
		if i+1 < len(at) {
			end = at[i+1][0]
		}
		require.NotContains(t, statements, name, "%s has two statements of one code", semanticsPage)
		found := testedBy.FindAllStringSubmatch(page[h[1]:end], -1)
		require.Len(t, found, 1, "paragraphs of %s %s that begin with \"Tested by:\"", semanticsPage, name)
		line := strings.Join(strings.Fields(found[0][1]), " ")
		var s statement
		s.inTable = strings.HasPrefix(line, "the table")
		for _, m := range test.FindAllStringSubmatch(line, -1) {
			s.tests = append(s.tests, m[1])
		}
		for _, m := range subtest.FindAllStringSubmatch(line, -1) {
			s.subtests = append(s.subtests, m[1])
		}
		statements[name] = s
	}
	return statements
}

func readPage(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(moduleRoot + "/" + semanticsPage)
	require.NoError(t, err)
	return string(text)
}

func TestEveryCaseOfTheTableHasAStatement(t *testing.T) {
	statements, cases := readStatements(t, readPage(t)), map[string]int{}
	for _, c := range semantics.Cases() {
		name, _, _ := strings.Cut(c.Name, " ")
		cases[name]++
		if s, there := statements[name]; !there {
			t.Errorf("the case %q has no statement in %s", c.Name, semanticsPage)
		} else if !s.inTable {
			t.Errorf("%s does not say that the table tests %s, as the case %q does", semanticsPage, name, c.Name)
		}
	}
	for name, s := range statements {
		if s.inTable && cases[name] == 0 {
			t.Errorf("%s says that the table tests %s, but no case begins with it", semanticsPage, name)
		}
	}
}

func TestEveryCodeThatIsCitedIsAStatement(t *testing.T) {
	page := readPage(t)
	statements, anywhere := readStatements(t, page), regexp.MustCompile(`\b`+code+`\b`)
	inName := regexp.MustCompile(`^` + code + `:? [a-z]`)
	cited := func(where, name string) {
		if _, there := statements[name]; !there {
			t.Errorf("%s cites %s, which is no statement of %s", where, name, semanticsPage)
		}
	}
	for _, name := range anywhere.FindAllString(page, -1) {
		cited(semanticsPage, name)
	}
	comments := 0
	for _, s := range sources(t) {
		if s.isGenerated() {
			continue
		}
		for _, group := range s.file.Comments {
			for _, name := range anywhere.FindAllString(group.Text(), -1) {
				comments++
				cited("a comment in "+s.path, name)
			}
		}
		if !s.isTest() && !isTestOnly(s.pkg) {
			continue
		}
		for text := range stringsOf(s.file) {
			if inName.MatchString(text) {
				cited("the name of a test in "+s.path, anywhere.FindString(text))
			}
		}
	}
	require.Greater(t, comments, 15)
}

// That the Go tests exist which the page names is checked for all documents,
// see TestTheTestsThatDocumentsNameExist.
func TestEveryStatementNamesATestThatExists(t *testing.T) {
	inSuite := map[string]bool{}
	for _, s := range sources(t) {
		if suiteOf(s.pkg) == "driver/drivertest" {
			maps.Insert(inSuite, maps.All(stringsOf(s.file)))
		}
	}
	for code, s := range readStatements(t, readPage(t)) {
		if !s.inTable && len(s.tests)+len(s.subtests) == 0 {
			t.Errorf("%s names no test of %s", semanticsPage, code)
		}
		for _, name := range s.subtests {
			if !inSuite[name] {
				t.Errorf("%s names %q, which is no subtest of the suite, for %s", semanticsPage, name, code)
			}
		}
	}
}

// stringsOf returns the string literals of a file: names of tests are among
// them.
func stringsOf(f *ast.File) map[string]bool {
	texts := map[string]bool{}
	ast.Inspect(f, func(n ast.Node) bool {
		lit, ok := n.(*ast.BasicLit)
		if !ok || lit.Kind != token.STRING {
			return true
		}
		if text, err := strconv.Unquote(lit.Value); err == nil {
			texts[text] = true
		}
		return true
	})
	return texts
}
