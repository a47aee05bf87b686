package report

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/layerkeep/layerkeep/bench"
	"github.com/layerkeep/layerkeep/internal/durable"
)

// forms are what a report is kept in: all that was measured, text for
// benchstat, and a page with plots.
var forms = []struct {
	name  string
	write func(w io.Writer, r *bench.Report) error
}{
	{"bench.json", func(w io.Writer, r *bench.Report) error { return r.Write(w) }},
	{"bench.txt", Benchstat},
	{"bench.html", HTML},
}

// A Dir is the directory for the report of a run. Until the run has ended, it
// keeps what was measured so far.
type Dir struct{ path string }

// OpenDir makes the directory if it is missing, and tries whether it can be
// written to: a run takes too long to find out at its end.
func OpenDir(path string) (*Dir, error) {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, err
	}
	try, err := os.CreateTemp(path, durable.TempPrefix)
	if err != nil {
		return nil, err
	}
	return &Dir{path}, errors.Join(try.Close(), os.Remove(try.Name()))
}

// Part is the path of the file that keeps what was measured so far.
func (d *Dir) Part() string { return filepath.Join(d.path, "bench.part.json") }

// Before returns what an interrupted run has left, nil if there is nothing. An
// error matches [bench.ErrNotReport] if the file is something else.
func (d *Dir) Before() (*bench.Report, error) {
	r, err := ReadFile(d.Part())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return r, err
}

// Save keeps what was measured so far.
func (d *Dir) Save(r *bench.Report) error { return write(d.Part(), r.Write) }

// Finish writes the report of a run that has ended, and removes what was kept
// of it before.
func (d *Dir) Finish(r *bench.Report) error {
	for i, path := range d.Files() {
		if err := write(path, func(w io.Writer) error { return forms[i].write(w, r) }); err != nil {
			return err
		}
	}
	if err := os.Remove(d.Part()); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Files are the paths of what Finish writes.
func (d *Dir) Files() []string {
	var all []string
	for _, f := range forms {
		all = append(all, filepath.Join(d.path, f.name))
	}
	return all
}

// write puts a file in its place, whole.
func write(path string, fill func(io.Writer) error) error {
	return durable.Write(durable.OS(), path, 0o644, fill)
}

// ReadFile reads the JSON of a report. An error matches [bench.ErrNotReport] if
// the file is something else.
func ReadFile(path string) (*bench.Report, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := bench.Read(f)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return r, nil
}
