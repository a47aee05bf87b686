package btrfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/rootfd"
	"github.com/layerkeep/layerkeep/internal/subvol"
)

// A tree is the merged tree of a layer: a [diff.View] and a [diff.Linker].
// After compareWith it knows what changed since the snapshot was made.
type tree struct {
	vol      *os.File // the subvolume, for searches in its tree
	root     *rootfd.Dir
	dev, ino uint64 // of root
	synced   bool   // everything is on disk
	old      *tree  // the argument of compareWith; not closed by the tree
	since    *changeSet
	work     work
}

// treeOptions are the options of openTree.
type treeOptions struct {
	// sealed says that the tree does not change any more.
	sealed bool
	read   rootfd.Options
}

// work counts calls of the kernel, for tests.
type work struct {
	searches, items int // searches in the tree of a subvolume, and the items that they returned
	listed          int // directories listed
	opened, dirs    int // files and directories opened
	looked          int // files whose attributes were read
	completed       int // searches for the remaining names of an inode
}

// openTree opens the tree in the directory dir of the subvolume at path vol.
func openTree(vol, dir string, opts treeOptions) (*tree, error) {
	f, err := os.Open(vol)
	if err != nil {
		return nil, err
	}
	t := &tree{vol: f, synced: opts.sealed}
	if t.root, err = rootfd.Open(filepath.Join(vol, dir), opts.read); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	st, err := t.root.Stat()
	if err != nil {
		return nil, errors.Join(err, t.Close())
	}
	t.dev, t.ino = st.Dev, st.Ino
	return t, nil
}

// Close closes the tree.
func (t *tree) Close() error { return errors.Join(t.root.Close(), t.vol.Close()) }

// Root opens the root directory.
func (t *tree) Root() (diff.Dir, error) {
	d, err := t.root.OpenDirAt(".")
	if err != nil {
		return nil, err
	}
	return &dir{PlainDir: diff.PlainDir{Dir: d}, tree: t, ino: t.ino, known: t.since != nil}, nil
}

// sync makes the kernel write what it has delayed: inodes and names that are
// not in the tree yet, and data without a place on disk. Only the first call
// does so.
func (t *tree) sync() error {
	if t.synced {
		return nil
	}
	if err := unix.Syncfs(int(t.vol.Fd())); err != nil {
		return &os.PathError{Op: "syncfs", Path: t.vol.Name(), Err: err}
	}
	t.synced = true
	return nil
}

// each searches the tree of the subvolume and calls visit for every item.
func (t *tree) each(q subvol.Query, visit func(subvol.Item) error) error {
	t.work.searches++
	return subvol.Each(t.vol, q, func(i subvol.Item) error {
		t.work.items++
		return visit(i)
	})
}

// compareWith finds out what changed in t since it was made as a snapshot of
// old in the transaction base. Afterwards its directories implement
// [diff.Hinter] for a comparison with old, which has to stay open. With base 0,
// or if the roots are not the same directory, nothing is known and everything
// has to be compared.
func (t *tree) compareWith(ctx context.Context, old *tree, base uint64) error {
	t.old = old
	if base == 0 || t.ino != old.ino {
		return nil
	}
	if err := errors.Join(old.sync(), t.sync()); err != nil {
		return err
	}
	since, err := changedSince(ctx, t, base)
	if err != nil {
		return fmt.Errorf("search for what changed in %s: %w", t.vol.Name(), err)
	}
	if !since.isNew(t.ino) {
		t.since = since
	}
	return nil
}

// dir is one directory of a tree: a [diff.Dir], a [diff.Hinter] and a
// [diff.BodyMatcher].
type dir struct {
	diff.PlainDir
	tree *tree
	ino  uint64 // inode number, if known is true
	// known: the old side has the same directory at the same path.
	known bool
}

func (d *dir) Stat() (diff.Node, error) {
	st, err := d.Dir.Stat()
	return nodeOf(st), err
}

// stubInode is the inode number of a stub: the empty directory that the kernel
// shows instead of a subvolume that a snapshot did not include. The kernel
// calls it BTRFS_EMPTY_SUBVOL_DIR_OBJECTID.
const stubInode = 2

// nodeOf returns the attributes of a file. The mtime of a stub would be the
// time of the call, so nodeOf replaces it by 0. A directory that Seal makes
// from a stub has the mtime 0, too.
func nodeOf(st rootfd.Stat) diff.Node {
	if st.Ino == stubInode && st.IsDir() {
		st.Mtime = time.Unix(0, 0)
	}
	return diff.NodeOf(st)
}

func (d *dir) Lookup(name string) (diff.Node, error) {
	d.tree.work.looked++
	st, err := d.Dir.Lookup(name)
	return nodeOf(st), err
}

func (d *dir) Names() ([]string, error) {
	d.tree.work.listed++
	return d.Dir.Names()
}

func (d *dir) Open(name string) (io.ReadCloser, error) {
	d.tree.work.opened++
	return d.PlainDir.Open(name)
}

func (d *dir) OpenDir(name string) (diff.Dir, error) {
	d.tree.work.dirs++
	sub, err := d.Dir.OpenDir(name)
	if err != nil {
		return nil, err
	}
	next := &dir{PlainDir: diff.PlainDir{Dir: sub}, tree: d.tree}
	if !d.known {
		return next, nil
	}
	st, err := sub.Stat()
	if err == nil && st.Dev == d.tree.dev {
		next.ino = st.Ino
		next.known, err = d.tree.inPlace(st.Ino, d.ino, name)
	}
	if err != nil {
		return nil, errors.Join(err, sub.Close())
	}
	return next, nil
}
