package main

import (
	"errors"
	"io/fs"

	"github.com/containerd/errdefs"

	"github.com/layerkeep/layerkeep/check"
	"github.com/layerkeep/layerkeep/client"
	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/image"
	"github.com/layerkeep/layerkeep/mount"
	"github.com/layerkeep/layerkeep/snapshotter"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
)

// The exit codes. Scripts rely on them; see exitCodes for their meaning.
const (
	exitDone = iota
	exitFailed
	exitUsage
	exitNotFound
	exitExists
	exitState
	exitInvalid
	exitUnsupported
	exitDamaged
	// exitInterrupted is what shells say of a program that SIGINT has ended.
	exitInterrupted = 130
)

// exitCodes is the text of the help about exit codes.
const exitCodes = `Exit codes:
  0  done
  1  failed
  2  wrong usage of the command line
  3  not found: snapshot, image, file
  4  already exists
  5  wrong state, busy, mounted, read-only, or locked by another process
  6  invalid input: layer, image, digest
  7  not supported here: kernel, file system or backend
  8  damage found in the store
  130  interrupted by a signal`

// Errors of the commands themselves.
var (
	errUsage   = errors.New("usage")
	errState   = errors.New("wrong state")
	errMissing = errors.New("not found")
	errInvalid = errors.New("invalid")
	errNoDemo  = errors.New("demo not possible here")
)

// exitClasses lists the errors of each exit code, in the order in which they
// are tried: the more telling class first. An error may match several, since a
// busy layer of an unsupported kind wraps both; a digest mismatch, say, is
// invalid input whatever else it wraps.
var exitClasses = []struct {
	code int
	errs []error
}{
	{exitInterrupted, []error{errInterrupted}},
	{exitFailed, []error{client.ErrNoAnswer}},
	// Before damage: whose it is, only a person can find out.
	{exitState, []error{snapshotter.ErrUnsafe}},
	{exitDamaged, []error{errDamage, snapshotter.ErrDamaged, meta.ErrDamaged, errdefs.ErrDataLoss}},
	{exitUsage, []error{errUsage}},
	// Of the kind of invalid input to package image; but it is we who named
	// something that a good source does not have.
	{exitNotFound, []error{image.ErrNoMatch}},
	{exitInvalid, []error{
		errInvalid, driver.ErrInvalidLayer, driver.ErrDigest,
	}},
	{exitState, []error{
		errState, snapshotter.ErrLocked, snapshotter.ErrOtherDriver, snapshotter.ErrNewerStore, snapshotter.ErrNotStore,
		driver.ErrBusy, driver.ErrSealed, driver.ErrNotSealed, driver.ErrTorn, driver.ErrReadOnly, meta.ErrReadOnly,
		mount.ErrBusy, mount.ErrNotDirectory,
	}},
	{exitExists, []error{driver.ErrExists, errdefs.ErrAlreadyExists, fs.ErrExist}},
	{exitUnsupported, []error{
		errNoDemo, driver.ErrUnsupported, diff.ErrNotCarried, mount.ErrUnsupported, mount.ErrTooLong, errdefs.ErrNotImplemented,
		errors.ErrUnsupported,
	}},
	{exitState, []error{errdefs.ErrFailedPrecondition, errdefs.ErrUnavailable}},
	{exitNotFound, []error{
		errMissing, check.ErrNoName, driver.ErrNotFound, mount.ErrNotMounted, errdefs.ErrNotFound, fs.ErrNotExist,
	}},
	{exitInvalid, []error{errdefs.ErrInvalidArgument, driver.ErrInvalidID}},
}

// exitCode is the one place where errors become exit codes.
func exitCode(err error) int {
	if err == nil {
		return exitDone
	}
	for _, class := range exitClasses {
		for _, e := range class.errs {
			if errors.Is(err, e) {
				return class.code
			}
		}
	}
	return exitFailed
}
