package diff

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"syscall"
	"time"

	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// Options tune [Compare].
type Options struct {
	// Warn is called for each file that a layer cannot contain, for example a
	// socket. May be nil.
	Warn func(path, message string)
}

// Compare yields the changes that turn old into new. A nil old is the empty
// tree, whose root is root:root 0755 with mtime 0. Compare closes neither view.
// An error ends the sequence. A file that disappears during the walk is an
// error.
//
// # Order
//
// A directory comes before its children. Among the children of one directory
// the deleted names come first, then the others. Both groups are sorted by
// bytes.
//
// # What counts as a change
//
// A path is changed when it exists on one side only, or when its type, mode,
// owner, device number, size, mtime, link target, extended attributes or
// content differ. Size and link count of a directory never count.
//
// # Hard links
//
// When a file has several names in new, all of them are changed or none. The
// first name in the order is yielded in full, the others with Hardlink set.
// They are changed when one of the names is changed, or when two of the names
// were not links of each other in old.
//
// Names that were links of each other in old and are not in new count as
// changed only when, by the rules so far, more than one of the files that they
// now belong to is unchanged; then all names of these files are changed. So a
// lost name changes no other name. Neither does a write that gave one name a
// file of its own: applying the layer separates the names.
//
// # What a layer cannot contain
//
// A layer cannot contain sockets, character devices 0:0, and names that start
// with ".wh.". Compare treats them as missing in new, and calls Options.Warn
// for new ones.
func Compare(ctx context.Context, old, new View, opts Options) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		w := &walker{ctx: ctx, old: old, new: new, warn: opts.Warn, yield: yield, emitted: map[inode]*firstName{}, same: map[string]bool{}}
		if w.warn == nil {
			w.warn = func(string, string) {}
		}
		if err := w.run(); err != nil && !errors.Is(err, errStop) {
			yield(Change{}, explain(err))
		}
	}
}

// explain explains E2BIG. listxattr(2) returns it for a file whose extended
// attributes have more than 64 KiB of names.
func explain(err error) error {
	if errors.Is(err, syscall.E2BIG) {
		return fmt.Errorf("%w: its extended attributes have more than 64 KiB of names, which Linux does not list: %w", ErrNotCarried, err)
	}
	return err
}

// errStop says that the consumer stopped the sequence.
var errStop = errors.New("stopped by the consumer")

// A walker is one run of Compare.
type walker struct {
	ctx      context.Context //nolint:containedctx // lives as long as the call
	old, new View
	warn     func(path, message string)
	yield    func(Change, error) bool

	at dirPath // the path of the current directory

	links   *links                 // nil until hard links matter
	same    map[string]bool        // by path: files that were compared early
	extra   map[string][]Hint      // by directory: names to visit besides the hinted ones
	scanned map[string][]candidate // by directory: the hinted names, for one use
	emitted map[inode]*firstName   // files with names that were not visited yet
	content contentComparer
}

// firstName is the name under which a file was yielded in full.
type firstName struct {
	path string
	left uint64 // number of names not seen yet
}

// emptyRoot is the root directory of the empty tree.
var emptyRoot = Node{Mode: TypeDir | 0o755, Mtime: time.Unix(0, 0)}

func (w *walker) run() error {
	newRoot, err := w.new.Root()
	if err != nil {
		return err
	}
	defer newRoot.Close()
	var oldRoot Dir
	if w.old != nil {
		if oldRoot, err = w.old.Root(); err != nil {
			return err
		}
		defer oldRoot.Close()
		if err := w.scanHinted(oldRoot, newRoot); err != nil {
			return err
		}
	}
	if err := w.root(oldRoot, newRoot); err != nil {
		return err
	}
	return w.dir(oldRoot, newRoot, askHints)
}

// root yields the root directory if its attributes differ.
func (w *walker) root(old, new Dir) error {
	n, err := new.Stat()
	if err != nil {
		return err
	}
	o := emptyRoot
	if old != nil {
		if o, err = old.Stat(); err != nil {
			return err
		}
	}
	same, xattrs, err := sameDir(old, new, o, n)
	if err != nil || same {
		return err
	}
	return w.emit(Change{Kind: Modify, Path: ".", Node: n, Xattrs: xattrs})
}

// dir compares the children of one directory. A nil old has no children.
func (w *walker) dir(old, new Dir, m mode) error {
	names, below, err := w.candidates(old, new, m)
	if err != nil {
		return err
	}
	nodes, err := w.deletions(old, new, names)
	if err != nil {
		return err
	}
	for i, c := range names {
		if c.done {
			continue
		}
		var n *Node
		if nodes != nil {
			n = &nodes[i]
		}
		if err := w.child(old, new, c, n, below); err != nil {
			return err
		}
	}
	return nil
}

// keepNodes is the largest number of names in a directory for which the
// attributes are kept between the two passes. For more names they are read
// twice.
const keepNodes = 1 << 14

// deletions is the first pass over a directory. It yields the deleted names. It
// sets done on them, and on all other names that the second pass can skip. It
// returns the attributes that it has read, or nil if there are too many names.
func (w *walker) deletions(old, new Dir, names []candidate) ([]Node, error) {
	if old == nil {
		return nil, nil
	}
	var nodes []Node
	if len(names) <= keepNodes {
		nodes = make([]Node, len(names))
	}
	for i := range names {
		c := &names[i]
		if err := w.ctx.Err(); err != nil {
			return nil, err
		}
		if c.where == newOnly {
			continue
		}
		gone, n, err := w.deleted(old, new, c)
		if err != nil {
			return nil, err
		}
		if gone && !reserved(c.name) {
			if err := w.emit(Change{Kind: Delete, Path: w.at.of(c.name)}); err != nil {
				return nil, err
			}
		}
		if nodes != nil {
			nodes[i] = n
		}
	}
	return nodes, nil
}

