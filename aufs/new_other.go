//go:build !linux

package aufs

import (
	"context"
	"fmt"
	"runtime"

	"github.com/layerkeep/layerkeep/driver"
)

// New returns [driver.ErrUnsupported]: only Linux had aufs.
func New(context.Context, string, driver.Options) (driver.Driver, error) {
	return nil, fmt.Errorf("aufs: %w on %s", driver.ErrUnsupported, runtime.GOOS)
}
