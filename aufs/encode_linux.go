package aufs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/attrs"
	"github.com/layerkeep/layerkeep/internal/layerdir"
	"github.com/layerkeep/layerkeep/internal/ownfiles"
	"github.com/layerkeep/layerkeep/internal/rmtree"
	"github.com/layerkeep/layerkeep/internal/rootfd"
	"github.com/layerkeep/layerkeep/internal/sys"
	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// errUnfit says that overlay cannot show what a layer holds.
var errUnfit = errors.New("overlay cannot show the layer")

// The suffixes make, of the path of a translated tree, that of a file beside
// it. The kernel that mounts a tree may be another one than that under which it
// was made.
const (
	// unfitSuffix: the file says why there is no tree.
	unfitSuffix = ".unfit"
	// escapedSuffix: the file says why the tree cannot be shown before Linux 6.7.
	escapedSuffix = ".escaped"
	// maxWhy bounds such a file, in bytes: it is the text of one error.
	maxWhy = 64 << 10
)

// unfit returns an error matching errUnfit when overlay as it is here cannot
// show the layer whose translated tree is at path.
func (o overlay) unfit(path string) error {
	suffixes := []string{unfitSuffix}
	if !o.features.Escapes {
		suffixes = append(suffixes, escapedSuffix)
	}
	for _, suffix := range suffixes {
		why, err := ownfiles.Read(path+suffix, maxWhy)
		switch {
		case err == nil:
			return fmt.Errorf("%w: %s", errUnfit, why)
		case !errors.Is(err, os.ErrNotExist):
			return err
		}
	}
	return nil
}

// manyNames is from how many names on a file is copied: links to it could
// become more than a file can have.
const manyNames = 1000

// An encoder translates one branch into a tree in overlay's encoding.
type encoder struct {
	ctx         context.Context //nolint:containedctx // lives as long as the call
	enc         whiteout.Encoding
	noFchmodat2 bool
	// view is the branch over those of its parents.
	view *stack
	src  *rootfd.Dir // the root of the branch, nil where no branch is translated
	out  *rootfd.Dir // the root of the tree
	// first has, of files with several names that were copied, where to.
	first map[[2]uint64]copiedTo
	// escaped is the first attribute of overlay's own names, with its file.
	escaped string
	// copied are the files that cannot have as many links as it takes.
	copied map[[2]uint64]bool
}

// copiedTo is a name in the directory of the tree that has the same path as
// dir, which may be closed.
type copiedTo struct {
	dir  *rootfd.Dir
	name string
}

// tooManyLinks is a file of which some names were linked before it could not
// have any more.
type tooManyLinks struct{ file [2]uint64 }

func (tooManyLinks) Error() string { return "too many links" }

// translate fills dir/fs with the first of the branches, as overlay has to find
// it over the others. When that cannot be said in overlay's terms, dir gets a
// file that says so and no tree.
func translate(ctx context.Context, branches []string, dir string, o overlay, f driver.Fallbacks) error {
	view, err := openStack(branches, layerdir.ReadOptions(f))
	if err != nil {
		return err
	}
	defer view.Close()
	tree := filepath.Join(dir, treeDir)
	e := &encoder{
		ctx: ctx, enc: o.encoding(), noFchmodat2: f.NoFchmodat2, view: view, copied: map[[2]uint64]bool{},
	}
	for {
		err := e.fill(branches[0], tree)
		var links tooManyLinks
		switch {
		case errors.As(err, &links):
			e.copied[links.file] = true
			err = rmtree.Remove(tree) // and once more
		case errors.Is(err, errUnfit):
			return errors.Join(rmtree.Remove(tree), os.WriteFile(tree+unfitSuffix, []byte(err.Error()), 0o600))
		case err == nil && e.escaped != "":
			return os.WriteFile(tree+escapedSuffix, []byte(e.escaped), 0o600)
		default:
			return err
		}
		if err != nil {
			return err
		}
	}
}

func (e *encoder) fill(branch, tree string) error {
	if err := os.Mkdir(tree, 0o700); err != nil {
		return err
	}
	e.first = map[[2]uint64]copiedTo{}
	src, err := rootfd.Open(branch, rootfd.Options{})
	if err != nil {
		return err
	}
	defer src.Close()
	e.src = src
	if e.out, err = rootfd.Open(tree, rootfd.Options{}); err != nil {
		return err
	}
	defer e.out.Close()
	below := &under{}
	if v := e.view.below(); v != nil {
		below.open = v.Root
	}
	defer below.close()
	return e.dir(src, e.out, below)
}

