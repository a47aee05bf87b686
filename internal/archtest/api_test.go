package archtest

import (
	"bytes"
	"flag"
	"go/ast"
	"go/format"
	"go/token"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// publicAPI lists what other modules can use, one declaration on a line, for
// Linux. A line that goes away, or changes, breaks programs of others.
const publicAPI = moduleRoot + "/api/go.txt"

var update = flag.Bool("update", false, "write api/go.txt anew")

func TestThePublicAPIIsAsRecorded(t *testing.T) {
	is := strings.Join(exported(t), "\n") + "\n"
	if *update {
		require.NoError(t, os.WriteFile(publicAPI, []byte(is), 0o644))
	}
	recorded, err := os.ReadFile(publicAPI)
	require.NoError(t, err)
	was, now := lines(string(recorded)), lines(is)
	for l := range was {
		if !now[l] {
			t.Errorf("no longer in the public API: %s", l)
		}
	}
	for l := range now {
		if !was[l] {
			t.Errorf("new in the public API: %s", l)
		}
	}
	if t.Failed() {
		t.Log("if that is meant: go test ./internal/archtest -run API -update, and say in CHANGELOG.md what users have to change")
	}
}

func lines(text string) map[string]bool {
	all := map[string]bool{}
	for _, l := range strings.Split(strings.TrimSpace(text), "\n") {
		all[l] = true
	}
	return all
}

// exported lists the exported declarations of all packages that other modules
// can import, but for those that only tests need.
func exported(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, s := range sources(t) {
		if !isPublic(s) {
			continue
		}
		ast.FileExports(s.file)
		for _, decl := range s.file.Decls {
			for _, text := range declarations(t, decl) {
				all = append(all, s.pkg+": "+text)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func isPublic(s source) bool {
	internal := strings.HasPrefix(s.pkg, "internal/") || strings.Contains(s.pkg, "/internal/")
	command := s.file.Name.Name == "main" || strings.HasPrefix(s.pkg, "scripts") || strings.HasPrefix(s.pkg, "test/")
	otherSystems := strings.HasSuffix(s.path, "_other.go")
	return !internal && !command && !otherSystems && !s.isTest() && !s.isGenerated() && !isTestOnly(s.pkg)
}

// declarations returns what a declaration declares, each on one line.
func declarations(t *testing.T, decl ast.Decl) (all []string) {
	t.Helper()
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Recv != nil && !receiverIsExported(d.Recv) {
			return nil
		}
		d.Body, d.Doc = nil, nil
		return []string{oneLine(t, d)}
	case *ast.GenDecl:
		if d.Tok == token.IMPORT {
			return nil
		}
		for _, spec := range d.Specs {
			one := &ast.GenDecl{Tok: d.Tok, Specs: []ast.Spec{withoutComments(spec)}}
			all = append(all, oneLine(t, one))
		}
	}
	return all
}

func receiverIsExported(list *ast.FieldList) bool {
	found := false
	ast.Inspect(list, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok && id.Obj == nil && ast.IsExported(id.Name) {
			found = true
		}
		return true
	})
	return found
}

// withoutComments takes from a specification what says nothing to a compiler,
// and the values of variables, which may change.
func withoutComments(spec ast.Spec) ast.Spec {
	ast.Inspect(spec, func(n ast.Node) bool {
		switch x := n.(type) {
		case *ast.TypeSpec:
			x.Doc, x.Comment = nil, nil
		case *ast.ValueSpec:
			x.Doc, x.Comment = nil, nil
			if x.Type != nil || !isLiteral(x.Values) {
				x.Values = nil
			}
		case *ast.Field:
			x.Doc, x.Comment = nil, nil
		}
		return true
	})
	return spec
}

// isLiteral tells the values of constants, which programs rely on.
func isLiteral(values []ast.Expr) bool {
	for _, v := range values {
		if _, ok := v.(*ast.BasicLit); !ok {
			return false
		}
	}
	return true
}

func oneLine(t *testing.T, node any) string {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, format.Node(&out, token.NewFileSet(), node))
	return strings.Join(strings.Fields(out.String()), " ")
}
