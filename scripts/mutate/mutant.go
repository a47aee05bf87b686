package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
)

// A mutant is one small change to a source file that should make a test fail.
type mutant struct {
	file       string // absolute
	line       int
	from, to   int // what is replaced, in bytes
	old, new   string
	function   string
	pkg        string
	sourceText []byte
}

// name is how a mutant is known in explained.txt: it stays when lines move.
func (m mutant) name() string {
	return fmt.Sprintf("%s %s: %s -> %s", filepath.Base(m.file), m.function, oneLine(m.old), oneLine(m.new))
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// text returns the changed file.
func (m mutant) text() []byte {
	return []byte(string(m.sourceText[:m.from]) + m.new + string(m.sourceText[m.to:]))
}

// opposites are the operators that are replaced.
var opposites = map[token.Token]string{
	token.EQL: "!=", token.NEQ: "==", token.LSS: "<=", token.LEQ: "<", token.GTR: ">=", token.GEQ: ">",
	token.LAND: "||", token.LOR: "&&", token.ADD: "-", token.SUB: "+",
}

// A finder collects the mutants of one file.
type finder struct {
	pkg, file string
	set       *token.FileSet
	source    []byte
	function  string
	// swallows: the last result of the function is an error.
	swallows []bool
	// beside are results that are returned beside an error: nobody looks at them.
	beside map[ast.Node]bool
	found  []mutant
}

// mutantsOf returns all mutants of a file.
func mutantsOf(pkg, file string) ([]mutant, error) {
	source, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	f := &finder{pkg: pkg, file: file, set: token.NewFileSet(), source: source, beside: map[ast.Node]bool{}}
	tree, err := parser.ParseFile(f.set, file, source, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	for _, d := range tree.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Body == nil {
			continue
		}
		f.function = fn.Name.Name
		f.swallows = []bool{returnsError(fn.Type)}
		f.visit(fn.Body)
	}
	return f.found, nil
}

func returnsError(t *ast.FuncType) bool {
	if t.Results == nil || len(t.Results.List) == 0 {
		return false
	}
	last, ok := t.Results.List[len(t.Results.List)-1].Type.(*ast.Ident)
	return ok && last.Name == "error"
}

func (f *finder) visit(n ast.Node) {
	ast.Inspect(n, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit:
			f.swallows = append(f.swallows, returnsError(n.Type))
			f.visit(n.Body)
			f.swallows = f.swallows[:len(f.swallows)-1]
			return false
		case *ast.ReturnStmt:
			f.returned(n)
		case *ast.IfStmt:
			f.replace(n.Cond, "!("+f.textOf(n.Cond)+")")
			f.besideErrors(n)
		case *ast.BinaryExpr:
			f.operator(n)
		case *ast.Ident:
			if f.beside[n] {
				return true
			}
			switch n.Name {
			case "true":
				f.replace(n, "false")
			case "false":
				f.replace(n, "true")
			}
		}
		return true
	})
}

// returned swallows the error of a return statement.
func (f *finder) returned(n *ast.ReturnStmt) {
	if !f.swallows[len(f.swallows)-1] || len(n.Results) == 0 {
		return
	}
	last := n.Results[len(n.Results)-1]
	if call, ok := last.(*ast.CallExpr); ok && makesError(call) {
		f.besideAll(n)
	}
	if _, call := last.(*ast.CallExpr); call && len(n.Results) == 1 && !makesError(last.(*ast.CallExpr)) {
		return // the call may have to be made, and may return several values
	}
	if f.textOf(last) != "nil" {
		f.replace(last, "nil")
	}
}

// besideErrors finds the results that are returned beside err in "if err !=
// nil".
func (f *finder) besideErrors(n *ast.IfStmt) {
	cond, ok := n.Cond.(*ast.BinaryExpr)
	if !ok || cond.Op != token.NEQ || f.textOf(cond.Y) != "nil" {
		return
	}
	for _, s := range n.Body.List {
		r, ok := s.(*ast.ReturnStmt)
		if !ok || len(r.Results) < 2 || f.textOf(r.Results[len(r.Results)-1]) != f.textOf(cond.X) {
			continue
		}
		f.besideAll(r)
	}
}

// besideAll marks the results of a return statement that surely returns an
// error: nobody looks at them.
func (f *finder) besideAll(r *ast.ReturnStmt) {
	for _, result := range r.Results {
		f.beside[result] = true
	}
}

// makesError reports a call that does nothing but make an error.
func makesError(c *ast.CallExpr) bool {
	s, ok := c.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	pkg, ok := s.X.(*ast.Ident)
	return ok && (pkg.Name == "fmt" && s.Sel.Name == "Errorf" || pkg.Name == "errors" && s.Sel.Name == "New")
}

func (f *finder) operator(n *ast.BinaryExpr) {
	opposite, ok := opposites[n.Op]
	if !ok || isString(n.X) || isString(n.Y) {
		return
	}
	at := f.set.Position(n.OpPos)
	f.add(at, len(n.Op.String()), opposite)
}

func isString(e ast.Expr) bool {
	lit, ok := e.(*ast.BasicLit)
	return ok && lit.Kind == token.STRING
}

func (f *finder) textOf(n ast.Node) string {
	return string(f.source[f.set.Position(n.Pos()).Offset:f.set.Position(n.End()).Offset])
}

func (f *finder) replace(n ast.Node, text string) {
	at := f.set.Position(n.Pos())
	f.add(at, f.set.Position(n.End()).Offset-at.Offset, text)
}

func (f *finder) add(at token.Position, length int, text string) {
	f.found = append(f.found, mutant{
		file: f.file, line: at.Line, from: at.Offset, to: at.Offset + length,
		old: string(f.source[at.Offset : at.Offset+length]), new: text,
		function: f.function, pkg: f.pkg, sourceText: f.source,
	})
}
