package image

import "github.com/containerd/errdefs"

// Errors of this package, to be matched with [errors.Is]; each also matches an
// error class of containerd's errdefs. Errors of the layers below pass through
// wrapped: driver.ErrInvalidLayer and driver.ErrDigest above all.
var (
	// ErrNotFound: no image, snapshot or blob has that name
	// (errdefs.ErrNotFound).
	ErrNotFound error = &sentinel{"not found", errdefs.ErrNotFound}
	// ErrExists: the name is taken (errdefs.ErrAlreadyExists).
	ErrExists error = &sentinel{"already exists", errdefs.ErrAlreadyExists}
	// ErrInvalid: the image, archive, reference or platform is malformed
	// (errdefs.ErrInvalidArgument). Some of the errors below match it too.
	ErrInvalid error = &sentinel{"invalid image", errdefs.ErrInvalidArgument}
	// ErrDigest: content does not have the expected digest or size.
	ErrDigest error = &sentinel{"digest mismatch", ErrInvalid}
	// ErrBlobDamaged: a blob in the store does not have its digest any more
	// (errdefs.ErrDataLoss).
	ErrBlobDamaged error = &sentinel{"a blob in the store is damaged", errdefs.ErrDataLoss}
	// ErrMissingBlob: a manifest names a blob that the source does not contain.
	ErrMissingBlob error = &sentinel{"blob is missing", ErrInvalid}
	// ErrLink: a file of a layout is behind a symbolic link that leads out of
	// the layout.
	ErrLink error = &sentinel{"link is not followed", ErrInvalid}
	// ErrMediaType: a media type is unknown or contradicts the content.
	ErrMediaType error = &sentinel{"wrong media type", ErrInvalid}
	// ErrArtifact: the source is not a container image but, for example, a Helm
	// chart. The message says what it is. It also matches ErrMediaType.
	ErrArtifact error = &sentinel{"not a container image", ErrMediaType}
	// ErrNoMatch: the source contains images, but not the requested one. The
	// message lists the images of the source.
	ErrNoMatch error = &sentinel{"no matching image", ErrInvalid}
	// ErrNoName: the source has no usable name for its image, and the caller
	// gave none.
	ErrNoName error = &sentinel{"image has no usable name", ErrInvalid}
	// ErrAmbiguous: a name or a source has several meanings
	// (errdefs.ErrInvalidArgument).
	ErrAmbiguous error = &sentinel{"ambiguous", errdefs.ErrInvalidArgument}
	// ErrNotCommitted: the snapshot is active or a view
	// (errdefs.ErrFailedPrecondition).
	ErrNotCommitted error = &sentinel{"snapshot is not committed", errdefs.ErrFailedPrecondition}
)

// sentinel is an error that matches another error without repeating its text.
type sentinel struct {
	text string
	kind error
}

func (s *sentinel) Error() string { return s.text }
func (s *sentinel) Unwrap() error { return s.kind }
