// Command house counts what a simpler design should make less of: lines,
// packages, exported names, long functions, functions that say the same thing,
// and the places that one operation touches. It reads the source alone and
// needs nothing built.
//
//	go run ./scripts/house [-operation Usage] [-pairs] [DIR]
package main

import (
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	operation := flag.String("operation", "Usage", "count the places in which the operation of this name is declared or forwarded")
	showPairs := flag.Bool("pairs", false, "list the pairs of functions that are alike")
	flag.Parse()
	root := "."
	if flag.NArg() > 0 {
		root = flag.Arg(0)
	}
	h, err := read(root)
	if err != nil {
		fmt.Fprintln(os.Stderr, "house:", err)
		os.Exit(1)
	}
	h.print(os.Stdout, *operation, *showPairs)
}

// A house is the source of a module.
type house struct {
	fset     *token.FileSet
	packages map[string][]*file // by directory
	protos   map[string]string  // content by path
}

type file struct {
	path string
	test bool
	// generated files say so in their first comment; nobody reads or edits them.
	generated bool
	ast       *ast.File
}

func read(root string) (*house, error) {
	h := &house{fset: token.NewFileSet(), packages: map[string][]*file{}, protos: map[string]string{}}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			hidden := strings.HasPrefix(e.Name(), ".") && path != root
			if hidden || e.Name() == "testdata" || e.Name() == "peers" {
				return fs.SkipDir
			}
			return nil
		}
		switch filepath.Ext(path) {
		case ".proto":
			raw, err := os.ReadFile(path)
			h.protos[path] = string(raw)
			return err
		case ".go":
			return h.add(root, path)
		}
		return nil
	})
	if err == nil && len(h.packages) == 0 {
		err = errors.New("no Go files in " + root)
	}
	return h, err
}

func (h *house) add(root, path string) error {
	parsed, err := parser.ParseFile(h.fset, path, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	dir, err := filepath.Rel(root, filepath.Dir(path))
	h.packages[dir] = append(h.packages[dir], &file{
		path: path, test: strings.HasSuffix(path, "_test.go"), generated: ast.IsGenerated(parsed), ast: parsed,
	})
	return err
}

// each calls fn for every file that people write and that is no test.
func (h *house) each(fn func(dir string, f *file)) {
	for _, dir := range h.dirs() {
		for _, f := range h.packages[dir] {
			if !f.test && !f.generated {
				fn(dir, f)
			}
		}
	}
}

func (h *house) dirs() []string {
	var dirs []string
	for dir := range h.packages {
		dirs = append(dirs, dir)
	}
	slices.Sort(dirs)
	return dirs
}

func (h *house) print(w *os.File, operation string, showPairs bool) {
	code, tests := h.lines()
	fmt.Fprintf(w, "lines of code               %7d\n", code)
	fmt.Fprintf(w, "lines of tests              %7d\n", tests)
	fmt.Fprintf(w, "packages                    %7d\n", len(h.packages))
	fmt.Fprintf(w, "exported names              %7d\n", h.exported())
	lengths := h.functionLengths()
	fmt.Fprintf(w, "functions                   %7d\n", len(lengths))
	fmt.Fprintf(w, "their lines, p50/p90/max    %3d/%d/%d\n", lengths[len(lengths)/2], lengths[len(lengths)*9/10], lengths[len(lengths)-1])
	pairs := h.pairs()
	fmt.Fprintf(w, "pairs of functions alike    %7d\n", len(pairs))
	places := h.placesOf(operation)
	fmt.Fprintf(w, "places of %-17s %7d\n", operation, len(places))
	for _, p := range places {
		fmt.Fprintln(w, "  "+p)
	}
	if showPairs {
		for _, p := range pairs {
			fmt.Fprintf(w, "%.2f  %s  %s\n", p.alike, p.a, p.b)
		}
	}
}

// lines counts lines that have more than a comment on them, of code and of
// tests.
func (h *house) lines() (code, tests int) {
	for _, files := range h.packages {
		for _, f := range files {
			if f.generated {
				continue
			}
			seen := map[int]bool{}
			ast.Inspect(f.ast, func(n ast.Node) bool {
				if _, comment := n.(*ast.CommentGroup); comment || n == nil {
					return false
				}
				seen[h.fset.Position(n.Pos()).Line] = true
				seen[h.fset.Position(n.End()-1).Line] = true
				return true
			})
			if f.test {
				tests += len(seen)
			} else {
				code += len(seen)
			}
		}
	}
	return code, tests
}

// exported counts the names that a program which imports the module can use: of
// packages that are neither commands nor internal, with the methods of exported
// types.
func (h *house) exported() (n int) {
	h.each(func(dir string, f *file) {
		if f.ast.Name.Name == "main" || slices.Contains(strings.Split(filepath.ToSlash(dir), "/"), "internal") {
			return
		}
		for _, d := range f.ast.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && (d.Recv == nil || ast.IsExported(receiver(d))) {
					n++
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					n += exportedIn(s)
				}
			}
		}
	})
	return n
}

func exportedIn(s ast.Spec) (n int) {
	switch s := s.(type) {
	case *ast.TypeSpec:
		if s.Name.IsExported() {
			n++
		}
	case *ast.ValueSpec:
		for _, name := range s.Names {
			if name.IsExported() {
				n++
			}
		}
	}
	return n
}

// receiver is the name of the type that a method belongs to, empty for a
// function.
func receiver(d *ast.FuncDecl) string {
	if d.Recv == nil {
		return ""
	}
	t := d.Recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.IndexListExpr:
			t = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}

// functionLengths are the lines of all functions with a body, shortest first.
func (h *house) functionLengths() []int {
	lengths := []int{0}[:0]
	h.each(func(_ string, f *file) {
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Body != nil {
				lengths = append(lengths, h.fset.Position(fn.End()).Line-h.fset.Position(fn.Pos()).Line+1)
			}
		}
	})
	slices.Sort(lengths)
	return lengths
}
