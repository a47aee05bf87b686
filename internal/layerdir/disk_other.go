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

// SyncFS returns [errors.ErrUnsupported] on this platform.
func SyncFS(string) error { return errors.ErrUnsupported }

// Usage returns [errors.ErrUnsupported] on this platform.
func Usage(context.Context, string) (driver.Usage, error) {
	return driver.Usage{}, errors.ErrUnsupported
}

// A Use says how a layer is mounted.
type Use uint8

// The uses, from weakest to strongest.
const (
	Unmounted Use = iota
	MountedReadOnly
	MountedWritable
)

// Mounted returns [errors.ErrUnsupported] on this platform.
func (s *Store) Mounted(driver.ID) (Use, error) { return Unmounted, errors.ErrUnsupported }

// Exchange returns [errors.ErrUnsupported] on this platform.
func Exchange(_, _ string) error { return errors.ErrUnsupported }

func (s *Store) oldMounted(string, driver.ID) (bool, error) { return false, nil }

// NotMounted returns [errors.ErrUnsupported] on this platform.
func (s *Store) NotMounted(driver.ID, Use) error { return errors.ErrUnsupported }

func disinherit(dir *os.File) error { return dir.Chmod(0o700) }
