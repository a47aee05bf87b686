package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/layerkeep/layerkeep/bench"
	"github.com/layerkeep/layerkeep/bench/report"
	"github.com/layerkeep/layerkeep/internal/durable"
)

// benchFiles are the files that a run of the benchmark writes.
type benchFiles struct{ dir string }

const benchPart = "bench.part.json"

// openBenchFiles makes the directory, and tries whether it can be written to: a run takes too
// long to find out at its end.
func openBenchFiles(dir string) (*benchFiles, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	try, err := os.CreateTemp(dir, durable.TempPrefix)
	if err != nil {
		return nil, err
	}
	return &benchFiles{dir}, errors.Join(try.Close(), os.Remove(try.Name()))
}

func (f *benchFiles) part() string { return filepath.Join(f.dir, benchPart) }

// before returns what an interrupted run has left, nil if there is nothing.
func (f *benchFiles) before() (*bench.Report, error) {
	r, err := readReport(f.part())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, advise(err, "remove that file, or name another --out")
	}
	return r, nil
}

// save keeps what was measured so far.
func (f *benchFiles) save(r *bench.Report) error { return f.write(benchPart, r.Write) }

// write puts a file in its place, whole.
func (f *benchFiles) write(name string, fill func(io.Writer) error) error {
	return durable.Write(durable.OS(), filepath.Join(f.dir, name), 0o644, fill)
}

// finish writes the files of a finished run, and removes what was kept of it before.
func (f *benchFiles) finish(r *bench.Report) error {
	for _, file := range report.Files() {
		if err := f.write(file.Name, func(w io.Writer) error { return file.Write(w, r) }); err != nil {
			return err
		}
	}
	if err := os.Remove(f.part()); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (f *benchFiles) names() string {
	var all []string
	for _, file := range report.Files() {
		all = append(all, filepath.Join(f.dir, file.Name))
	}
	return strings.Join(all, ", ")
}

// readReport reads the report of a run.
func readReport(path string) (*bench.Report, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := bench.Read(f)
	if errors.Is(err, bench.ErrNotReport) {
		err = fmt.Errorf("%w: %w", errInvalid, err)
	}
	return r, doing(err, "reading %s", path)
}
