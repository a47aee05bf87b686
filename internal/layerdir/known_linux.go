package layerdir

import (
	"encoding/json"
	"errors"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/durable"
)

// Learn returns what try finds out of a store's file system. A full disk, on which
// nothing can be tried, is no reason not to open a store that exists: f is what was
// known before then, or, where nothing was, its zero value, and known is false.
func Learn[F any](opts driver.Options, try func() (F, error)) (f F, known bool, err error) {
	f, err = try()
	if err == nil {
		return f, true, nil
	}
	var before F
	if !Excused(opts, err) {
		return before, false, err
	}
	// What cannot be read is not known either.
	if opts.Known == nil || json.Unmarshal(opts.Known, &before) != nil {
		return *new(F), false, nil
	}
	return before, true, nil
}

// Excused reports whether a store is to be opened although trying what works on it
// ended with err.
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

// UserOverlay reports whether overlay's own attributes have to be in the namespace
// "user." here, because this process is root of a user namespace alone. path is a
// directory of ours; it takes no space to find out.
func UserOverlay(path string) bool {
	const name = "trusted.layerkeep"
	err := unix.Setxattr(path, name, nil, 0)
	if err == nil {
		err = unix.Removexattr(path, name)
	}
	return errors.Is(err, unix.EPERM)
}
