// Package disk makes the places that package bench measures on, small disks of
// their own in loop devices or the user's own directory, and counts what
// reaches them: bytes written to the device, blocks and inodes in use, blocks
// that files share.
//
// All that it makes is in one directory of the scratch directory, whose name
// begins with [Prefix]. What a killed run has left there, mounts included,
// [Open] removes.
package disk

import (
	"errors"
	"fmt"

	"github.com/layerkeep/layerkeep/driver"
)

// Prefix begins the name of what is made in a scratch directory.
const Prefix = "layerkeep-bench-"

// Errors of this package.
var (
	// ErrInUse: another run measures in the same scratch directory.
	ErrInUse = errors.New("another run of the benchmark uses this directory")
	// ErrUnsupported: something is missing here.
	ErrUnsupported = driver.ErrUnsupported
	// ErrNoSpace: there is not enough free space.
	ErrNoSpace = fmt.Errorf("%w: not enough free space", ErrUnsupported)
)

// A Space is what is in use on a file system.
type Space struct{ Bytes, Inodes int64 }

// Sub returns what came since.
func (s Space) Sub(before Space) Space {
	return Space{s.Bytes - before.Bytes, s.Inodes - before.Inodes}
}
