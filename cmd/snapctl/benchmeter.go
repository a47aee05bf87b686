package main

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/term"

	"github.com/layerkeep/layerkeep/bench"
)

// defaultColumns is the width of what is no terminal.
const defaultColumns = 80

// columns is the width of the terminal that the output goes to.
func (a *app) columns() int {
	f, ok := a.Out.(*os.File)
	if !ok {
		return defaultColumns
	}
	width, _, err := term.GetSize(int(f.Fd())) //nolint:gosec // a descriptor
	if err != nil || width <= 0 {
		return defaultColumns
	}
	return width
}

// A meter shows on standard error how far a run is: on a terminal in one line,
// else with a line for each case.
type meter struct {
	a        *app
	terminal bool
	what     string
	drawn    bool
}

func newMeter(a *app) *meter { return &meter{a: a, terminal: a.showBars()} }

func (m *meter) show(p bench.Progress) {
	if m.a.global.quiet {
		return
	}
	text := fmt.Sprintf("[%d/%d] %s", min(p.Done+1, p.Total), p.Total, p.What)
	if p.Left > 0 {
		text += ", about " + leftText(p.Left) + " left"
	}
	switch {
	case m.terminal:
		_, _ = fmt.Fprintf(m.a.Err, "\r\x1b[K%s", text)
		m.drawn = true
	case p.What != m.what:
		_, _ = fmt.Fprintln(m.a.Err, text)
	}
	m.what = p.What
}

// end wipes the line.
func (m *meter) end() {
	if m.drawn {
		_, _ = fmt.Fprint(m.a.Err, "\r\x1b[K")
	}
}

// leftText is a time in the two largest of its units.
func leftText(d time.Duration) string {
	switch {
	case d >= time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	case d >= time.Minute:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%d s", int(d.Seconds()))
}
