//go:build !linux

package mount

import "context"

// Features are what overlay mounts of this kernel can do on one file system.
type Features struct {
	// Way is how the mounts of the probe were made.
	Way Way
	// UserXattr: overlay's own attributes are in "user.overlay.".
	UserXattr bool
	// These options are known and work.
	RedirectDir, Metacopy, Xino, UUID, Volatile bool
}

// Probe returns [ErrUnsupported].
func (mr Mounter) Probe(context.Context, string, bool) (Features, error) {
	return Features{}, unsupported()
}

// ProbeIDMap finds nothing here.
func (mr Mounter) ProbeIDMap(context.Context, string, bool) error { return unsupported() }
