package layerdir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/sys"
)

// RemoveAll is [os.RemoveAll] that is not kept by chattr(1) +i and +a, which
// whoever could write to a layer may have set on what is in it.
func RemoveAll(path string) error {
	err := os.RemoveAll(path)
	if !errors.Is(err, unix.EPERM) {
		return err
	}
	// What cannot be thawed is in the error of the second attempt.
	_ = filepath.WalkDir(path, func(path string, e fs.DirEntry, err error) error {
		if err == nil && (e.IsDir() || e.Type().IsRegular()) {
			_ = sys.Thawat(unix.AT_FDCWD, path)
		}
		return nil
	})
	return os.RemoveAll(path)
}
