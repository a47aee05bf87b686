package image

import "github.com/containerd/errdefs"

// Errors of this package, to be matched with [errors.Is]; each also matches an
// error class of containerd's errdefs. Errors of the layers below pass through
// wrapped: driver.ErrInvalidLayer and driver.ErrDigest above all.
var (
	// ErrNotFound: no image, snapshot or blob of that name (errdefs.ErrNotFound).
	ErrNotFound error = &sentinel{"not found", errdefs.ErrNotFound}
	// ErrExists: there is something of that name already
	// (errdefs.ErrAlreadyExists).
	ErrExists error = &sentinel{"already exists", errdefs.ErrAlreadyExists}
	// ErrInvalid: the image, archive, reference or platform is not what it
	// should be (errdefs.ErrInvalidArgument). The errors below are of its kind.
	ErrInvalid error = &sentinel{"invalid image", errdefs.ErrInvalidArgument}
	// ErrDigest: content is not what its digest or size says.
	ErrDigest error = &sentinel{"digest mismatch", ErrInvalid}
	// ErrBlobDamaged: a blob that the store keeps is not what its digest says
	// (errdefs.ErrDataLoss).
	ErrBlobDamaged error = &sentinel{"a blob in the store is damaged", errdefs.ErrDataLoss}
	// ErrMissingBlob: a manifest names a blob that the source does not hold.
	ErrMissingBlob error = &sentinel{"blob is missing", ErrInvalid}
	// ErrLink: a file of a layout is behind a symbolic link that leads out of it.
	ErrLink error = &sentinel{"link is not followed", ErrInvalid}
	// ErrMediaType: a media type that is unknown or contradicts the content.
	ErrMediaType error = &sentinel{"wrong media type", ErrInvalid}
	// ErrArtifact: what is there is no container image, but a Helm chart, say; the
	// message tells what. It matches ErrMediaType, too.
	ErrArtifact error = &sentinel{"not a container image", ErrMediaType}
	// ErrNoMatch: the source holds images, but not the one asked for; the
	// message lists those it holds.
	ErrNoMatch error = &sentinel{"no matching image", ErrInvalid}
	// ErrNoName: the source has no name for its image that could be used, and
	// the caller gave none.
	ErrNoName error = &sentinel{"image has no usable name", ErrInvalid}
	// ErrAmbiguous: a name or a source that means several things
	// (errdefs.ErrInvalidArgument).
	ErrAmbiguous error = &sentinel{"ambiguous", errdefs.ErrInvalidArgument}
	// ErrNotCommitted: the snapshot is active or a view
	// (errdefs.ErrFailedPrecondition).
	ErrNotCommitted error = &sentinel{"snapshot is not committed", errdefs.ErrFailedPrecondition}
)

// sentinel is an error that is of the kind of another one without repeating its
// text.
type sentinel struct {
	text string
	kind error
}

func (s *sentinel) Error() string { return s.text }
func (s *sentinel) Unwrap() error { return s.kind }
