package driver

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/layerkeep/layerkeep/diff"
)

// Errors of the contract. Backends wrap them with what was being done and to
// which layer; match them with [errors.Is].
var (
	// ErrNotFound: the layer does not exist.
	ErrNotFound = errors.New("layer not found")
	// ErrExists: a layer with this ID already exists.
	ErrExists = errors.New("layer already exists")
	// ErrSealed: the layer is sealed and cannot be changed.
	ErrSealed = errors.New("layer is sealed")
	// ErrNotSealed: the layer has to be sealed for this.
	ErrNotSealed = errors.New("layer is not sealed")
	// ErrBusy: the layer is mounted or another process uses it.
	ErrBusy = errors.New("layer is busy")
	// ErrUnsupported: this backend, file system or kernel cannot do it.
	ErrUnsupported = errors.New("not supported here")
	// ErrTooManyLayers: the layer and its parents are more than the backend stacks, see
	// Properties.MaxParents. Matches ErrUnsupported.
	ErrTooManyLayers = fmt.Errorf("%w: too many layers", ErrUnsupported)
	// ErrNeedsParents: a layer unpacked without its parents says something that
	// only its parents can give a meaning to. Apply it again on its parents.
	ErrNeedsParents = errors.New("layer cannot be applied without its parents")
	// ErrTorn: the process or the disk failed in the middle of applying something
	// to the layer, so it holds a part of that, or the disk failed a write while the
	// layer was not sealed. It can only be removed.
	ErrTorn = errors.New("layer is torn: applying to it was interrupted, or the disk failed; it can only be removed")
	// ErrDigest: the stream is not the one that was asked for.
	ErrDigest = errors.New("digest mismatch")
	// ErrInvalidID: the ID is empty or not a plain file name.
	ErrInvalidID = errors.New("invalid layer ID")
	// ErrInvalidLayer is [diff.ErrInvalidLayer].
	ErrInvalidLayer = diff.ErrInvalidLayer
	// ErrReadOnly: the store was opened with Options.ReadOnly, and the call would have
	// changed it. Matches syscall.EROFS.
	ErrReadOnly error = readOnly{}
)

// readOnly is the type of ErrReadOnly.
type readOnly struct{}

func (readOnly) Error() string { return "the store is read-only" }
func (readOnly) Unwrap() error { return syscall.EROFS }
