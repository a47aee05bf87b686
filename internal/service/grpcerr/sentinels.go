package grpcerr

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"syscall"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc/codes"

	"github.com/layerkeep/layerkeep/check"
	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/image"
	"github.com/layerkeep/layerkeep/mount"
	"github.com/layerkeep/layerkeep/snapshotter"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
	"github.com/layerkeep/layerkeep/tar"
)

// A sentinel is an error that others match, with the name by which it travels.
// Names are part of the protocol: they are added to, and never change.
type sentinel struct {
	reason string
	err    error
	// code is the status of an error that matches it, unless something else says
	// more, see [Code]; codes.OK: this one does not tell.
	code codes.Code
}

// sentinels lists what travels by name. Where an error matches several, all
// names travel.
func sentinels() []sentinel {
	return append(append(systemErrors(), ownErrors()...), kinds()...)
}

func systemErrors() []sentinel {
	return []sentinel{
		{"ENOSPC", syscall.ENOSPC, codes.ResourceExhausted},
		{"EDQUOT", syscall.EDQUOT, codes.ResourceExhausted},
		{"EMFILE", syscall.EMFILE, codes.ResourceExhausted},
		{"ENFILE", syscall.ENFILE, codes.ResourceExhausted},
		{"ENOMEM", syscall.ENOMEM, codes.ResourceExhausted},
		{"CANCELED", context.Canceled, codes.Canceled},
		{"DEADLINE_EXCEEDED", context.DeadlineExceeded, codes.DeadlineExceeded},
		{"EROFS", syscall.EROFS, codes.Unavailable},
		{"ESTALE", syscall.ESTALE, codes.Unavailable},
		{"EIO", syscall.EIO, codes.Internal},
		{"EPERM", syscall.EPERM, codes.OK},
		{"EACCES", syscall.EACCES, codes.OK},
		{"EBUSY", syscall.EBUSY, codes.OK},
		{"ENOTDIR", syscall.ENOTDIR, codes.OK},
		{"EPIPE", syscall.EPIPE, codes.OK},
	}
}

func ownErrors() []sentinel {
	return []sentinel{
		{"STORE_DAMAGED", snapshotter.ErrDamaged, codes.DataLoss},
		{"DATABASE_DAMAGED", meta.ErrDamaged, codes.DataLoss},
		{"LAYER_DAMAGED", snapshotter.ErrLayerDamaged, codes.DataLoss},
		{"STORE_LOCKED", snapshotter.ErrLocked, codes.Unavailable},
		{"STORE_OF_OTHER_DRIVER", snapshotter.ErrOtherDriver, codes.FailedPrecondition},
		{"STORE_IS_NEWER", snapshotter.ErrNewerStore, codes.FailedPrecondition},
		{"STORE_FOREIGN", snapshotter.ErrForeign, codes.FailedPrecondition},
		{"NOT_A_STORE", snapshotter.ErrNotStore, codes.FailedPrecondition},

		{"CHECK_NO_NAME", check.ErrNoName, codes.NotFound},
		{"CHECK_NO_POSITION", check.ErrNoPosition, codes.InvalidArgument},
		{"IMAGE_NO_MATCH", image.ErrNoMatch, codes.InvalidArgument},
		{"IMAGE_BLOB_DAMAGED", image.ErrBlobDamaged, codes.DataLoss},
		{"IMAGE_DIGEST", image.ErrDigest, codes.InvalidArgument},
		{"IMAGE_MISSING_BLOB", image.ErrMissingBlob, codes.InvalidArgument},
		{"IMAGE_ARTIFACT", image.ErrArtifact, codes.InvalidArgument},
		{"IMAGE_MEDIA_TYPE", image.ErrMediaType, codes.InvalidArgument},
		{"IMAGE_LINK", image.ErrLink, codes.InvalidArgument},
		{"IMAGE_NO_NAME", image.ErrNoName, codes.InvalidArgument},
		{"IMAGE_INVALID", image.ErrInvalid, codes.InvalidArgument},
		{"IMAGE_AMBIGUOUS", image.ErrAmbiguous, codes.InvalidArgument},
		{"IMAGE_NOT_COMMITTED", image.ErrNotCommitted, codes.FailedPrecondition},
		{"IMAGE_EXISTS", image.ErrExists, codes.AlreadyExists},
		{"IMAGE_NOT_FOUND", image.ErrNotFound, codes.NotFound},
		{"INVALID_LAYER", diff.ErrInvalidLayer, codes.InvalidArgument},
		{"LONG_NAME", tar.ErrLongName, codes.InvalidArgument},
		{"OWN_XATTR", tar.ErrOwnXattr, codes.Unimplemented},
		{"LARGE_XATTR", tar.ErrLargeXattr, codes.Unimplemented},
		{"UNMAPPED_OWNER", tar.ErrUnmappedID, codes.Unimplemented},
		{"NOT_CARRIED", diff.ErrNotCarried, codes.FailedPrecondition},
		{"LAYER_DIGEST", driver.ErrDigest, codes.InvalidArgument},
		{"STREAM_DIGEST", tar.ErrDigest, codes.InvalidArgument},
		{"LAYER_BUSY", driver.ErrBusy, codes.Unavailable},
		{"LAYER_SEALED", driver.ErrSealed, codes.FailedPrecondition},
		{"LAYER_NOT_SEALED", driver.ErrNotSealed, codes.FailedPrecondition},
		{"LAYER_NEEDS_PARENTS", driver.ErrNeedsParents, codes.FailedPrecondition},
		{"STREAM_NEEDS_PARENTS", tar.ErrNeedsParents, codes.FailedPrecondition},
		{"LAYER_TORN", driver.ErrTorn, codes.FailedPrecondition},
		{"TARGET_TORN", tar.ErrTorn, codes.FailedPrecondition},
		{"LAYER_EXISTS", driver.ErrExists, codes.AlreadyExists},
		{"LAYER_NOT_FOUND", driver.ErrNotFound, codes.NotFound},
		{"TOO_MANY_LAYERS", driver.ErrTooManyLayers, codes.Unimplemented},
		{"LAYER_UNSUPPORTED", driver.ErrUnsupported, codes.Unimplemented},
		{"LAYER_INVALID_ID", driver.ErrInvalidID, codes.InvalidArgument},
		{"MOUNT_BUSY", mount.ErrBusy, codes.Unavailable},
		{"MOUNT_NOT_DIRECTORY", mount.ErrNotDirectory, codes.FailedPrecondition},
		{"MOUNT_UNSUPPORTED", mount.ErrUnsupported, codes.Unimplemented},
		{"MOUNT_TOO_LONG", mount.ErrTooLong, codes.Unimplemented},
		{"NOT_MOUNTED", mount.ErrNotMounted, codes.NotFound},
		{"ID_MAP", mount.ErrIDMap, codes.InvalidArgument},
		{"ID_UNMAPPED", mount.ErrUnmapped, codes.FailedPrecondition},
	}
}

