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
// the module shows the intended content:
//
//   - If directories of several branches are opaque, the module obeys only the
//     lowest mark, and shows what lies between. An opaque directory of the
//     layer gets a whiteout for each name that would reappear.
//   - A directory whose time only copy-up has changed gets the time of the
//     parents' directory.
//
// It may be called again.
type normalizer struct {
	ctx context.Context //nolint:containedctx // lives as long as the call
	// as shows the intended content of the layer. mounted shows what the module
	// shows.
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

// merged normalizes a directory of the layer that merges with the parents'
// directory.
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

// restoreTime restores the time of a directory if only copy-up changed it.
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
		return nil // a whiteout in the layer hides the name
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

// hide makes a directory of the layer hide everything that the module would
// merge with it, which is in the lower places.
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

// hideName reports whether a directory of the layer already hides a name of the
// parents. A whiteout or a file of the layer hides the name. A directory of the
// layer hides it too, after hideName has hidden the names in it that the module
// would merge.
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

// addWhiteouts adds whiteouts for the names to a directory. at is its path in
// the branch. The directory keeps its modification time.
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

// setMtime sets only the modification time of an open directory.
func setMtime(fd int, t time.Time) error {
	mtime, err := unix.TimeToTimespec(t)
	if err != nil {
		return err
	}
	return sys.Futimens(fd, &[2]unix.Timespec{{Nsec: unix.UTIME_OMIT}, mtime})
}
