package layerdir

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/errkind"
	"github.com/layerkeep/layerkeep/internal/rootfd"
	"github.com/layerkeep/layerkeep/internal/whiteout"
	"github.com/layerkeep/layerkeep/tar"
)

// UnpackOptions translates the options of a driver to those of package tar. The
// caller sets Parents.
func UnpackOptions(d driver.Options, a driver.ApplyOptions, id driver.ID, enc whiteout.Encoding, userNS bool) tar.UnpackOptions {
	u := tar.UnpackOptions{
		Detached: a.Detached, DiffID: a.DiffID, Limits: tar.Limits(a.Limits.Or(d.Limits)), Warn: warning(d.Logger, id, a.Warn),
		Encoding: enc, UserNS: userNS,
		NoOpenat2: d.Fallbacks.NoOpenat2, NoFchmodat2: d.Fallbacks.NoFchmodat2,
	}
	if d.Fallbacks.SingleThread {
		u.Writers = 1
	}
	return u
}

// ReadOptions returns how a driver reads trees.
func ReadOptions(f driver.Fallbacks) rootfd.Options {
	return rootfd.Options{NoOpenat2: f.NoOpenat2, NoXattrat: f.NoXattrat}
}

// warning returns warn. If warn is nil, it returns a function that writes to
// the log.
func warning(log *slog.Logger, id driver.ID, warn func(path, message string)) func(path, message string) {
	switch {
	case warn != nil:
		return warn
	case log == nil:
		return func(string, string) {}
	}
	return func(path, message string) { log.Warn(message, "layer", id, "path", path) }
}

// TarError makes the errors of package tar match the errors of package driver.
func TarError(err error) error {
	for _, pair := range [][2]error{
		{tar.ErrDigest, driver.ErrDigest},
		{tar.ErrNeedsParents, driver.ErrNeedsParents},
		{tar.ErrTorn, driver.ErrTorn},
		{tar.ErrLongName, driver.ErrUnsupported},
		{tar.ErrOwnXattr, driver.ErrUnsupported},
		{tar.ErrLargeXattr, driver.ErrUnsupported},
		{tar.ErrUnmappedID, driver.ErrUnsupported},
	} {
		if errors.Is(err, pair[0]) && !errors.Is(err, pair[1]) {
			if pair[0].Error() == pair[1].Error() {
				return errkind.As(err, pair[1])
			}
			return fmt.Errorf("%w: %w", pair[1], err)
		}
	}
	return err
}