// dir translates what is in src and then, since children change them, the
// attributes of src itself.
func (e *encoder) dir(src, dst *rootfd.Dir, below *under) error {
	entries, err := src.Entries()
	if err != nil {
		return err
	}
	hidden := map[string]bool{}
	for _, entry := range entries {
		kind, target, err := whiteout.Parse(entry.Name)
		if err != nil || kind != whiteout.Whiteout {
			continue
		}
		if err := checkMark(src, entry.Name, entry.Type); err != nil {
			return err
		}
		hidden[target] = true
		if err := e.hide(dst, target, below); err != nil {
			return err
		}
	}
	for _, entry := range entries {
		if err := e.ctx.Err(); err != nil {
			return err
		}
		if hidden[entry.Name] || neverShown(entry.Name) {
			continue
		}
		if err := e.child(src, dst, below, entry.Name); err != nil {
			return err
		}
	}
	st, err := src.Stat()
	if err != nil {
		return err
	}
	xattrs, err := src.Xattrs()
	if err != nil {
		return err
	}
	e.escapes(xattrs, src, "")
	return dst.Use(func(fd int) error { return e.set(attrs.Open(fd), st, xattrs) })
}

// hide makes a whiteout, where there is something to hide: in a directory that
// merges with none, overlay would list it.
func (e *encoder) hide(dst *rootfd.Dir, name string, below *under) error {
	d, err := below.dir()
	if err != nil || d == nil {
		return err
	}
	if _, err := d.Lookup(name); err != nil {
		if isMissing(err) {
			return nil
		}
		return err
	}
	return dst.Use(func(fd int) error { return e.enc.Whiteout(fd, name) })
}

func (e *encoder) child(src, dst *rootfd.Dir, below *under, name string) error {
	st, err := src.Lookup(name)
	if err != nil {
		return err
	}
	if !st.IsDir() {
		return e.file(src, dst, name, st)
	}
	sub, err := src.OpenDir(name)
	if err != nil {
		return err
	}
	defer sub.Close()
	opaque, err := e.hidesBelow(sub)
	if err != nil {
		return err
	}
	if err := dst.Use(func(fd int) error { return sys.Mkdirat(fd, name, 0o700) }); err != nil {
		return err
	}
	out, err := dst.OpenDir(name)
	if err != nil {
		return err
	}
	defer out.Close()
	next := &under{}
	defer next.close()
	if opaque {
		err = out.Use(e.enc.SetOpaque)
	} else {
		err = e.merge(below, next, name, sub)
	}
	if err != nil {
		return err
	}
	return e.dir(sub, out, next)
}

// hidesBelow reports whether overlay must not merge a directory of the branch.
// To overlay the uppermost opaque directory counts, to the module the lowest
// one: a mark says nothing when a directory below has one too.
func (e *encoder) hidesBelow(dir *rootfd.Dir) (bool, error) {
	marked, err := hasMark(dir, whiteout.OpaqueMarker)
	if err != nil || !marked {
		return false, err
	}
	count, err := e.view.places(dir.Below(e.src))
	return count < 2, err
}

// merge finds what the directory name, which is dir in the branch, merges with.
// aufs passes over files on its way down to a further directory, where overlay
// stops.
func (e *encoder) merge(below, next *under, name string, dir *rootfd.Dir) error {
	d, err := below.dir()
	if err != nil || d == nil {
		return err
	}
	n, err := d.Lookup(name)
	if isMissing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if n.IsDir() {
		next.open = opener(d, name)
		return nil
	}
	count, err := e.view.places(dir.Below(e.src))
	if err == nil && count > 1 {
		err = fmt.Errorf("%w: the directory %s merges with one below a file", errUnfit, e.shown(dir, ""))
	}
	return err
}

// shown is the path of a name in a directory of the branch, or of itself, for
// messages: of a very long one only the end.
func (e *encoder) shown(dir *rootfd.Dir, name string) string {
	const most = 4000
	at := path.Join(dir.Below(e.src), name)
	if cut := len(at) - most; cut > 0 {
		at = "…" + strings.ToValidUTF8(at[cut:], "")
	}
	return at
}

// places is how many directories make up the one at a path of the view.
func (v *stack) places(at string) (n int, err error) {
	err = lookupIn(v, at, func(d diff.Dir) error {
		if d, ok := d.(*dir); ok {
			n = len(d.places)
		}
		return nil
	})
	return n, err
}

// lookupIn calls fn with the directory at a path of the view.
func lookupIn(v diff.View, at string, fn func(d diff.Dir) error) error {
	d, err := v.Root()
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }() // it was only read
	if at != "." {
		for _, name := range strings.Split(at, "/") {
			next, err := d.OpenDir(name)
			if err != nil {
				return err
			}
			err = d.Close()
			d = next
			if err != nil {
				return err
			}
		}
	}
	return fn(d)
}
