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

const hintDamaged = "layers stay as they are; 'snapctl repair --rebuild' makes the store's own files again from what the layers tell"

// hints say what to do about an error that brought no advice of its own.
var hints = []struct {
	err  error
	hint string
}{
	{errInterrupted, "everything was put back; run it again when you like"},
	{driver.ErrReadOnly, "leave out --read-only, or make the disk of the store writable"},
	{snapshotter.ErrLocked, "or use another --root"},
	{snapshotter.ErrOtherDriver, "leave out --driver, or use another --root"},
	{snapshotter.ErrNewerStore, "or use another --root"},
	{snapshotter.ErrDamaged, hintDamaged},
	{meta.ErrDamaged, hintDamaged},
	{snapshotter.ErrForeign, "to read a copy of an old engine's directory, name what holds aufs/ with --root, and the driver with --driver aufs"},
	{snapshotter.ErrNotStore, "name an empty directory, or one that is not there yet, with --root"},
	{syscall.ENOSPC, "free some space, for instance with 'snapctl rmi' and 'snapctl gc', then run it again"},
	{syscall.EDQUOT, "the snapshot is at its limit, which 'snapctl info' shows, or the disk at yours: make it anew with a larger --size, or free some space"},
	{syscall.EROFS, "choose a writable directory with --root"},
	{driver.ErrDigest, "get the file again: it is not the one that was meant"},
	{image.ErrNoMatch, "name one of those that it holds"},
	{image.ErrAmbiguous, "name one of them"},
	{image.ErrNoName, "--name REF does"},
	{image.ErrBlobDamaged, "import the image again, which replaces it; 'snapctl repair --read-data' makes it again where it can"},
	{image.ErrDigest, "the store is as before; get the image again, it was damaged on its way"},
	{image.ErrMissingBlob, "the store is as before; get the image again, it is not complete"},
	{image.ErrLink, "copy the layout with 'cp -rL', and import the copy"},
	{image.ErrArtifact, "the store is as before; use the tool that it was made for, such as helm or oras"},
	{image.ErrMediaType, "the store is as before; convert the image, with skopeo for instance"},
	{image.ErrInvalid, "the store is as before; name an OCI layout, an OCI archive or a docker archive"},
	{tar.ErrLongName, "the layer is whole; a store made with another --driver can hold it"},
	{tar.ErrOwnXattr, "the layer is whole; Linux 6.7 shows such attributes, and a store made with another --driver can hold it here"},
	{tar.ErrLargeXattr, "the layer is whole; a store on another file system, xfs for instance, can hold it"},
	{tar.ErrUnmappedID, "give the namespace more ids: with ranges for this user in /etc/subuid and /etc/subgid, 'unshare -Urm --map-auto' does; or run it as root"},
	{diff.ErrNotCarried, "change or remove that file in the snapshot, then run it again"},
	{driver.ErrInvalidLayer, "nothing was applied; the layer itself has to be made anew"},
	{driver.ErrTooManyLayers, "'snapctl diff' writes what was changed as a layer; make an image of fewer layers to put it on"},
	{driver.ErrTorn, "'snapctl rm' it and make it anew; its parents are whole"},
	{mount.ErrBusy, "'snapctl umount' what is mounted there, or leave its directory, then run it again"},
	{driver.ErrBusy, "unmount it first, then run it again"},
	{driver.ErrUnsupported, "'snapctl version' says what works on this machine, and why not the rest"},
	{mount.ErrUnsupported, "'snapctl version' says what works on this machine, and why not the rest"},
	{syscall.EPERM, "run it as root, or in a user namespace such as 'unshare -Urm' makes"},
	{fs.ErrPermission, "run it as root, or name places that you may write to"},
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
			return "check the path, and that its directory is there"
		}
		return "'snapctl ls' and 'snapctl images' list what there is"
	default:
		return ""
	}
}
