package snapshotter

import (
	"errors"

	"golang.org/x/sys/unix"
)

// isUnclean reports whether a file system says that its own structures are
// damaged.
func isUnclean(err error) bool { return errors.Is(err, unix.EUCLEAN) }
