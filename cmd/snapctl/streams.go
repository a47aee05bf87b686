package main

import (
	"io"
	"os"

	"golang.org/x/term"
)

// streams are a command's standard input, output and error.
type streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
}

// isTerminal reports whether f, one of the streams, is a terminal.
func isTerminal(f any) bool {
	file, ok := f.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}
