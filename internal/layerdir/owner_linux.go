package layerdir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
)

// CheckOwners tries, in dir, whether files can be given to root, as almost
// every layer asks for. Returns an error matching [driver.ErrUnsupported] when
// not.
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
