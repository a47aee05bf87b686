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

// errUnfit says that overlay cannot show the content of a layer.
var errUnfit = errors.New("overlay cannot show the layer")

// Each suffix, added to the path of a translated tree, is the path of a file
// beside it. The files are stored because another kernel may mount the tree
// later than the kernel under which it was made.
const (
	// unfitSuffix: the file says why there is no tree.
	unfitSuffix = ".unfit"
	// escapedSuffix: the file says why kernels before 6.7 cannot show the tree.
	escapedSuffix = ".escaped"
	// maxWhy limits the size of such a file, in bytes. It has the text of one
	// error.
	maxWhy = 64 << 10
)

// unfit returns an error matching errUnfit if overlay on this kernel cannot
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

// manyNames is a number of names. A file with more names is copied, because
// hard links to it could exceed the link limit of the file system.
const manyNames = 1000

// An encoder translates one branch into a tree in overlay's encoding.
type encoder struct {
	ctx         context.Context //nolint:containedctx // lives as long as the call
	enc         whiteout.Encoding
	noFchmodat2 bool
	// view is the merged tree of the branch and the branches of its parents.
	view *stack
	src  *rootfd.Dir // root of the branch; nil if no branch is translated
	out  *rootfd.Dir // root of the translated tree
	// first has the first copy of each copied file that has several names.
	first map[[2]uint64]copiedTo
	// escaped describes the first attribute found whose name overlay uses, with its
	// file.
	escaped string
	// copied are the files that cannot have enough hard links.
	copied map[[2]uint64]bool
}

// copiedTo is a name in a directory of the translated tree. The directory has
// the same path as dir, which may be closed.
type copiedTo struct {
	dir  *rootfd.Dir
	name string
}

// tooManyLinks is the error for a file that ran out of hard links after some of
// its names were linked.
type tooManyLinks struct{ file [2]uint64 }

func (tooManyLinks) Error() string { return "too many links" }

// translate fills dir/fs with the first of the branches in overlay's encoding,
// for an overlay over the translations of the other branches. If overlay cannot
// show the branch, dir gets a file that says why, and no tree.
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
			err = rmtree.Remove(tree) // then try once more
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

// dir translates everything in src, and then sets the attributes of dst,
// because adding children would change them.
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

// hide makes a whiteout if the parents have the name. Without that check,
// overlay would list the whiteout in a directory that merges with nothing.
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

// hidesBelow reports whether the translated directory has to be opaque. Overlay
// obeys the uppermost opaque mark, and the module obeys the lowest one. So a
// mark has no effect if a directory below has one too.
func (e *encoder) hidesBelow(dir *rootfd.Dir) (bool, error) {
	marked, err := hasMark(dir, whiteout.OpaqueMarker)
	if err != nil || !marked {
		return false, err
	}
	count, err := e.view.places(dir.Below(e.src))
	return count < 2, err
}

// merge finds the parents' directory that the directory name merges with. dir
// is that directory in the branch. aufs skips files on its way down to a lower
// directory of the name, but overlay stops there, so merge returns errUnfit in
// that case.
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

// shown returns the path of a name in a directory of the branch, for messages.
// The empty name means the directory itself. A very long path is cut to its
// end.
func (e *encoder) shown(dir *rootfd.Dir, name string) string {
	const most = 4000
	at := path.Join(dir.Below(e.src), name)
	if cut := len(at) - most; cut > 0 {
		at = "…" + strings.ToValidUTF8(at[cut:], "")
	}
	return at
}

// places returns how many directories are merged at a path of the view.
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
	defer func() { _ = d.Close() }() // a close error does not matter after reading
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
