package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/image"
	"github.com/layerkeep/layerkeep/internal/errkind"
	"github.com/layerkeep/layerkeep/mount"
	"github.com/layerkeep/layerkeep/snapshotter"
	"github.com/layerkeep/layerkeep/snapshotter/meta"
	"github.com/layerkeep/layerkeep/tar"
)

// A fault is an error with what the user can do next.
type fault struct {
	err  error
	hint string
}

func (f *fault) Error() string { return f.err.Error() }
func (f *fault) Unwrap() error { return f.err }

// advise adds to err what to do next. It returns nil for nil.
func advise(err error, hint string) error {
	if err == nil {
		return nil
	}
	return &fault{err: err, hint: hint}
}

// usagef returns a usage error (exit code 2).
func usagef(format string, args ...any) error {
	return errkind.As(fmt.Errorf(format, args...), errUsage)
}

// as makes err match class too without changing its text.
func as(class, err error) error {
	return errkind.As(err, class)
}

// doing says what was being done when err happened. It returns nil for nil.
func doing(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), err)
}

// faultLine renders err as the one line that goes to standard error.
func faultLine(err error) string {
	line := "snapctl: " + escapeLine(faultText(err))
	if hint := hintFor(err); hint != "" {
		line += " (" + escapeLine(hint) + ")"
	}
	return line
}

// faultText is the text of err on one line; joined errors come on several.
func faultText(err error) string {
	return strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; ")
}

// escapeLine is escape for text that may be escaped already: it leaves
// backslashes alone, because nobody takes an error apart again.
func escapeLine(text string) string {
	return strings.ReplaceAll(escape(text), `\\`, `\`)
}

const hintDamaged = "the layers are not changed; 'snapctl repair --rebuild' makes the files of the store again from the records of the layers"

// hints say what to do about an error that brought no advice of its own.
var hints = []struct {
	err  error
	hint string
}{
	{errInterrupted, "all changes were undone; you can run this again"},
	{driver.ErrReadOnly, "leave out --read-only, or make the disk of the store writable"},
	{snapshotter.ErrLocked, "wait, or choose another --root"},
	{snapshotter.ErrOtherDriver, "leave out --driver, or choose another --root"},
	{snapshotter.ErrNewerStore, "wait, or choose another --root"},
	{snapshotter.ErrDamaged, hintDamaged},
	{meta.ErrDamaged, hintDamaged},
	{snapshotter.ErrForeign, "to read a copy of the directory of an old engine, give the directory that contains aufs/ with --root, and --driver aufs"},
	{snapshotter.ErrNotStore, "choose an empty directory, or one that does not exist yet, with --root"},
	{syscall.ENOSPC, "free some space, for example with 'snapctl rmi' and 'snapctl gc', then run this again"},
	{syscall.EDQUOT, "the snapshot has reached its size limit, or you have reached your disk quota: make the snapshot again with a larger --size, or free some space ('snapctl info' shows the limit)"},
	{syscall.EROFS, "choose a writable directory with --root"},
	{driver.ErrDigest, "download the file again: its content does not match its digest"},
	{image.ErrNoMatch, "choose one of the images that it holds"},
	{image.ErrAmbiguous, "choose one of them"},
	{image.ErrNoName, "give it a name with --name REF"},
	{image.ErrBlobDamaged, "import the image again, which replaces the blob, or try 'snapctl repair --read-data'"},
	{image.ErrDigest, "the store is unchanged; download the image again, because it was damaged on the way"},
	{image.ErrMissingBlob, "the store is unchanged; download the image again, because it is incomplete"},
	{image.ErrLink, "copy the layout with 'cp -rL' and import the copy"},
	{image.ErrArtifact, "the store is unchanged; use the tool that the artifact was made for, such as helm or oras"},
	{image.ErrMediaType, "the store is unchanged; convert the image, for example with skopeo"},
	{image.ErrInvalid, "the store is unchanged; give an OCI layout, an OCI archive or a docker archive"},
	{tar.ErrLongName, "the layer is not damaged; a store made with another --driver can hold it"},
	{tar.ErrOwnXattr, "the layer is not damaged; use Linux 6.7 or newer, or a store made with another --driver"},
	{tar.ErrLargeXattr, "the layer is not damaged; a store on another file system, for example xfs, can hold it"},
	{tar.ErrUnmappedID, "run it as root, or in a namespace with more ids: give this user ranges in /etc/subuid and /etc/subgid, and use 'unshare -Urm --map-auto'"},
	{diff.ErrNotCarried, "change or remove that file in the snapshot, then run this again"},
	{driver.ErrInvalidLayer, "nothing was applied; the layer itself is invalid and must be made again"},
	{driver.ErrTooManyLayers, "write the changes as a layer with 'snapctl diff', and apply them to an image with fewer layers"},
	{driver.ErrTorn, "remove it with 'snapctl rm' and make it again; its parents are not damaged"},
	{mount.ErrBusy, "unmount it with 'snapctl umount', or leave its directory, then run this again"},
	{driver.ErrBusy, "unmount it first, then run this again"},
	{driver.ErrUnsupported, "'snapctl version' shows what works on this machine, and why the rest does not"},
	{mount.ErrUnsupported, "'snapctl version' shows what works on this machine, and why the rest does not"},
	{syscall.EPERM, "run it as root, or in a user namespace such as 'unshare -Urm' makes"},
	{fs.ErrPermission, "run it as root, or choose places that you may write to"},
}

// hintFor returns the advice for err, or "".
func hintFor(err error) string {
	var f *fault
	if errors.As(err, &f) {
		return f.hint
	}
	for _, h := range hints {
		if errors.Is(err, h.err) {
			return h.hint
		}
	}
	switch exitCode(err) {
	case exitUsage:
		return "'snapctl help' shows how it is used"
	case exitNotFound:
		if path := (*fs.PathError)(nil); errors.As(err, &path) {
			return "check the path; does its directory exist?"
		}
		return "'snapctl ls' lists the snapshots, and 'snapctl images' lists the images"
	default:
		return ""
	}
}
