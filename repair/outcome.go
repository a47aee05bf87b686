package repair

import (
	"errors"

	"github.com/layerkeep/layerkeep/check"
	"github.com/layerkeep/layerkeep/driver"
)

// An Outcome says what became of one damaged thing.
type Outcome struct {
	Part check.Part
	// Name is the key of the snapshot, the name of the image or the digest of the blob.
	Name string
	// Layer is the driver's ID of the layer, empty where it is about none.
	Layer driver.ID
	// What was wrong first, in one line, and Findings how much in all.
	What     string
	Findings int
	// Err says why it is damaged still; nil: it is repaired, or would be.
	Err error
	// Quarantined: it was put, or would be, into quarantine, see [snapshotter.Quarantine].
	Quarantined bool
	// Unverified: its record is written again, and nothing was kept at the commit that tells
	// whether its files are still what they were, but their number.
	Unverified bool
	record     bool // only its record was written
	// Snapshots stand on it, the nearest first, and Images need it: they are damaged with it.
	Snapshots, Images []string
	// Doubtful are snapshots that are copies of a layer that was repaired. What was wrong
	// with it may be in them, and nothing tells what they must be.
	Doubtful []string
}

// Errors of an Outcome.
var (
	// ErrStandsOn: it cannot be looked at before what it stands on is repaired.
	ErrStandsOn = errors.New("it is built on a damaged layer")
	// ErrStill: it was made anew, and is damaged again.
	ErrStill = errors.New("it was made again and is damaged again; check the disk and the kernel's log")
	// ErrNotAlone: its record was written again, and something else is wrong with it.
	ErrNotAlone = errors.New("its record was written again, but it has other damage; save what is still good, then remove it")
	// ErrBeyondHelp: nothing is kept that it could be made from.
	ErrBeyondHelp = errors.New("it cannot be repaired here")
)
