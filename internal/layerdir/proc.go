package layerdir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"

	"github.com/layerkeep/layerkeep/driver"
)

// procSelf is the directory in which a thread finds its open files and its
// mounts.
const procSelf = "/proc/thread-self"

// needProc returns an error if /proc is not mounted, or if it is hidden.
// Without /proc the path of an open file and the list of mounts are not
// available.
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
