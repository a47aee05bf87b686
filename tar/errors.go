package tar

import "errors"

var (
	// ErrNeedsParents says that a layer unpacked without its parents says
	// something that only its parents can give a meaning to. Read it again with
	// UnpackOptions.Parents.
	ErrNeedsParents = errors.New("layer cannot be applied without its parents")
	// ErrDigest says that the stream is not the one that was asked for.
	ErrDigest = errors.New("digest mismatch")
)
