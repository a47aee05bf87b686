//go:build !linux

package btrfs

import (
	"context"
	"fmt"
	"runtime"

	"github.com/layerkeep/layerkeep/driver"
)

// New returns [driver.ErrUnsupported]: btrfs is a file system of Linux.
func New(context.Context, string, driver.Options) (driver.Driver, error) {
	return nil, fmt.Errorf("btrfs: %w on %s", driver.ErrUnsupported, runtime.GOOS)
}
