package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// pending knows the temporary files that this process is writing. A file is
// created and added to names with the lock held for reading, so that whoever
// gets it for writing finds every file that it has seen in a directory.
var pending struct {
	sync.RWMutex
	names sync.Map
}

// begin makes a temporary file and remembers its name until end.
func begin(fsys FS, dir string) (File, error) {
	pending.RLock()
	defer pending.RUnlock()
	f, err := fsys.CreateTemp(dir, TempPrefix)
	if err == nil {
		pending.names.Store(f.Name(), true)
	}
	return f, err
}

func end(f File) { pending.names.Delete(f.Name()) }

// RemoveStale removes the temporary files that killed processes have left in
// dir, and regular files of the other names. What this process is writing
// stays. It is for a directory in which no other process writes: one that is
// locked. A missing directory is no error.
func RemoveStale(dir string, others ...string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var errs []error
	for _, e := range entries {
		if path := filepath.Join(dir, e.Name()); e.Type().IsRegular() && (slices.Contains(others, e.Name()) || isStale(path)) {
			errs = append(errs, OS().Remove(path))
		}
	}
	return errors.Join(append(errs, err)...)
}

// isStale reports whether a path that was seen is that of a temporary file, and
// none that this process is writing.
func isStale(path string) bool {
	random, ok := strings.CutPrefix(filepath.Base(path), TempPrefix)
	if !ok || random == "" || strings.Trim(random, "0123456789") != "" {
		return false
	}
	pending.Lock() // waits for files that are being made
	defer pending.Unlock()
	_, ours := pending.names.Load(path)
	return !ours
}
