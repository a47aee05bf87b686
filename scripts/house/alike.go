package main

import (
	"fmt"
	"go/ast"
	"go/scanner"
	"go/token"
	"os"
	"slices"
	"strings"
)

const (
	// shingle is how many tokens in a row are compared as one.
	shingle = 6
	// fewest is how many tokens a function has at least to count: short ones are
	// alike by chance.
	fewest = 40
	// enough is the share of common shingles from which on two functions are a
	// pair.
	enough = 0.5
)

// A pair is two functions that say the same thing, as far as their tokens tell.
type pair struct {
	a, b  string
	alike float64 // from 0 to 1
}

type function struct {
	name     string
	shingles map[string]bool
}

// pairs finds functions that are alike. Names of variables and values of
// literals do not count, and the names of what is called do.
func (h *house) pairs() []pair {
	var all []function
	h.each(func(_ string, f *file) {
		source, err := os.ReadFile(f.path)
		if err != nil {
			return // it was read a moment ago
		}
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			at := h.fset.Position(fn.Body.Pos()).Offset
			end := h.fset.Position(fn.Body.End()).Offset
			tokens := normalized(source[at:end])
			if len(tokens) < fewest {
				continue
			}
			name := fmt.Sprintf("%s:%d %s", f.path, h.fset.Position(fn.Pos()).Line, strings.TrimPrefix(receiver(fn)+"."+fn.Name.Name, "."))
			all = append(all, function{name, shingles(tokens)})
		}
	})
	var found []pair
	for i, a := range all {
		for _, b := range all[i+1:] {
			if s := likeness(a.shingles, b.shingles); s >= enough {
				found = append(found, pair{a.name, b.name, s})
			}
		}
	}
	slices.SortFunc(found, func(x, y pair) int { return strings.Compare(x.a+x.b, y.a+y.b) })
	return found
}

// normalized are the tokens of a piece of source, with one word for every name
// that nothing is called by or selected from, and one for every literal.
func normalized(source []byte) []string {
	var s scanner.Scanner
	files := token.NewFileSet()
	s.Init(files.AddFile("", files.Base(), len(source)), source, nil, 0)
	var tokens []string
	for {
		_, tok, text := s.Scan()
		switch {
		case tok == token.EOF:
			return tokens
		case tok == token.IDENT && (len(tokens) == 0 || tokens[len(tokens)-1] != "."):
			text = "name"
		case tok.IsLiteral() && tok != token.IDENT:
			text = "literal"
		case text == "" || tok == token.SEMICOLON:
			text = tok.String()
		}
		tokens = append(tokens, text)
	}
}

func shingles(tokens []string) map[string]bool {
	set := map[string]bool{}
	for i := 0; i+shingle <= len(tokens); i++ {
		set[strings.Join(tokens[i:i+shingle], " ")] = true
	}
	return set
}

// likeness is the share of the shingles of both that both have.
func likeness(a, b map[string]bool) float64 {
	if len(a) > 2*len(b) || len(b) > 2*len(a) {
		return 0 // it cannot be half
	}
	both := 0
	for s := range a {
		if b[s] {
			both++
		}
	}
	return float64(both) / float64(len(a)+len(b)-both)
}

// placesOf lists where an operation is declared: methods and functions of that
// name, or of that name in lower case, methods of interfaces, and calls of the
// protocol.
func (h *house) placesOf(operation string) []string {
	var places []string
	is := func(name string) bool { return strings.EqualFold(name, operation) }
	h.each(func(_ string, f *file) {
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if is(n.Name.Name) || is(strings.TrimPrefix(n.Name.Name, "run")) {
					places = append(places, f.path+": "+strings.TrimPrefix(receiver(n)+"."+n.Name.Name, "."))
				}
			case *ast.InterfaceType:
				for _, m := range n.Methods.List {
					if len(m.Names) == 1 && is(m.Names[0].Name) {
						places = append(places, f.path+": in an interface")
					}
				}
			}
			return true
		})
	})
	for path, text := range h.protos {
		if strings.Contains(text, "rpc "+operation+"(") {
			places = append(places, path+": rpc")
		}
	}
	slices.Sort(places)
	return places
}
