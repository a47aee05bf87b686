package tar

import (
	"context"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/sys"
	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// A merger is one run of Merge.
type merger struct {
	ctx   context.Context
	delta *Delta
	enc   whiteout.Encoding
	view  *parentTree // the parents, for absolute paths
	maker *maker
	root  int // the target
	src   int // the staging directory

	trash int // a directory in staging for what is replaced; -1 until needed
	moved int
	undo  []undoStep
}

// trashName starts as a marker does, so no entry of a layer ever has it.
const trashName = ".wh..trash"

// A level is one directory that the target has already.
type level struct {
	path  string
	mark  *mark    // nil when nothing is to be said of it or below it
	src   int      // the delta's directory at this path, -1 when it has none
	dst   int      // the target's
	below diff.Dir // the parents' as far as it shows through dst; nil when nothing does
}

func (d *Delta) merge(ctx context.Context, t Target) (err error) {
	if t.Encoding != d.encoding {
		return fmt.Errorf("merge: layer was unpacked for the %s encoding, not %s", d.encoding, t.Encoding)
	}
	g := &merger{
		ctx: ctx, delta: d, enc: t.Encoding, view: &parentTree{view: t.Below}, trash: -1,
		maker: &maker{uid: ^uint32(0), gid: ^uint32(0), noFchmodat2: t.NoFchmodat2},
		root:  int(t.Root.Fd()), src: int(d.staging.Fd()),
	}
	defer g.view.close()
	defer func() {
		if err != nil {
			if back := g.rollBack(); back != nil {
				err = fmt.Errorf("%w: %w, after: %w", ErrTorn, back, err)
			}
		}
		if g.trash >= 0 {
			unix.Close(g.trash)
		}
	}()
	if err := g.checkAssumed(); err != nil {
		return err
	}
	var below diff.Dir
	if t.Below != nil {
		if below, err = t.Below.Root(); err != nil {
			return err
		}
		defer below.Close()
	}
	src, err := sys.OpenDirat(g.src, ".")
	if err != nil {
		return err
	}
	defer unix.Close(src)
	dst, err := sys.OpenDirat(g.root, ".")
	if err != nil {
		return err
	}
	defer unix.Close(dst)
	return g.both(&level{path: ".", mark: d.marks, src: src, dst: dst, below: below})
}

// checkAssumed verifies what a detached layer took for granted: that the
// parents have directories or nothing where it needed directories.
func (g *merger) checkAssumed() error {
	if g.view.view == nil || !g.delta.detached || g.delta.marks.opaque {
		return nil
	}
	return g.checkBelow(".", g.delta.marks)
}

func (g *merger) checkBelow(dir string, m *mark) error {
	for _, name := range m.names() {
		p, c := joinPath(dir, name), m.children[name]
		if c.whiteout {
			continue // and what is below it
		}
		n, _, _, ok, err := g.view.lookup(p)
		if err != nil {
			return err
		}
		if ok && !n.IsDir() && c.assumed {
			return fmt.Errorf("%w: %q is no directory there", ErrNeedsParents, p)
		}
		if ok && n.IsDir() && !c.opaque {
			if err := g.checkBelow(p, c); err != nil {
				return err
			}
		}
	}
	return nil
}

// both merges a directory of the delta, or only its marks, into one of the
// target.
func (g *merger) both(l *level) error {
	if err := g.ctx.Err(); err != nil {
		return err
	}
	if err := sys.Thaw(l.dst); err != nil {
		return err
	}
	before, err := readDirAttrs(l.dst, g.enc)
	if err != nil {
		return err
	}
	after, err := g.attrsAfter(l, before)
	if err != nil {
		return err
	}
	g.note(l.path, func(dst int) error { return g.setDirAttrs(dst, *before, nil) })
	if err := g.removals(l); err != nil {
		return err
	}
	names, err := g.entries(l)
	if err != nil {
		return err
	}
	if err := g.lonely(l, names); err != nil {
		return err
	}
	return g.setDirAttrs(l.dst, *after, before)
}

// attrsAfter are the attributes that a directory of the target ends up with:
// those of its entry, else the ones it had, times included (M2).
func (g *merger) attrsAfter(l *level, before *attrs) (*attrs, error) {
	if l.path == "." {
		switch {
		case g.delta.root:
			return readDirAttrs(l.src, g.enc)
		case g.delta.detached && l.below != nil:
			return g.viewAttrs(l.below)
		}
		return before, nil
	}
	if l.src < 0 || l.mark != nil && l.mark.implied {
		return before, nil
	}
	return readDirAttrs(l.src, g.enc)
}

// removals carries the markers of one directory out.
func (g *merger) removals(l *level) error {
	if l.mark == nil {
		return nil
	}
	if l.mark.opaque {
		if err := g.empty(l); err != nil {
			return err
		}
	}
	for _, name := range l.mark.names() {
		if l.mark.children[name].whiteout {
			if err := g.removeName(l, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// empty hides everything that a directory showed so far. Whiteouts in it go as
// well: nothing hides a whiteout in an opaque directory, so it would be a ghost
// (O3).
func (g *merger) empty(l *level) error {
	names, err := listDir(l.dst)
	if err != nil {
		return err
	}
	for _, e := range names {
		if g.enc.Keeps(e.name) {
			continue
		}
		if err := g.moveAside(l, e.name); err != nil {
			return err
		}
	}
	if l.below == nil {
		return nil
	}
	if l.path == "." {
		// Overlayfs and aufs always merge the roots: each name has to be hidden.
		names, err := l.below.Names()
		for _, name := range names {
			l.mark.make(name).whiteout = true
		}
		return err
	}
	l.below = nil
	return g.setOpaque(l)
}

func (g *merger) setOpaque(l *level) error {
	g.note(l.path, func(dst int) error { return g.enc.ClearOpaque(dst) })
	return g.enc.SetOpaque(l.dst)
}

// removeName removes one name that the target held before. What the parents
// below still have is hidden, unless the delta brings something that hides it.
func (g *merger) removeName(l *level, name string) error {
	shows, err := hasName(l.below, name)
	if err != nil {
		return err
	}
	at, err := g.find(l.dst, name)
	if err != nil {
		return err
	}
	if shows && at.isHidden(g.enc) && l.src < 0 {
		return g.clear(l, name, at.withoutMark()) // is hidden already
	}
	if err := g.clear(l, name, at); err != nil {
		return err
	}
	if !shows {
		return nil // a mark for nothing would be a ghost (W8)
	}
	if l.src >= 0 {
		if _, replaced, err := lstat(l.src, name); replaced || err != nil {
			return err
		}
	}
	g.note(l.path, func(dst int) error { return g.enc.ClearWhiteout(dst, name) })
	return g.enc.Whiteout(l.dst, name)
}

// entries moves what the delta has in a directory, and returns the names.
func (g *merger) entries(l *level) (map[string]bool, error) {
	if l.src < 0 {
		return nil, nil
	}
	list, err := listDir(l.src)
	if err != nil {
		return nil, err
	}
	names := make(map[string]bool, len(list))
	for _, e := range list {
		if l.path == "." && e.name == trashName {
			continue
		}
		names[e.name] = true
		if err := g.entry(l, e); err != nil {
			return nil, err
		}
	}
	return names, nil
}

func (g *merger) entry(l *level, e dirent) error {
	m := l.mark.child(e.name)
	at, err := g.find(l.dst, e.name)
	if err != nil {
		return err
	}
	hides := m != nil && (m.cut || m.whiteout)
	if e.dir && at.isDir() && !hides {
		return g.descend(l, e.name, m, true)
	}
	if err := g.clear(l, e.name, at); err != nil {
		return err
	}
	if e.dir && g.view.view != nil && (m != nil || at.any() || g.enc.MergesPastFiles()) {
		if _, err := g.prepare(l.src, e.name, m, l.below, hides || at.any()); err != nil {
			return err
		}
	}
	return g.moveIn(l, l.src, e.name, e.name)
}

// descend goes on in a directory that the target has too.
func (g *merger) descend(l *level, name string, m *mark, inDelta bool) error {
	next := &level{path: joinPath(l.path, name), mark: m, src: -1}
	var err error
	if next.dst, err = sys.OpenDirat(l.dst, name); err != nil {
		return err
	}
	defer unix.Close(next.dst)
	if inDelta {
		if next.src, err = sys.OpenDirat(l.src, name); err != nil {
			return err
		}
		defer unix.Close(next.src)
	}
	if next.below, err = g.belowOf(l.below, name, next.dst); err != nil {
		return err
	}
	if next.below != nil {
		defer next.below.Close()
	}
	return g.both(next)
}

// belowOf opens what shows through a directory of the target: nothing when it
// is opaque, the directory it is redirected to, else the one of the same name.
func (g *merger) belowOf(parent diff.Dir, name string, dst int) (diff.Dir, error) {
	if g.view.view == nil {
		return nil, nil
	}
	if op, err := g.enc.Opacity(dst); op == whiteout.OpaqueDir || err != nil {
		return nil, err
	}
	redirect, err := g.enc.Redirect(dst)
	if err != nil {
		return nil, err
	}
	if len(redirect) > 0 && redirect[0] == '/' {
		root, err := g.view.view.Root()
		if err != nil {
			return nil, err
		}
		return openPath(root, redirect)
	}
	if redirect != "" {
		name = redirect
	}
	if parent == nil {
		return nil, nil
	}
	return openChild(parent, name)
}

// lonely carries out the marks below directories that the delta does not have.
func (g *merger) lonely(l *level, inDelta map[string]bool) error {
	if l.mark == nil || l.mark.opaque {
		return nil
	}
	for _, name := range l.mark.names() {
		m := l.mark.children[name]
		if inDelta[name] || m.whiteout || !m.marksBelow() {
			continue
		}
		at, err := g.find(l.dst, name)
		switch {
		case err != nil:
			return err
		case at.isDir():
			err = g.descend(l, name, m, false)
		case !at.any() && l.below != nil:
			err = g.copyUpDir(l, name, m)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// copyUpDir makes a directory that only the parents have in the target, when one
// of the marks below it has anything to remove.
func (g *merger) copyUpDir(l *level, name string, m *mark) error {
	if n, ok, err := lookupChild(l.below, name); err != nil || !ok || !n.IsDir() {
		return err
	}
	if err := g.openTrash(); err != nil {
		return err
	}
	// A directory of its own, since prepare wants the name.
	holder := g.unique()
	if err := sys.Mkdirat(g.trash, holder, 0o700); err != nil {
		return err
	}
	src, err := sys.OpenDirat(g.trash, holder)
	if err != nil {
		return err
	}
	defer unix.Close(src)
	if err := sys.Mkdirat(src, name, 0o700); err != nil {
		return err
	}
	implied := &mark{children: m.children, opaque: m.opaque, implied: true}
	effective, err := g.prepare(src, name, implied, l.below, false)
	if err != nil || !effective {
		return err
	}
	return g.moveIn(l, src, name, name)
}

func (g *merger) unique() string {
	g.moved++
	return strconv.Itoa(g.moved)
}
