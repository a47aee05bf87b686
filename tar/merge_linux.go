package tar

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/attrs"
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

	trash int // a directory in staging for replaced files; -1 until needed
	moved int
	undo  undoLog

	// The open directories on the path to the current one: in the target, in the
	// staging directory, and in a directory that is being prepared.
	dsts, srcs, prepared descent
}

// trashName starts with the prefix of markers, so no entry of a layer can have
// this name.
const trashName = ".wh..trash"

// A level is one directory that the target already has.
type level struct {
	up    *level   // nil for the root
	name  string   // in the directory above
	undo  int32    // its index in the undo log, plus one
	mark  *mark    // nil if no marks are here or below
	src   *openDir // the directory of the delta at this path; nil if there is none
	dst   *openDir // the directory of the target
	below diff.Dir // the directory of the parents that shows through dst; nil if nothing shows
}

func (d *Delta) merge(ctx context.Context, t Target) (err error) {
	if t.Encoding != d.encoding {
		return fmt.Errorf("merge: layer was unpacked for the %s encoding, not %s", d.encoding, t.Encoding)
	}
	g := &merger{
		ctx: ctx, delta: d, enc: t.Encoding, view: &parentTree{view: t.Below}, trash: -1,
		maker: &maker{uid: attrs.UnknownID, gid: attrs.UnknownID, noFchmodat2: t.NoFchmodat2},
		root:  int(t.Root.Fd()), src: int(d.staging.Fd()),
	}
	defer g.view.close()
	defer g.undo.close()
	defer g.srcs.close()
	defer g.dsts.close()
	defer g.prepared.close()
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
	root := &level{mark: d.marks, below: below}
	if err := g.open(root, g.root, g.src, "."); err != nil {
		return err
	}
	return g.both(root)
}

// open opens the directories of a level, relative to those of the level above.
// src is -1 if the delta has no directory there.
func (g *merger) open(l *level, dst, src int, name string) error {
	fd, err := sys.OpenDirat(dst, name)
	if err != nil {
		return err
	}
	if l.dst, err = g.dsts.push(fd); err != nil || src < 0 {
		return err
	}
	if fd, err = sys.OpenDirat(src, name); err != nil {
		return err
	}
	l.src, err = g.srcs.push(fd)
	return err
}

// leave closes the directories of a level that is done. After an error, merge
// closes the directories that are still open.
func (g *merger) leave(l *level) error {
	if l.src != nil {
		if err := g.srcs.pop(); err != nil {
			return err
		}
	}
	return g.dsts.pop()
}

// checkAssumed verifies the assumptions of a detached layer: where the layer
// needed a directory, the parents must have a directory or nothing.
func (g *merger) checkAssumed() error {
	if g.view.view == nil || !g.delta.detached || g.delta.marks.opaque {
		return nil
	}
	root, err := g.view.view.Root()
	if err != nil {
		return err
	}
	defer root.Close()
	return g.checkBelow(root, g.delta.marks, nil)
}

