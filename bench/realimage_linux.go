package bench

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/layerkeep/layerkeep/bench/synth"
)

// The bounds of a layer of the real image.
const (
	realEntries = 8000
	realBytes   = 150 << 20
)

// realDirs are directories of this machine that become layers.
func realDirs() []string { return []string{"/etc", "/usr/bin", "/usr/lib", "/usr/share"} }

func startRealImage(_ context.Context, st *Stage) (Trial, error) {
	t := image{st: st}
	for _, dir := range realDirs() {
		if _, err := os.Stat(dir); err != nil {
			return nil, err
		}
		t.layers = append(t.layers, func(l *synth.Layer) { l.Add(func(w *tar.Writer) error { return addReal(w, dir) }) })
	}
	return t, nil
}

// addReal adds directories, files and symbolic links below dir until there are
// enough. What cannot be read is left out.
func addReal(w *tar.Writer, dir string) error {
	entries, bytes := 0, int64(0)
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // it is left out
		}
		info, err := e.Info()
		if err != nil || !e.IsDir() && !info.Mode().IsRegular() && info.Mode().Type() != fs.ModeSymlink {
			return nil //nolint:nilerr // it is left out
		}
		if info.Mode().IsRegular() && bytes+info.Size() > realBytes {
			return nil
		}
		if entries++; entries > realEntries {
			return fs.SkipAll
		}
		if info.Mode().IsRegular() {
			bytes += info.Size()
		}
		return addFile(w, path, info)
	})
}

func addFile(w *tar.Writer, path string, info fs.FileInfo) error {
	target := ""
	if info.Mode().Type() == fs.ModeSymlink {
		var err error
		if target, err = os.Readlink(path); err != nil {
			return nil //nolint:nilerr // it is left out
		}
	}
	if !info.Mode().IsRegular() {
		return writeHeader(w, path, info, target)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil //nolint:nilerr // it is left out
	}
	defer f.Close()
	if err := writeHeader(w, path, info, target); err != nil {
		return err
	}
	// A file that became shorter meanwhile is filled up.
	n, err := io.CopyN(w, f, info.Size())
	if errors.Is(err, io.EOF) {
		_, err = w.Write(make([]byte, info.Size()-n))
	}
	return err
}

func writeHeader(w *tar.Writer, path string, info fs.FileInfo, target string) error {
	h, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return err
	}
	h.Name, h.Format = path[1:], tar.FormatPAX
	if info.IsDir() {
		h.Name += "/"
	}
	return w.WriteHeader(h)
}
