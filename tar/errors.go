package tar

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/layerkeep/layerkeep/diff"
)

var (
	// ErrLongName: a valid layer has a name that is longer than
	// UnpackOptions.MaxName.
	ErrLongName = errors.New("file name is too long for this backend")
	// ErrOwnXattr: a valid layer has an extended attribute of the encoding's
	// own namespace, which UnpackOptions.NoEscape forbids.
	ErrOwnXattr = errors.New("this kernel cannot show this attribute")
	// ErrLargeXattr: a valid layer has an extended attribute, or several on one
	// file, that are larger than the file system can store.
	ErrLargeXattr = errors.New("extended attribute does not fit")
	// ErrUnmappedID: a valid layer has a file of an owner that does not exist
	// in the user namespace of this process.
	ErrUnmappedID = errors.New("this owner is not mapped in the user namespace")
	// ErrNeedsParents: the layer was unpacked without its parents, and an entry
	// has a meaning only together with them. Read the layer again with
	// UnpackOptions.Parents.
	ErrNeedsParents = errors.New("layer cannot be applied without its parents")
	// ErrTorn: a merge failed, and undoing it failed too. The target contains a
	// part of the layer.
	ErrTorn = errors.New("the merge was interrupted, and the target is incomplete")
	// ErrDigest: the stream does not have the expected digest.
	ErrDigest = errors.New("digest mismatch")
)

// invalid returns an error that matches diff.ErrInvalidLayer.
func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %w", diff.ErrInvalidLayer, fmt.Errorf(format, args...))
}

// atEntry adds to an error where in the stream it happened. name is the entry
// that was being read, or the last one whose header could be read. A negative
// offset means a directory that was finished after the end of the stream.
func atEntry(name string, offset int64, err error) error {
	if err == nil {
		return nil
	}
	if offset < 0 {
		return fmt.Errorf("layer directory %s: %w", shownName(name), err)
	}
	if name == "" {
		return fmt.Errorf("layer, at offset %d: %w", offset, err)
	}
	return fmt.Errorf("layer entry %s, at offset %d: %w", shownName(name), offset, err)
}

// maxShown is how many bytes of each end of a path an error shows.
const maxShown = 300

// shownName returns a path for an error message. It cuts the middle out of a
// very long path.
func shownName(name string) string {
	if len(name) > 2*maxShown {
		return fmt.Sprintf("%q…%q (%d bytes)", name[:maxShown], name[len(name)-maxShown:], len(name))
	}
	return strconv.Quote(name)
}