// checkBelow verifies the marks below a directory of the parents. path is the
// names that lead to it.
func (g *merger) checkBelow(dir diff.Dir, m *mark, path []string) error {
	for _, name := range m.names() {
		c := m.child(name)
		if c.whiteout {
			continue // what is below it is removed as well
		}
		n, ok, err := lookupChild(dir, name)
		switch {
		case err != nil:
			return err
		case !ok:
			continue
		case !n.IsDir() && c.assumed:
			return fmt.Errorf("%w: %q is no directory there", ErrNeedsParents, strings.Join(append(path, name), "/"))
		case !n.IsDir(), c.opaque, c.children.count() == 0:
			continue
		}
		sub, err := dir.OpenDir(name)
		if err != nil {
			return err
		}
		err = g.checkBelow(sub, c, append(path, name))
		sub.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// both merges a directory of the delta into a directory of the target. If the
// delta has no such directory, both only applies the marks.
func (g *merger) both(l *level) error {
	if err := g.ctx.Err(); err != nil {
		return err
	}
	if err := sys.Thaw(l.dst.fd); err != nil {
		return err
	}
	before, err := readDirAttrs(l.dst.fd, g.enc)
	if err != nil {
		return err
	}
	after, err := g.attrsAfter(l, before)
	if err != nil {
		return err
	}
	if err := g.note(l, undoStep{kind: undoAttrs, attrs: *before}); err != nil {
		return err
	}
	if err := g.removals(l); err != nil {
		return err
	}
	lonely, err := g.lonely(l)
	if err != nil {
		return err
	}
	if err := g.entries(l); err != nil {
		return err
	}
	for _, name := range lonely {
		if err := g.alone(l, name); err != nil {
			return err
		}
	}
	return g.setDirAttrs(l.dst.fd, *after, before)
}

// attrsAfter returns the attributes that a directory of the target gets in the
// end: those of its entry, or without an entry those that it had, including the
// times (M2).
func (g *merger) attrsAfter(l *level, before *attributes) (*attributes, error) {
	if l.up == nil {
		switch {
		case g.delta.root:
			return readDirAttrs(l.src.fd, g.enc)
		case g.delta.detached && l.below != nil:
			return g.viewAttrs(l.below)
		}
		return before, nil
	}
	if l.src == nil || l.mark != nil && l.mark.implied {
		return before, nil
	}
	return readDirAttrs(l.src.fd, g.enc)
}

// removals applies the whiteouts and the opaque mark of one directory.
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
		if l.mark.child(name).whiteout {
			if err := g.removeName(l, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// empty hides everything that a directory showed so far. It also removes the
// whiteouts in the directory: in an opaque directory a whiteout hides nothing,
// so it would be a ghost (O3).
func (g *merger) empty(l *level) error {
	err := takeAll(l.dst.fd, func(e dirent) (bool, error) {
		if g.enc.Keeps(e.name) {
			return false, nil
		}
		return true, g.moveAside(l, e.name)
	})
	if err != nil {
		return err
	}
	if l.below == nil {
		return nil
	}
	if l.up == nil {
		// Overlayfs and aufs always merge the roots of the layers, even if one is
		// opaque. So each name needs a whiteout.
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
	if err := g.note(l, undoStep{kind: undoOpaque}); err != nil {
		return err
	}
	return g.enc.SetOpaque(l.dst.fd)
}

// removeName removes one name that the target had before. If the parents have
// the name too, removeName adds a whiteout, unless the delta has a file that
// hides it.
func (g *merger) removeName(l *level, name string) error {
	shows, err := hasName(l.below, name)
	if err != nil {
		return err
	}
	at, err := g.find(l.dst.fd, name)
	if err != nil {
		return err
	}
	if shows && at.isHidden(g.enc) && l.src == nil {
		return g.clear(l, name, at.withoutMark()) // the name is already hidden
	}
	if err := g.clear(l, name, at); err != nil {
		return err
	}
	if !shows {
		return nil // a whiteout that hides nothing would be a ghost (W8)
	}
	if l.src != nil {
		if _, replaced, err := lstat(l.src.fd, name); replaced || err != nil {
			return err
		}
	}
	if err := g.note(l, undoStep{kind: undoWhiteout, name: name}); err != nil {
		return err
	}
	return g.enc.Whiteout(l.dst.fd, name)
}

// entries moves the files of a directory of the delta into the target.
func (g *merger) entries(l *level) error {
	if l.src == nil {
		return nil
	}
	var descend []string
	// There may be millions of names, so only the names of the directories to
	// descend into are kept in memory.
	err := takeAll(l.src.fd, func(e dirent) (bool, error) {
		if l.up == nil && e.name == trashName {
			return false, nil
		}
		if err := g.ctx.Err(); err != nil {
			return false, err
		}
		both, err := g.entry(l, e)
		if both {
			descend = append(descend, e.name)
		}
		return !both, err
	})
	if err != nil {
		return err
	}
	slices.Sort(descend)
	for _, name := range slices.Compact(descend) { // a name may be read twice
		if err := g.descend(l, name, l.mark.child(name), true); err != nil {
			return err
		}
	}
	return nil
}

// entry moves one name into the target. If the name is a directory both in the
// delta and in the target, entry moves nothing and returns true.
func (g *merger) entry(l *level, e dirent) (both bool, err error) {
	m := l.mark.child(e.name)
	at, err := g.find(l.dst.fd, e.name)
	if err != nil {
		return false, err
	}
	hides := m != nil && (m.cut || m.whiteout)
	if e.dir && at.isDir() && !hides {
		return true, nil
	}
	if err := g.clear(l, e.name, at); err != nil {
		return false, err
	}
	if e.dir && g.view.view != nil && (m != nil || at.any() || g.enc.MergesPastFiles()) {
		if _, err := g.prepare(l.src, e.name, m, l.below, hides || at.any()); err != nil {
			return false, err
		}
	}
	return false, g.moveIn(l, l.src.fd, e.name, e.name)
}

// descend merges a directory that the target also has.
func (g *merger) descend(l *level, name string, m *mark, inDelta bool) error {
	next := &level{up: l, name: name, mark: m}
	src := -1
	if inDelta {
		src = l.src.fd
	}
	err := g.open(next, l.dst.fd, src, name)
	if err != nil {
		return err
	}
	if next.below, err = g.belowOf(l.below, name, next.dst.fd); err != nil {
		return err
	}
	if next.below != nil {
		defer next.below.Close()
	}
	if err := g.both(next); err != nil {
		return err
	}
	return g.leave(next)
}

// belowOf opens the directory of the parents that shows through a directory of
// the target. The result is nil if the directory of the target is opaque. It is
// the directory that a redirect names, or else the one with the same name.
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

// lonely returns the names of directories that have marks below them and that
// the delta does not have.
func (g *merger) lonely(l *level) (lonely []string, err error) {
	if l.mark == nil || l.mark.opaque {
		return nil, nil
	}
	for _, name := range l.mark.names() {
		if m := l.mark.child(name); m.whiteout || !m.below {
			continue
		}
		if l.src != nil {
			if _, inDelta, err := lstat(l.src.fd, name); err != nil {
				return nil, err
			} else if inDelta {
				continue
			}
		}
		lonely = append(lonely, name)
	}
	return lonely, nil
}

// alone applies the marks below a directory that the delta does not have.
func (g *merger) alone(l *level, name string) error {
	m := l.mark.child(name)
	at, err := g.find(l.dst.fd, name)
	switch {
	case err != nil:
		return err
	case at.isDir():
		return g.descend(l, name, m, false)
	case !at.any() && l.below != nil:
		return g.copyUpDir(l, name, m)
	}
	return nil
}

// copyUpDir makes a directory in the target that only the parents have. It does
// so only if one of the marks below it removes something.
func (g *merger) copyUpDir(l *level, name string, m *mark) error {
	if n, ok, err := lookupChild(l.below, name); err != nil || !ok || !n.IsDir() {
		return err
	}
	if err := g.openTrash(); err != nil {
		return err
	}
	// prepare expects the directory to have its final name, so it is made in a
	// directory of its own.
	holder := strconv.Itoa(g.unique())
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
	effective, err := g.prepare(&openDir{fd: src}, name, implied, l.below, false)
	if err != nil || !effective {
		return err
	}
	return g.moveIn(l, src, name, name)
}

func (g *merger) unique() int {
	g.moved++
	return g.moved
}
