//go:build !linux

package overlay2

import (
	"context"
	"fmt"
	"runtime"

	"github.com/layerkeep/layerkeep/driver"
)

// New returns [driver.ErrUnsupported]: only Linux has overlayfs.
func New(context.Context, string, driver.Options) (driver.Driver, error) {
	return nil, fmt.Errorf("overlay2: %w on %s", driver.ErrUnsupported, runtime.GOOS)
}
