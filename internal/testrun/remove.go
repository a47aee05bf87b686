package testrun

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// RemoveAll is os.RemoveAll, for directories that a test made unreadable and
// for read-only subvolumes too.
func RemoveAll(dir string) error {
	if os.RemoveAll(dir) == nil {
		return nil
	}
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if e == nil || !e.IsDir() {
			return err
		}
		// WalkDir comes here before it reads the directory.
		return errors.Join(makeWritable(p), os.Chmod(p, 0o700))
	})
	return errors.Join(err, os.RemoveAll(dir))
}
