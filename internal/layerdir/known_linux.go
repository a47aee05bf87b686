package layerdir

import (
	"encoding/json"
	"errors"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
)

// Untried decides what becomes of a store when trying what works on it ended with
// err. A full disk is no reason not to open one that exists: what was known before is
// read into facts. known is false where nothing was. Returns err where the store
// cannot be opened.
func Untried(opts driver.Options, err error, facts any) (known bool, _ error) {
	if !opts.Existing || !NoRoom(err) {
		return false, err
	}
	// What cannot be read is not known either.
	return opts.Known != nil && json.Unmarshal(opts.Known, facts) == nil, nil
}

// NoRoom reports whether an error is that of a full disk.
func NoRoom(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// Found is what [driver.Rememberer] returns of facts.
func Found(facts any) json.RawMessage {
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
