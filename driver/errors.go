package driver

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/layerkeep/layerkeep/diff"
)

// Errors of the contract. Backends wrap them with the action and the layer;
// match them with [errors.Is].
var (
	// ErrNotFound: the layer, or one of the named parents, does not exist.
	ErrNotFound = errors.New("layer not found")
	// ErrExists: a layer with this ID already exists.
	ErrExists = errors.New("layer already exists")
	// ErrSealed: the layer is sealed or a view, so it cannot be changed.
	ErrSealed = errors.New("layer is sealed")
	// ErrNotSealed: the call needs a sealed layer, and this one is not sealed.
	ErrNotSealed = errors.New("layer is not sealed")
	// ErrBusy: the layer is mounted, or another process uses it. The same call
	// can succeed later.
	ErrBusy = errors.New("layer is busy")
	// ErrUnsupported: this backend, file system or kernel cannot do it.
	ErrUnsupported = errors.New("not supported here")
	// ErrTooManyLayers: the layer has more parents than the backend can stack,
	// see Properties.MaxParents. It also matches ErrUnsupported.
	ErrTooManyLayers = fmt.Errorf("%w: too many layers", ErrUnsupported)
	// ErrNeedsParents: the layer was unpacked without its parents, and contains
	// an entry that has a meaning only together with them, for example a hard
	// link to a file of a parent. Remove the layer, create it over its parents,
	// and apply the stream again.
	ErrNeedsParents = errors.New("layer cannot be applied without its parents")
	// ErrTorn: the content of the layer is unknown, so it can only be removed.
	// This happens when the process is killed or the disk fails during a merge,
	// when the disk fails a write before the layer is sealed, and when the
	// machine stops before a layer with a volatile mount is sealed.
	ErrTorn = errors.New("layer is torn: applying to it was interrupted, or the disk failed; it can only be removed")
	// ErrDigest: the stream does not have the expected digest.
	ErrDigest = errors.New("digest mismatch")
	// ErrInvalidID: the ID is malformed, see [ID.Validate].
	ErrInvalidID = errors.New("invalid layer ID")
	// ErrInvalidLayer is [diff.ErrInvalidLayer]: the layer tar itself is wrong,
	// or it exceeds a limit. Another attempt gives the same error.
	ErrInvalidLayer = diff.ErrInvalidLayer
	// ErrReadOnly: the call would change a store that was opened with
	// Options.ReadOnly, or a borrowed layer. It also matches syscall.EROFS.
	ErrReadOnly error = readOnly{}
)

// readOnly is the type of ErrReadOnly.
type readOnly struct{}

func (readOnly) Error() string { return "the store is read-only" }
func (readOnly) Unwrap() error { return syscall.EROFS }
