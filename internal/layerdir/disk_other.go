//go:build !linux

package layerdir

import (
	"context"
	"errors"
	"os"

	"github.com/layerkeep/layerkeep/driver"
)

func renameNew(from, to string) error { return os.Rename(from, to) }

func unmountBelow(string) error { return nil }

// SyncFS is [errors.ErrUnsupported] here.
func SyncFS(string) error { return errors.ErrUnsupported }

// Usage is [errors.ErrUnsupported] here.
func Usage(context.Context, string) (driver.Usage, error) {
	return driver.Usage{}, errors.ErrUnsupported
}

// A Use says how a layer is mounted.
type Use uint8

// The uses, in rising order.
const (
	Unmounted Use = iota
	MountedReadOnly
	MountedWritable
)

// Mounted is [errors.ErrUnsupported] here.
func (s *Store) Mounted(driver.ID) (Use, error) { return Unmounted, errors.ErrUnsupported }

// Exchange is [errors.ErrUnsupported] here.
func Exchange(_, _ string) error { return errors.ErrUnsupported }

func (s *Store) oldMounted(string, driver.ID) (bool, error) { return false, nil }

// NotMounted is [errors.ErrUnsupported] here.
func (s *Store) NotMounted(driver.ID, Use) error { return errors.ErrUnsupported }

func disinherit(dir *os.File) error { return dir.Chmod(0o700) }
