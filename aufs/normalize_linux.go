package aufs

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/rootfd"
	"github.com/layerkeep/layerkeep/internal/sys"
	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// A normalizer rewrites the branch of a layer that is not sealed yet, so that
// the module shows what the layer says:
//
//   - Where directories of several branches are opaque, the module obeys the
//     lowest mark only, and shows what lies between. A directory of the layer
//     that is opaque gets a whiteout for each name that would reappear.
//   - Directories whose time only copy-up has changed get the time of the
//     parents'.
//
// Calling it again does no harm.
type normalizer struct {
	ctx context.Context //nolint:containedctx // lives as long as the call
	// as shows the layer as it is meant, mounted shows what the module does.
	as, mounted *stack
	kept        keptTimes
}

// normalize rewrites the first of the branches, which lies over the others.
// times is the path of a file that exists while directories are changed, see
// [keptTimes].
func normalize(ctx context.Context, branches []string, opts rootfd.Options, times string) error {
	if len(branches) < 2 {
		return nil
	}
	as, err := openStack(branches, opts)
	if err != nil {
		return err
	}
	defer as.Close()
	as.unsealed = true
	n := &normalizer{ctx: ctx, as: as, mounted: &stack{branches: as.branches, held: as.held}, kept: keptTimes{path: times}}
	if err := n.kept.restore(as.branches[0].root); err != nil {
		return err
	}
	places := make([]place, len(branches))
	for i := range branches {
		places[i] = place{branch: i}
	}
	return n.kept.close(n.merged(places))
}

// merged normalizes a directory of the layer that merges with the parents'.
func (n *normalizer) merged(places []place) error {
	if err := n.ctx.Err(); err != nil {
		return err
	}
	own, err := n.as.branches[0].root.OpenDirAt(places[0].at.String())
	if err != nil {
		return err
	}
	defer own.Close()
	if err := n.restoreTime(own, places); err != nil {
		return err
	}
	entries, err := own.Entries()
	if err != nil {
		return err
	}
	for _, e := range entries {
		if neverShown(e.Name) || e.Type != rootfd.TypeDir && e.Type != 0 {
			continue
		}
		if err := n.child(places, e.Name); err != nil {
			return err
		}
	}
	return nil
}

// restoreTime sets the time of a directory that only copy-up has changed.
func (n *normalizer) restoreTime(own *rootfd.Dir, places []place) error {
	st, err := own.Stat()
	if err != nil {
		return err
	}
	mtime, err := n.as.mtime(places, st.Mtime)
	if err != nil || mtime.Equal(st.Mtime) {
		return err
	}
	return own.Use(func(fd int) error { return setMtime(fd, mtime) })
}

func (n *normalizer) child(places []place, name string) error {
	f, err := n.as.lookup(places, name, 0, false)
	switch {
	case isMissing(err):
		return nil // the layer has a whiteout beside it
	case err != nil:
		return err
	case f.place.branch != 0 || !f.st.IsDir():
		return nil
	case len(f.dirs) > 1:
		return n.merged(f.dirs)
	}
	shown, err := n.mounted.lookup(places, name, 0, false)
	if err != nil || len(shown.dirs) < 2 {
		return err
	}
	return n.hide(shown.dirs)
}

// hide makes the directory of the layer hide all that the module would merge
// with it: what is in the further places.
func (n *normalizer) hide(places []place) error {
	if err := n.ctx.Err(); err != nil {
		return err
	}
	below := &dir{v: n.mounted, places: places[1:]}
	names, err := below.Names()
	if err != nil {
		return err
	}
	own, err := n.as.branches[0].root.OpenDirAt(places[0].at.String())
	if err != nil {
		return err
	}
	defer own.Close()
	var missing []string
	for _, name := range names {
		there, err := n.hideName(own, places, name)
		if err != nil {
			return err
		}
		if !there {
			missing = append(missing, name)
		}
	}
	return n.addWhiteouts(own, places[0].at.String(), missing)
}

// hideName reports whether a directory of the layer hides a name of the parents
// already. What it has itself of that name does, a directory after its names
// are hidden as well.
func (n *normalizer) hideName(own *rootfd.Dir, places []place, name string) (bool, error) {
	if removed, err := hasMark(own, whiteout.Name(name)); removed || err != nil {
		return removed, err
	}
	st, err := own.Lookup(name)
	if isMissing(err) {
		return false, nil
	}
	if err != nil || !st.IsDir() {
		return true, err
	}
	f, err := n.mounted.lookup(places, name, 0, false)
	if err == nil && len(f.dirs) > 1 {
		err = n.hide(f.dirs)
	}
	return true, err
}

// addWhiteouts hides names in a directory at a path of the branch. Its time
// stays.
func (n *normalizer) addWhiteouts(d *rootfd.Dir, at string, names []string) error {
	if len(names) == 0 {
		return nil
	}
	if err := d.Use(sys.Thaw); err != nil {
		return err
	}
	st, err := d.Stat()
	if err == nil {
		err = n.kept.add(at, st.Mtime)
	}
	if err != nil {
		return err
	}
	return d.Use(func(fd int) error {
		for _, name := range names {
			if err := whiteout.AUFS.Whiteout(fd, name); err != nil && !errors.Is(err, fs.ErrExist) {
				return errors.Join(err, setMtime(fd, st.Mtime))
			}
		}
		return setMtime(fd, st.Mtime)
	})
}

// setMtime sets the modification time of an open directory and no other.
func setMtime(fd int, t time.Time) error {
	mtime, err := unix.TimeToTimespec(t)
	if err != nil {
		return err
	}
	return sys.Futimens(fd, &[2]unix.Timespec{{Nsec: unix.UTIME_OMIT}, mtime})
}
