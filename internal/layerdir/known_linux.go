package layerdir

import (
	"encoding/json"
	"errors"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/durable"
)

// Learn returns what try finds out of a store's file system. A full disk, on
// which nothing can be tried, is no reason not to open a store that exists: f
// is what was known before then, or, where nothing was, its zero value, and
// known is false. Nothing is tried in a store that is opened for reading alone,
// since that writes.
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

// Excused reports whether a store is to be opened although trying what works on
// it ended with err.
func Excused(opts driver.Options, err error) bool { return opts.Existing && durable.NoRoom(err) }

// Found is what [driver.Rememberer] returns of facts that are known.
func Found(known bool, facts any) json.RawMessage {
	if !known {
		return nil
	}
	raw, err := json.Marshal(facts)
	if err != nil { // they are plain values
		return nil
	}
	return raw
}

// UserOverlay reports whether overlay's own attributes have to be in the
// namespace "user." here, because this process is root of a user namespace
// alone. path is a directory of ours; it takes no space to find out.
func UserOverlay(path string) bool {
	err := unix.Setxattr(path, trustedProbe, nil, 0)
	if err == nil {
		err = unix.Removexattr(path, trustedProbe)
	}
	return errors.Is(err, unix.EPERM)
}

// trustedProbe is an attribute that only root of the machine can set.
const trustedProbe = "trusted.layerkeep"
