//go:build !linux

package vfs

import (
	"context"
	"fmt"
	"runtime"

	"github.com/layerkeep/layerkeep/driver"
)

// New returns [driver.ErrUnsupported]: vfs copies trees with system calls of
// Linux.
func New(context.Context, string, driver.Options) (driver.Driver, error) {
	return nil, fmt.Errorf("vfs: %w on %s", driver.ErrUnsupported, runtime.GOOS)
}