// deleted reports whether only the old side has a name. A socket on the new
// side counts as nothing.
func (w *walker) deleted(old, new Dir, c *candidate) (bool, Node, error) {
	if c.where == oldOnly {
		c.done = true
		return true, Node{}, nil
	}
	n, err := new.Lookup(c.name)
	missing := c.where == unknown && errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return false, Node{}, err
	}
	if !missing && !unfit(&n) {
		return false, n, nil
	}
	c.done = true
	o, err := old.Lookup(c.name)
	had := err == nil
	if err != nil && !(c.where == unknown && errors.Is(err, fs.ErrNotExist)) {
		return false, Node{}, err
	}
	if missing {
		return had, Node{}, nil
	}
	if had && unfit(&o) {
		return false, Node{}, nil
	}
	w.warnUnfit(w.at.of(c.name), &n)
	return had, Node{}, nil
}

// child compares one name that new has. n is nil or zero if its attributes were
// not read yet.
func (w *walker) child(old, new Dir, c candidate, n *Node, below mode) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	if n == nil || n.Mode == 0 {
		got, err := new.Lookup(c.name)
		if err != nil {
			return err
		}
		n = &got
	}
	var o *Node
	if old != nil && c.where != newOnly {
		got, err := old.Lookup(c.name)
		switch {
		case err == nil:
			o = &got
		case c.where == unknown && errors.Is(err, fs.ErrNotExist):
		default:
			return err
		}
	}
	switch {
	case unfit(n):
		w.warnUnfit(w.at.of(c.name), n)
		return nil
	case reserved(c.name):
		if o == nil {
			w.warn(w.at.of(c.name), "a name that starts with "+whiteout.Prefix+" cannot be in a layer; left out")
		}
		return nil
	case n.IsDir():
		return w.subdir(old, new, c, o, n, below)
	default:
		return w.file(old, new, c.name, o, n)
	}
}

// subdir compares a directory of new and its content.
func (w *walker) subdir(old, new Dir, c candidate, o, n *Node, below mode) error {
	defer w.at.enter(c.name)()
	sub, err := new.OpenDir(c.name)
	if err != nil {
		return err
	}
	defer sub.Close()
	var oldSub Dir
	if o != nil && o.IsDir() {
		if oldSub, err = old.OpenDir(c.name); err != nil {
			return err
		}
		defer oldSub.Close()
	}
	if err := w.dirItself(oldSub, sub, c, o, n); err != nil {
		return err
	}
	if c.forced {
		below = onlyExtra
	}
	return w.dir(oldSub, sub, below)
}

func (w *walker) dirItself(old, new Dir, c candidate, o, n *Node) error {
	change := Change{Kind: kindOf(o), Node: *n}
	var err error
	if old == nil {
		if change.Xattrs, err = new.Xattrs(); err != nil {
			return err
		}
		change.Path = w.at.String()
		return w.emit(change)
	}
	if c.descend {
		return nil
	}
	same, xattrs, err := sameDir(old, new, *o, *n)
	if err != nil || same {
		return err
	}
	change.Path, change.Xattrs = w.at.String(), xattrs
	return w.emit(change)
}

// file compares a file of new that is not a directory.
func (w *walker) file(old, new Dir, name string, o, n *Node) error {
	change := Change{Kind: kindOf(o), Node: *n}
	if n.Nlink > 1 {
		// If one name of a changed file is in the diff, all its names are.
		if first := w.emitted[inodeOf(n)]; first != nil {
			if first.left--; first.left == 0 {
				delete(w.emitted, inodeOf(n))
			}
			change.Hardlink = first.path
			return w.emitFile(new, name, change)
		}
	}
	if o != nil {
		same, err := w.unchanged(old, new, name, o, n)
		if err != nil || same {
			return err
		}
	}
	return w.emitFile(new, name, change)
}

// unchanged compares a file of new that is not a directory with the file at the
// same path in old. It also compares their hard links.
func (w *walker) unchanged(old, new Dir, name string, o, n *Node) (bool, error) {
	links := n.Nlink > 1 || o.Nlink > 1
	if links && w.links.joined(n) {
		return false, nil // known without reading the content
	}
	same, known := false, false
	if len(w.same) > 0 {
		same, known = w.same[w.at.of(name)]
	}
	if !known {
		var err error
		if same, err = w.sameFile(old, new, name, o, n); err != nil {
			return false, err
		}
	}
	if !same || !links {
		return same, nil
	}
	return w.sameLinks(o, n)
}

// emitFile yields a file.
func (w *walker) emitFile(new Dir, name string, c Change) (err error) {
	c.Path = w.at.of(name)
	if c.Node.Nlink > 1 && c.Hardlink == "" {
		w.emitted[inodeOf(&c.Node)] = &firstName{path: c.Path, left: c.Node.Nlink - 1}
	}
	if c.Xattrs, err = new.LookupXattrs(name); err != nil {
		return err
	}
	switch c.Node.Type() {
	case TypeSymlink:
		if c.Linkname, err = new.Readlink(name); err != nil {
			return err
		}
	case TypeRegular:
		if c.Hardlink != "" {
			break
		}
		c.open = func() (io.ReadCloser, error) { return new.Open(name) }
	}
	return w.emit(c)
}

func (w *walker) emit(c Change) error {
	if !w.yield(c, nil) {
		return errStop
	}
	return nil
}

// kindOf returns the kind of a change. o is the node in old, or nil.
func kindOf(o *Node) Kind {
	if o == nil {
		return Add
	}
	return Modify
}
