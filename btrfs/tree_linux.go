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

// A tree is the view of a layer: a [diff.View] and a [diff.Linker]. After
// compareWith it knows what changed since the snapshot of its parent was made.
type tree struct {
	vol      *os.File // the subvolume, for searches in its tree
	root     *rootfd.Dir
	dev, ino uint64 // of root
	synced   bool   // the tree on disk is all there is
	old      *tree  // what compareWith was given; not closed by the tree
	since    *changeSet
	work     work
}

// treeOptions tune openTree.
type treeOptions struct {
	// sealed says that nobody writes to the tree any more.
	sealed bool
	read   rootfd.Options
}

// work counts what was asked of the kernel, for tests.
type work struct {
	searches, items int // calls that look into the tree of a subvolume, and what they gave
	listed          int // directories listed
	opened, dirs    int // files and directories opened
	looked          int // files whose attributes were read
	completed       int // searches for the rest of an inode's names
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

// sync makes the kernel write what it holds back: inodes and names that are to
// be put into the tree later, and data that has no place on disk yet. It does
// so once.
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

// each searches the tree of the subvolume.
func (t *tree) each(q subvol.Query, visit func(subvol.Item) error) error {
	t.work.searches++
	return subvol.Each(t.vol, q, func(i subvol.Item) error {
		t.work.items++
		return visit(i)
	})
}

// compareWith finds out what changed in t since it was made as a snapshot of
// old in the transaction base. Its Dirs are then a [diff.Hinter] against old,
// which has to stay open. With base 0, or when the roots are not the same
// directory, nothing is known and all has to be compared.
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
	ino  uint64 // of a known one
	// known: on the old side, the same directory is at the same path.
	known bool
}

func (d *dir) Stat() (diff.Node, error) {
	st, err := d.Dir.Stat()
	return nodeOf(st), err
}

// stubInode is the number of the directories that the kernel shows in the place
// of subvolumes that a snapshot did not take along:
// BTRFS_EMPTY_SUBVOL_DIR_OBJECTID.
const stubInode = 2

// nodeOf gives stubs, which have the time at which they are looked at, the
// time 0. So has what Seal makes of them.
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
