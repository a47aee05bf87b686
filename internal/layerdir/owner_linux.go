package layerdir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
)

// CheckOwners checks, with a directory that it makes in dir, whether files can
// be given to root, which almost every layer needs. If they cannot, it returns
// an error matching [driver.ErrUnsupported].
func CheckOwners(dir string) (err error) {
	path := dir + "/.owner"
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(path)) }()
	if err := unix.Lchown(path, 0, 0); err != nil {
		return fmt.Errorf("%w: files cannot be given to root (%w); run as root, or in a user namespace", driver.ErrUnsupported, err)
	}
	return nil
}
