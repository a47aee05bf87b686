package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// jsonHelp is the part of a command's long help that documents its object. The
// same example stands in docs/json.md; a test holds the two and the Go type
// together.
func jsonHelp(text, example string) string {
	indented := "  " + strings.ReplaceAll(example, "\n", "\n  ")
	return text + "\n\nWith --json it prints one object:\n" + indented
}

// printJSON prints v as the one object of --json.
func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.Out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return doing(enc.Encode(v), "writing the result to standard output")
}

// result prints v with --json, else what text writes.
func (a *app) result(v any, text func(w io.Writer) error) error {
	if a.global.json {
		return a.printJSON(v)
	}
	return doing(text(a.Out), "writing the result to standard output")
}

// line prints one line of text, or v with --json.
func (a *app) line(v any, format string, args ...any) error {
	return a.result(v, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, format+"\n", args...)
		return err
	})
}

// note tells the user something on standard error, unless quiet.
func (a *app) note(format string, args ...any) {
	if !a.global.quiet {
		_, _ = fmt.Fprintf(a.Err, "snapctl: %s\n", escapeLine(fmt.Sprintf(format, args...)))
	}
}

// table prints rows under a header in aligned columns. Cells are escaped.
func table(w io.Writer, header []string, rows [][]string) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	write := func(cells []string) error {
		escaped := make([]string, len(cells))
		for i, c := range cells {
			escaped[i] = escape(c)
		}
		_, err := fmt.Fprintln(tw, strings.Join(escaped, "\t"))
		return err
	}
	if err := write(header); err != nil {
		return err
	}
	for _, r := range rows {
		if err := write(r); err != nil {
			return err
		}
	}
	return tw.Flush()
}

// size renders a number of bytes for people, in powers of 1024.
func size(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n)/1024, 0
	for value >= 1023.95 && unit < len(units)-1 {
		value /= 1024
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", value, units[unit])
}

// stamp renders a time for people and for JSON: UTC, to the second.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// short shortens a digest for people: its first twelve digits.
func short(s string) string {
	const digits = 12
	if hex, ok := strings.CutPrefix(s, "sha256:"); ok && len(hex) == 64 {
		return hex[:digits]
	}
	return s
}
