package archtest

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	module       = "github.com/layerkeep/layerkeep"
	moduleRoot   = "../.."
	maxFileLines = 600
)

// A source is one Go file of this module.
type source struct {
	path    string // slash-separated, relative to the module
	pkg     string // directory of path, "." for the module's root
	lines   int
	imports []string // packages of this module, relative to it
	file    *ast.File
}

func (s source) isTest() bool { return strings.HasSuffix(s.path, "_test.go") }

// isGenerated reports a file that a program has written.
func (s source) isGenerated() bool { return ast.IsGenerated(s.file) }

// sources parses every Go file of this module. Directories with a go.mod of
// their own are other modules and are left out.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(moduleRoot, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return skipForeign(p, d)
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		s, err := parse(p)
		if err == nil {
			all = append(all, s)
		}
		return err
	})
	require.NoError(t, err)
	require.NotEmpty(t, all)
	return all
}

func skipForeign(p string, d fs.DirEntry) error {
	if p == moduleRoot {
		return nil
	}
	if d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") {
		return filepath.SkipDir
	}
	if _, err := os.Stat(filepath.Join(p, "go.mod")); err == nil {
		return filepath.SkipDir
	}
	return nil
}

func parse(p string) (source, error) {
	text, err := os.ReadFile(p)
	if err != nil {
		return source{}, err
	}
	file, err := parser.ParseFile(token.NewFileSet(), p, text, parser.ParseComments)
	if err != nil {
		return source{}, err
	}
	rel, err := filepath.Rel(moduleRoot, p)
	if err != nil {
		return source{}, err
	}
	rel = filepath.ToSlash(rel)
	s := source{path: rel, pkg: path.Dir(rel), lines: bytes.Count(text, []byte("\n")), file: file}
	for _, spec := range file.Imports {
		name := strings.Trim(spec.Path.Value, `"`)
		if name == module {
			s.imports = append(s.imports, ".")
		} else if sub, ok := strings.CutPrefix(name, module+"/"); ok {
			s.imports = append(s.imports, sub)
		}
	}
	return s, nil
}

func TestProductPackagesImportOnlyWhatTheirRuleAllows(t *testing.T) {
	for _, s := range sources(t) {
		if s.isTest() || s.file.Name.Name == "main" {
			continue
		}
		rule, known := rules[suiteOf(s.pkg)]
		if !known {
			t.Errorf("%s: package %s has no import rule; add one to rules_test.go", s.path, s.pkg)
			continue
		}
		for _, imported := range s.imports {
			if !rule.allows(imported) {
				t.Errorf("%s: package %s must not import %s", s.path, s.pkg, imported)
			}
		}
	}
}

func TestBackendsNeverImportEachOther(t *testing.T) {
	for _, s := range sources(t) {
		if !slices.Contains(backends, s.pkg) {
			continue
		}
		for _, imported := range s.imports {
			if imported != s.pkg && slices.Contains(backends, imported) {
				t.Errorf("%s: backend %s imports backend %s", s.path, s.pkg, imported)
			}
		}
	}
}

func TestNothingImportsACommand(t *testing.T) {
	for _, s := range sources(t) {
		for _, imported := range s.imports {
			if strings.HasPrefix(imported, "cmd/") && !strings.HasPrefix(s.pkg, imported) && !isPartOfCommand(s.pkg, imported) {
				t.Errorf("%s: %s is part of a command", s.path, imported)
			}
		}
	}
}

// isPartOfCommand reports whether both packages belong to the same cmd/NAME.
func isPartOfCommand(pkg, imported string) bool {
	command := strings.Join(strings.SplitN(imported, "/", 3)[:2], "/")
	return pkg == command || strings.HasPrefix(pkg, command+"/")
}

func TestOnlyTestsImportTestHelpers(t *testing.T) {
	for _, s := range sources(t) {
		if s.isTest() || isTestOnly(s.pkg) {
			continue
		}
		for _, imported := range s.imports {
			if isTestOnly(imported) {
				t.Errorf("%s: %s is for tests only", s.path, imported)
			}
		}
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	documented := map[string]bool{}
	for _, s := range sources(t) {
		if s.isTest() {
			continue
		}
		documented[s.pkg] = documented[s.pkg] || hasPackageDoc(s.file)
	}
	for pkg, ok := range documented {
		if !ok {
			t.Errorf("package %s has no package comment", pkg)
		}
	}
}

// hasPackageDoc reports whether the file opens its package with a comment that
// names it, "Package x" or, for a command, "Command x" or the command's name.
func hasPackageDoc(f *ast.File) bool {
	if f.Doc == nil {
		return false
	}
	text := f.Doc.Text()
	if f.Name.Name == "main" {
		return text != ""
	}
	return strings.HasPrefix(text, "Package "+f.Name.Name+" ")
}

func TestEveryFileIsShortEnoughToBeOneIdea(t *testing.T) {
	for _, s := range sources(t) {
		if s.lines > maxFileLines && !s.isGenerated() {
			t.Errorf("%s has %d lines, more than %d", s.path, s.lines, maxFileLines)
		}
	}
}

func TestNothingRunsBeforeMain(t *testing.T) {
	for _, s := range sources(t) {
		for _, decl := range s.file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if ok && f.Recv == nil && f.Name.Name == "init" && !s.isGenerated() {
				t.Errorf("%s has an init function", s.path)
			}
		}
	}
}

// A pattern that is compiled before main costs every command that never uses
// it.
func TestNoPatternIsCompiledBeforeMain(t *testing.T) {
	for _, s := range sources(t) {
		if s.isTest() || isTestOnly(s.pkg) || strings.HasPrefix(s.pkg, "scripts/") {
			continue
		}
		for _, decl := range s.file.Decls {
			if d, ok := decl.(*ast.GenDecl); ok && compiles(d) {
				t.Errorf("%s compiles a pattern for a variable of the package; use sync.OnceValue", s.path)
			}
		}
	}
}

// compiles reports whether a declaration calls regexp.MustCompile outside of
// functions.
func compiles(decl ast.Decl) (found bool) {
	ast.Inspect(decl, func(n ast.Node) bool {
		if _, inside := n.(*ast.FuncLit); inside {
			return false
		}
		call, ok := n.(*ast.SelectorExpr)
		found = found || ok && call.Sel.Name == "MustCompile"
		return true
	})
	return found
}

// Owner and mode are set in an order in which none undoes another, so only the
// packages that know it call these functions of package sys.
func TestOnlyOnePlaceSetsOwnersAndModes(t *testing.T) {
	setters := []string{"Fchown", "Fchownat", "Fchmod", "Fchmodat"}
	// A mark of a union is a file of its own kind, with one mode.
	knowing := []string{"internal/sys", "internal/attrs", "internal/whiteout"}
	for _, s := range sources(t) {
		if s.isTest() || isTestOnly(s.pkg) || slices.Contains(knowing, s.pkg) {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			call, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if pkg, ok := call.X.(*ast.Ident); ok && pkg.Name == "sys" && slices.Contains(setters, call.Sel.Name) {
				t.Errorf("%s calls sys.%s; use package internal/attrs", s.path, call.Sel.Name)
			}
			return true
		})
	}
}
