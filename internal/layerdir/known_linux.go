package layerdir

import (
	"encoding/json"
	"errors"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/durable"
)

// Learn returns the facts about a store's file system. It probes them with try.
// If the disk is full, probing fails, but an existing store must still open:
// Learn then returns the facts that opts remembers. If opts remembers nothing,
// f is the zero value and known is false. Learn does not probe a read-only
// store, because probing writes.
func Learn[F any](opts driver.Options, try func() (F, error)) (f F, known bool, err error) {
	if opts.ReadOnly {
		f, known = Remembered[F](opts)
		return f, known, nil
	}
	f, err = try()
	if err == nil {
		return f, true, nil
	}
	if !Excused(opts, err) {
		return *new(F), false, err
	}
	f, known = Remembered[F](opts)
	return f, known, nil
}

// Excused reports whether a store may be opened although the probe failed with
// err: the store exists and the disk is full.
func Excused(opts driver.Options, err error) bool { return opts.Existing && durable.NoRoom(err) }

// Found returns facts as JSON for [driver.Rememberer], or nil if they are not
// known.
func Found(known bool, facts any) json.RawMessage {
	if !known {
		return nil
	}
	raw, err := json.Marshal(facts)
	if err != nil { // cannot happen: the facts are plain values
		return nil
	}
	return raw
}

// UserOverlay reports whether overlay has to store its own attributes in the
// namespace "user.", because this process is root only of a user namespace.
// path is a directory of the store. The probe takes no disk space.
func UserOverlay(path string) bool {
	err := unix.Setxattr(path, trustedProbe, nil, 0)
	if err == nil {
		err = unix.Removexattr(path, trustedProbe)
	}
	return errors.Is(err, unix.EPERM)
}

// trustedProbe is an attribute that only root of the machine can set. Root of a
// user namespace cannot.
const trustedProbe = "trusted.layerkeep"
