package layerdir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"

	"github.com/layerkeep/layerkeep/driver"
)

// procSelf is where a process finds its open files and its mounts.
const procSelf = "/proc/thread-self"

// needProc returns an error where /proc is not mounted, or hidden. Without it
// an open file has no path, and nothing tells what is mounted.
func needProc(self string) error {
	if runtime.GOOS != "linux" {
		return nil
	}
	for _, name := range []string{"/fd", "/mountinfo"} {
		_, err := os.Stat(self + name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("look whether /proc is mounted: %w", err)
		}
		if err != nil {
			return fmt.Errorf("%w: /proc is not mounted here, or hidden: %v", driver.ErrUnsupported, err) //nolint:errorlint // it says nothing of the store
		}
	}
	return nil
}