// kinds are errors of general packages. Those of errdefs come first, as
// packages of ours add them to say what kind of error theirs is.
func kinds() []sentinel {
	return []sentinel{
		{"KIND_NOT_FOUND", errdefs.ErrNotFound, codes.NotFound},
		{"KIND_ALREADY_EXISTS", errdefs.ErrAlreadyExists, codes.AlreadyExists},
		{"KIND_INVALID_ARGUMENT", errdefs.ErrInvalidArgument, codes.InvalidArgument},
		{"KIND_FAILED_PRECONDITION", errdefs.ErrFailedPrecondition, codes.FailedPrecondition},
		{"KIND_CONFLICT", errdefs.ErrConflict, codes.FailedPrecondition},
		{"KIND_NOT_MODIFIED", errdefs.ErrNotModified, codes.FailedPrecondition},
		{"KIND_UNAVAILABLE", errdefs.ErrUnavailable, codes.Unavailable},
		{"KIND_NOT_IMPLEMENTED", errdefs.ErrNotImplemented, codes.Unimplemented},
		{"KIND_RESOURCE_EXHAUSTED", errdefs.ErrResourceExhausted, codes.ResourceExhausted},
		{"KIND_PERMISSION_DENIED", errdefs.ErrPermissionDenied, codes.PermissionDenied},
		{"KIND_UNAUTHENTICATED", errdefs.ErrUnauthenticated, codes.Unauthenticated},
		{"KIND_DATA_LOSS", errdefs.ErrDataLoss, codes.DataLoss},
		{"KIND_OUT_OF_RANGE", errdefs.ErrOutOfRange, codes.OutOfRange},
		{"KIND_ABORTED", errdefs.ErrAborted, codes.Aborted},
		{"KIND_INTERNAL", errdefs.ErrInternal, codes.Internal},
		{"UNSUPPORTED", errors.ErrUnsupported, codes.Unimplemented},
		{"UNEXPECTED_EOF", io.ErrUnexpectedEOF, codes.OK},
		{"FILE_NOT_FOUND", fs.ErrNotExist, codes.OK},
		{"FILE_EXISTS", fs.ErrExist, codes.OK},
		{"FILE_PERMISSION", fs.ErrPermission, codes.OK},
	}
}
