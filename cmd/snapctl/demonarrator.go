package main

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// Colours of a terminal (ECMA-48, select graphic rendition).
const (
	colourTitle   = "\x1b[1;36m"
	colourCommand = "\x1b[1;32m"
	colourOutput  = "\x1b[2m"
	colourOff     = "\x1b[0m"
)

// A narrator tells the demo's story. The first error of its writer stays in
// err.
type narrator struct {
	w      io.Writer
	colour bool
	err    error
}

func newNarrator(a *app) *narrator {
	if a.global.quiet || a.global.json {
		return &narrator{w: io.Discard}
	}
	return &narrator{w: a.Out, colour: isTerminal(a.Out) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

func (n *narrator) print(colour, text string) {
	if n.colour && colour != "" {
		text = colour + text + colourOff
	}
	if n.err == nil {
		_, n.err = fmt.Fprintln(n.w, text)
	}
}

// title begins a step.
func (n *narrator) title(number int, text string) {
	n.print("", "")
	n.print(colourTitle, fmt.Sprintf("%d. %s", number, text))
}

// say tells what is about to be seen, or what was.
func (n *narrator) say(text string) { n.print("", text) }

// command shows a command line.
func (n *narrator) command(line string) { n.print(colourCommand, "  $ "+line) }

// output shows what a command printed, line by line.
func (n *narrator) output(text string) {
	for line := range strings.Lines(text) {
		n.print(colourOutput, "    "+strings.TrimRight(line, "\n"))
	}
}
