package repair

import (
	"errors"

	"github.com/layerkeep/layerkeep/check"
	"github.com/layerkeep/layerkeep/driver"
)

// An Outcome says what became of one damaged thing.
type Outcome struct {
	Part check.Part
	// Name is the key of the snapshot, the name of the image or the digest of the
	// blob.
	Name string
	// Layer is the driver's ID of the layer, empty when the outcome is not
	// about a layer.
	Layer driver.ID
	// What is the first thing that was wrong, in one line. Findings is the
	// number of findings.
	What     string
	Findings int
	// Err says why it is still damaged. nil: it is repaired, or would be.
	Err error
	// Quarantined: it was put into quarantine, or would be, see
	// [snapshotter.Quarantine].
	Quarantined bool
	// Unverified: its record was written again, but the commit recorded nothing
	// that tells whether its files are unchanged, except their number.
	Unverified bool
	record     bool // only its record was written
	// Snapshots are the snapshots above it, nearest first. Images are the
	// images that need it. They are damaged with it.
	Snapshots, Images []string
	// Doubtful are snapshots that are copies of a repaired layer. The damage
	// may be in them too, and nothing was recorded to compare them with.
	Doubtful []string
}

// Errors of an Outcome.
var (
	// ErrStandsOn: a layer below it must be repaired first.
	ErrStandsOn = errors.New("it is built on a damaged layer")
	// ErrStill: it was made again, and is damaged again.
	ErrStill = errors.New("it was made again and is damaged again; check the disk and the kernel's log")
	// ErrNotAlone: its record was written again, but something else is damaged
	// too.
	ErrNotAlone = errors.New("its record was written again, but it has other damage; save what is still good, then remove it")
	// ErrBeyondHelp: the store has nothing to make it from.
	ErrBeyondHelp = errors.New("it cannot be repaired here")
)
