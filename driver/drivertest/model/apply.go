package model

import (
	stdtar "archive/tar"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// layer is the state of one Apply.
type layer struct {
	root *inode
	// own are the inodes that this layer made; all others are the parents'.
	own map[*inode]bool
	// plnk are the files of aufs's .wh..wh.plnk directory.
	plnk map[string]*inode
}

// Apply applies a layer. After an error, which matches [diff.ErrInvalidLayer],
// the tree is as before.
func (t *Tree) Apply(entries []fstest.Entry) error {
	c := t.Clone()
	l := &layer{root: c.root, own: map[*inode]bool{}, plnk: map[string]*inode{}}
	if err := l.remove(entries); err != nil {
		return err
	}
	for _, e := range entries {
		if err := l.entry(e); err != nil {
			return fmt.Errorf("%s: %w", e.Name, err)
		}
	}
	maps.Copy(c.own, l.own)
	*t = *c
	return nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", diff.ErrInvalidLayer, fmt.Sprintf(format, args...))
}

// checkName refuses a name that leaves the root on its way, even if it comes
// back.
func checkName(name string) error {
	depth := 0
	for _, c := range strings.Split(name, "/") {
		switch c {
		case "", ".":
		case "..":
			if depth--; depth < 0 {
				return invalid("it leaves the root")
			}
		default:
			depth++
		}
	}
	return nil
}

// components splits a name as the stream has it. ".." at the root stays there.
func components(name string) []string {
	clean := strings.TrimPrefix(path.Clean("/"+name), "/")
	if clean == "" {
		return nil
	}
	return strings.Split(clean, "/")
}

// role is what an entry is for.
type role int

const (
	ordinary    role = iota
	whiteout         // removes one name
	opaque           // removes all children
	bookkeeping      // means nothing
	pseudoLink       // a body that hard links may refer to
)

// classify says what the entry is for and, of a marker, which path it is about.
func classify(e fstest.Entry) (role, []string, error) {
	if err := checkName(e.Name); err != nil {
		return 0, nil, err
	}
	comps := components(e.Name)
	for i, c := range comps {
		hidden, marker := strings.CutPrefix(c, ".wh.")
		switch {
		case marker && (hidden == "" || hidden == "." || hidden == ".."):
			return 0, nil, invalid("whiteout of %q", hidden)
		case i == 0 && c == ".wh..wh.plnk":
			device := e.Type == stdtar.TypeChar && e.Major == 0 && e.Minor == 0
			if len(comps) == 2 && !strings.HasPrefix(comps[1], ".wh.") && e.Type != stdtar.TypeDir && !device {
				return pseudoLink, comps, nil
			}
		case marker && (i < len(comps)-1 || comps[0] == ".wh..wh.plnk"):
			return bookkeeping, nil, nil // below a marker
		case strings.HasPrefix(c, ".wh..wh.") && c != ".wh..wh..opq":
			return bookkeeping, nil, nil
		}
	}
	if len(comps) > 0 && comps[0] == ".wh..wh.plnk" {
		return bookkeeping, nil, nil
	}
	if len(comps) == 0 {
		return ordinary, nil, nil
	}
	dir, base := comps[:len(comps)-1], comps[len(comps)-1]
	if base == ".wh..wh..opq" {
		return opaque, dir, nil
	}
	if hidden, ok := strings.CutPrefix(base, ".wh."); ok {
		return whiteout, append(append([]string{}, dir...), hidden), nil
	}
	if e.Type == stdtar.TypeChar && e.Major == 0 && e.Minor == 0 {
		return whiteout, comps, nil
	}
	return ordinary, comps, nil
}

// remove carries out all removals, on the parents as they were: first all
// markers are looked up, then they act.
func (l *layer) remove(entries []fstest.Entry) error {
	var acts []func()
	for _, e := range entries {
		role, comps, err := classify(e)
		if err != nil {
			return fmt.Errorf("%s: %w", e.Name, err)
		}
		switch role {
		case whiteout:
			dir, name := l.parentsDir(comps[:len(comps)-1]), comps[len(comps)-1]
			if dir != nil {
				acts = append(acts, func() { delete(dir.kids, name) })
			}
		case opaque:
			if dir := l.parentsDir(comps); dir != nil {
				acts = append(acts, func() { clear(dir.kids) })
			}
		}
	}
	for _, act := range acts {
		act()
	}
	return nil
}

// parentsDir returns the directory a marker is about, nil when the parents have
// no directory there. Markers do not follow symbolic links.
func (l *layer) parentsDir(comps []string) *inode {
	dir := l.root
	for _, c := range comps {
		dir = dir.kids[c]
		if dir == nil || !dir.isDir() {
			return nil
		}
	}
	return dir
}

// entry applies one entry that is no marker.
func (l *layer) entry(e fstest.Entry) error {
	role, comps, err := classify(e)
	if err != nil {
		return err
	}
	if role != ordinary && role != pseudoLink {
		return nil
	}
	if err := errors.Join(checkIDs(e), checkXattrs(e)); err != nil {
		return err
	}
	if len(comps) == 0 {
		if e.Type != stdtar.TypeDir {
			return invalid("the root is no directory")
		}
		newInode(e).replaceAttributes(l.root)
		return nil
	}
	dir := &inode{kids: l.plnk}
	if role == ordinary {
		if dir, err = l.resolve(comps[:len(comps)-1], true); err != nil {
			return err
		}
	}
	name := comps[len(comps)-1]
	if e.Type == stdtar.TypeLink {
		return l.link(e, dir, name)
	}
	made := newInode(e)
	if old := dir.kids[name]; old != nil && old.isDir() && made.isDir() {
		made.replaceAttributes(old)
		return nil
	}
	dir.kids[name] = made
	l.own[made] = true
	return nil
}

func checkIDs(e fstest.Entry) error {
	const highest = 1<<32 - 2
	if e.Type != stdtar.TypeLink && (e.UID < 0 || e.UID > highest || e.GID < 0 || e.GID > highest) {
		return invalid("owner %d:%d is out of range", e.UID, e.GID)
	}
	return nil
}

// checkXattrs refuses attributes that no file on Linux can have, or none tells
// of.
func checkXattrs(e fstest.Entry) error {
	if e.Type == stdtar.TypeLink {
		return nil
	}
	names := 0
	for name, value := range e.Xattrs {
		if !isKept(name) {
			continue
		}
		if len(name) > 255 || len(value) > 65536 {
			return invalid("attribute %q of %d bytes with a name of %d", name, len(value), len(name))
		}
		names += len(name) + 1
	}
	if names > 65536 {
		return invalid("%d attributes with %d bytes of names", len(e.Xattrs), names)
	}
	return nil
}

// isKept reports whether a layer carries an attribute.
func isKept(name string) bool {
	space, _, _ := strings.Cut(name, ".")
	return name != "security.selinux" && slices.Contains([]string{"user", "trusted", "security", "system"}, space)
}

// ErrUnspecified is the error of Apply for a layer whose meaning nobody says: a
// hard link to itself.
var ErrUnspecified = errors.New("unspecified")

// maxHops is how many symbolic links one name may lead through.
const maxHops = 255

// resolve returns the directory at comps, following symbolic links inside the
// root. With imply, missing directories are made.
func (l *layer) resolve(comps []string, imply bool) (*inode, error) {
	stack, hops := []*inode{l.root}, 0
	todo := append([]string{}, comps...)
	for len(todo) > 0 {
		c := todo[0]
		todo = todo[1:]
		here := stack[len(stack)-1]
		switch c {
		case "", ".":
			continue
		case "..":
			if len(stack) > 1 {
				stack = stack[:len(stack)-1]
			}
			continue
		}
		next := here.kids[c]
		if next == nil {
			if !imply {
				return nil, invalid("%s does not exist", strings.Join(comps, "/"))
			}
			next = impliedDir()
			here.kids[c] = next
			l.own[next] = true
		}
		switch {
		case next.isDir():
			stack = append(stack, next)
		case next.isSymlink():
			if hops++; hops > maxHops {
				return nil, invalid("too many symbolic links")
			}
			if strings.HasPrefix(next.target, "/") {
				stack = stack[:1]
			}
			todo = append(strings.Split(next.target, "/"), todo...)
		default:
			return nil, invalid("%s is no directory", c)
		}
	}
	return stack[len(stack)-1], nil
}

// link makes a hard link. A file that only the parents hold is copied up first:
// names that are not of this layer keep the inode they had.
func (l *layer) link(e fstest.Entry, dir *inode, name string) error {
	comps := components(e.Target)
	if len(comps) == 2 && comps[0] == ".wh..wh.plnk" {
		made := l.plnk[comps[1]]
		if made == nil {
			return invalid("hard link target %s does not exist", e.Target)
		}
		dir.kids[name] = made
		l.own[made] = true
		return nil
	}
	if len(comps) == 0 {
		return invalid("hard link to the root")
	}
	at, err := l.resolve(comps[:len(comps)-1], false)
	if err != nil {
		return err
	}
	last := comps[len(comps)-1]
	target := at.kids[last]
	switch {
	case target == nil:
		return invalid("hard link target %s does not exist", e.Target)
	case target.isDir():
		return invalid("hard link target %s is a directory", e.Target)
	case at == dir && last == name:
		return ErrUnspecified
	case !l.own[target]:
		target = target.clone(map[*inode]*inode{})
		at.kids[last] = target
		l.own[target] = true
	}
	dir.kids[name] = target
	return nil
}

// newInode returns what the header of an entry describes.
func newInode(e fstest.Entry) *inode {
	i := &inode{mode: uint32(e.Mode) & diff.PermMask, uid: uint32(e.UID), gid: uint32(e.GID), mtime: e.Mtime}
	i.xattrs = maps.Clone(e.Xattrs)
	maps.DeleteFunc(i.xattrs, func(name, _ string) bool { return !isKept(name) })
	switch e.Type {
	case stdtar.TypeDir:
		i.mode |= diff.TypeDir
		i.kids = map[string]*inode{}
	case stdtar.TypeSymlink:
		i.mode = diff.TypeSymlink | 0o777
		i.target = e.Target
	case stdtar.TypeFifo:
		i.mode |= diff.TypeFifo
	case stdtar.TypeChar:
		i.mode |= diff.TypeChar
		i.rdev = unix.Mkdev(uint32(e.Major), uint32(e.Minor))
	case stdtar.TypeBlock:
		i.mode |= diff.TypeBlock
		i.rdev = unix.Mkdev(uint32(e.Major), uint32(e.Minor))
	default:
		i.mode |= diff.TypeRegular
		i.body = e.Body
	}
	if kind := i.kind(); kind != diff.TypeRegular && kind != diff.TypeDir {
		// Linux keeps user attributes on files and directories only.
		maps.DeleteFunc(i.xattrs, func(name, _ string) bool { return strings.HasPrefix(name, "user.") })
	}
	return i
}

// replaceAttributes gives a directory all attributes of i and leaves its
// children.
func (i *inode) replaceAttributes(dir *inode) {
	dir.mode, dir.uid, dir.gid, dir.mtime = i.mode, i.uid, i.gid, i.mtime
	dir.xattrs = i.xattrs
}
