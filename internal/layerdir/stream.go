package layerdir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/confine"
	"github.com/layerkeep/layerkeep/internal/rootfd"
	"github.com/layerkeep/layerkeep/internal/whiteout"
	"github.com/layerkeep/layerkeep/tar"
)

// UnpackOptions translates what a driver was given to what package tar takes.
// Parents is left to the caller.
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

// ReadOptions says how a driver reads trees.
func ReadOptions(f driver.Fallbacks) rootfd.Options {
	return rootfd.Options{NoOpenat2: f.NoOpenat2, NoXattrat: f.NoXattrat}
}

// warning is warn or, without one, a line in the log.
func warning(log *slog.Logger, id driver.ID, warn func(path, message string)) func(path, message string) {
	switch {
	case warn != nil:
		return warn
	case log == nil:
		return func(string, string) {}
	}
	return func(path, message string) { log.Warn(message, "layer", id, "path", path) }
}

// WriteDiff writes changes as a layer tar, see [driver.Driver]'s Diff. They are read by a
// thread that can do no more than read layers.
func (s *Store) WriteDiff(ctx context.Context, id driver.ID, log *slog.Logger, w io.Writer, opts driver.DiffOptions,
	changes func(ctx context.Context, warn func(path, message string)) iter.Seq2[diff.Change, error],
) (stats diff.Stats, err error) {
	latest := opts.MaxTime
	if latest.IsZero() {
		if latest, err = tar.SourceDateEpoch(); err != nil {
			return diff.Stats{}, err
		}
	}
	tell := warning(log, id, opts.Warn)
	err = s.confined(ctx, confine.Dirs{}, func(ctx context.Context) (err error) {
		warn := func(path, message string) { confine.Outside(ctx, func() { tell(path, message) }) }
		out := confine.Writer(ctx, w)
		stats, err = tar.Write(ctx, out, changes(ctx, warn), tar.WriteOptions{MaxTime: latest, Warn: warn})
		if cerr := out.Close(); err == nil {
			err = cerr
		}
		return err
	})
	return stats, err
}

// confined calls fn on a thread that can change files in the given directories, and read
// layers.
func (s *Store) confined(ctx context.Context, dirs confine.Dirs, fn func(context.Context) error) error {
	if s.loose {
		ctx = confine.Without(ctx)
	}
	dirs.Read = s.readable()
	return confine.Do(ctx, dirs, fn)
}

// readable are the directories that the files of layers are in.
func (s *Store) readable() []string {
	dirs := []string{s.root}
	if s.files != "" {
		dirs = append(dirs, s.files)
	}
	for _, from := range s.lenders {
		if isDirectory(from.dir) == nil { // else it has no layers yet
			dirs = append(dirs, from.dir)
		}
	}
	return dirs
}

// Unpack unpacks a layer into a staging directory for the layer id, on threads that can
// change nothing else.
func (s *Store) Unpack(ctx context.Context, id driver.ID, staging *os.File, layer io.Reader, opts tar.UnpackOptions) (delta *tar.Delta, applied driver.Applied, err error) {
	dir := staging.Name()
	if s.holds(id, staging) {
		// Landlock keeps the directories of its rules, removed ones too, until its threads
		// have ended, and btrfs counts them meanwhile.
		dir = s.Path(id)
	}
	err = s.confined(ctx, confine.Dirs{Change: []string{dir}}, func(ctx context.Context) error {
		d, a, err := tar.Unpack(ctx, staging, layer, opts)
		delta, applied = d, driver.Applied(a)
		return err
	})
	return delta, applied, err
}

// Merge merges what was unpacked into a staging directory into a layer, on a thread that can
// change nothing but that directory and the target's root, which was opened by its path.
func (s *Store) Merge(ctx context.Context, id driver.ID, staging *os.File, delta *tar.Delta, target tar.Target) error {
	dirs := confine.Dirs{Change: []string{target.Root.Name(), staging.Name()}}
	if s.holds(id, staging) {
		dirs.Change = []string{s.Path(id)} // as Unpack does
	}
	return s.confined(ctx, dirs, func(ctx context.Context) error { return delta.Merge(ctx, target) })
}

// holds reports whether a directory is in that of a layer.
func (s *Store) holds(id driver.ID, dir *os.File) bool {
	return strings.HasPrefix(dir.Name(), s.Path(id)+string(filepath.Separator))
}

// kind is an error that matches a sentinel too, which says the same as its text.
type kind struct{ err, sentinel error }

func (k kind) Error() string   { return k.err.Error() }
func (k kind) Unwrap() []error { return []error{k.err, k.sentinel} }

// TarError makes the errors of package tar match those of the driver contract.
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
				return kind{err, pair[1]}
			}
			return fmt.Errorf("%w: %w", pair[1], err)
		}
	}
	return err
}
