package vfs

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/rootfd"
)

// A tree is a [diff.View] of a layer's tree. With a manifest it knows what
// changed since the tree was copied from old.
type tree struct {
	root     *rootfd.Dir
	old      *rootfd.Dir // not closed by the tree
	manifest *manifest
}

func openTree(path string, opts rootfd.Options) (*tree, error) {
	root, err := rootfd.Open(path, opts)
	if err != nil {
		return nil, err
	}
	return &tree{root: root}, nil
}

// Close closes the tree.
func (t *tree) Close() error { return t.root.Close() }

// Root opens the root directory.
func (t *tree) Root() (diff.Dir, error) {
	d, err := t.root.OpenDirAt(".")
	if err != nil {
		return nil, err
	}
	return t.dir(d, ".", t.manifest != nil)
}

// dir is one directory of a tree: a [diff.Dir] and a [diff.Hinter].
type dir struct {
	diff.PlainDir
	tree *tree
	// path is the path of a known directory. It is empty for other directories: in
	// a hostile deep tree, the paths would take space with the square of its depth.
	path string
	// known: the directory is the one that was copied to this path.
	known bool
}

// dir wraps an open directory. parentKnown says that the parent directory is
// known; see dir.known.
func (t *tree) dir(d *rootfd.Dir, path string, parentKnown bool) (diff.Dir, error) {
	res := &dir{PlainDir: diff.PlainDir{Dir: d}, tree: t, path: path}
	if parentKnown {
		st, err := d.Stat()
		if err != nil {
			return nil, errors.Join(err, d.Close())
		}
		res.known = t.manifest.has(path, st.Ino)
	}
	return res, nil
}

// changed reports whether an inode with this change time was changed after the
// copy was finished.
func (m *manifest) changed(ctime time.Time) bool { return !ctime.Before(m.stamp) }

func (d *dir) OpenDir(name string) (diff.Dir, error) {
	sub, err := d.Dir.OpenDir(name)
	if err != nil {
		return nil, err
	}
	if !d.known {
		return d.tree.dir(sub, "", false)
	}
	return d.tree.dir(sub, path.Join(d.path, name), true)
}

// Hints returns the names in the directory that changed after the copy or may
// have changed, the directories that may contain changes, and the names that
// were removed.
func (d *dir) Hints() ([]diff.Hint, bool, error) {
	if !d.known {
		return nil, false, nil
	}
	names, err := d.Names()
	if err != nil {
		return nil, false, err
	}
	own, err := d.Dir.Stat()
	if err != nil {
		return nil, false, err
	}
	swapped := !d.tree.manifest.swaps && d.tree.manifest.changed(own.Ctime)
	var hints []diff.Hint
	for _, name := range names {
		st, err := d.Dir.Lookup(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, false, err
		}
		changed := d.tree.manifest.changed(st.Ctime)
		if st.IsDir() {
			moved := !d.tree.manifest.has(path.Join(d.path, name), st.Ino)
			hints = append(hints, diff.Hint{Name: name, Descend: !changed && !moved})
		} else if changed || swapped || st.IsRegular() && st.Size > 0 && !d.tree.manifest.bodies {
			hints = append(hints, diff.Hint{Name: name})
		}
	}
	gone, err := d.gone(names)
	if err != nil {
		return nil, false, err
	}
	for _, name := range gone {
		hints = append(hints, diff.Hint{Name: name})
	}
	slices.SortFunc(hints, func(a, b diff.Hint) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return hints, true, nil
}

// gone returns the names that only the original has. A directory that was not
// changed has lost no names.
func (d *dir) gone(names []string) ([]string, error) {
	st, err := d.Dir.Stat()
	if err != nil || !d.tree.manifest.changed(st.Ctime) {
		return nil, err
	}
	old, err := d.tree.old.OpenDirAt(d.path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer old.Close()
	had, err := old.Names()
	return slices.DeleteFunc(had, func(name string) bool {
		_, found := slices.BinarySearch(names, name)
		return found
	}), err
}
