package report

import (
	"io"

	"github.com/layerkeep/layerkeep/bench"
)

// A File is one of the forms that a report is kept in.
type File struct {
	Name string
	// Write writes the report in that form.
	Write func(w io.Writer, r *bench.Report) error
}

// Files are the forms that a report is kept in: all that was measured, text for benchstat,
// and a page with plots.
func Files() []File {
	return []File{
		{"bench.json", func(w io.Writer, r *bench.Report) error { return r.Write(w) }},
		{"bench.txt", Benchstat},
		{"bench.html", HTML},
	}
}
