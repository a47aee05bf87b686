package snapshotter

import (
	"errors"

	"golang.org/x/sys/unix"
)

// isUnclean reports whether a file system has returned err to say that its own
// structures are damaged.
func isUnclean(err error) bool { return errors.Is(err, unix.EUCLEAN) }
