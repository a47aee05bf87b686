package aufs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/attrs"
	"github.com/layerkeep/layerkeep/internal/layerdir"
	"github.com/layerkeep/layerkeep/internal/rmtree"
	"github.com/layerkeep/layerkeep/internal/rootfd"
	"github.com/layerkeep/layerkeep/internal/whiteout"
	"github.com/layerkeep/layerkeep/tar"
)

// copyMerged makes the directory tree and copies the merged tree of the
// branches into it. It writes the merged tree as a layer tar and unpacks the
// tar. It copies directly what a layer tar cannot hold: sockets and character
// devices 0:0.
func copyMerged(ctx context.Context, branches []string, tree string, opts driver.Options) error {
	view, err := openStack(branches, layerdir.ReadOptions(opts.Fallbacks))
	if err != nil {
		return err
	}
	defer view.Close()
	root, staging, err := directories(tree, tree+".new")
	if err != nil {
		return err
	}
	defer root.Close()
	defer staging.Close()
	if err := layerdir.EmptyRoot(tree); err != nil {
		return err
	}
	userNS, err := layerdir.UserNS(filepath.Dir(tree))
	if err != nil {
		return err
	}
	unpack := layerdir.UnpackOptions(opts, driver.ApplyOptions{Limits: noLimits}, "", whiteout.Plain, userNS)
	left, err := throughTar(ctx, view, func(layer io.Reader) error {
		delta, _, err := tar.Unpack(ctx, staging, layer, unpack)
		if err != nil {
			return err
		}
		return delta.Merge(ctx, tar.Target{Root: root, NoFchmodat2: opts.Fallbacks.NoFchmodat2})
	})
	if err == nil {
		err = copyLeft(view, root, left, opts.Fallbacks.NoFchmodat2)
	}
	return errors.Join(err, rmtree.Remove(staging.Name()))
}

// noLimits are limits that no tree on a disk reaches.
var noLimits = driver.Limits{Entries: 1 << 40, Bytes: 1 << 60, PathDepth: 1 << 30, Memory: 1 << 60}

// directories makes and opens two directories.
func directories(a, b string) (*os.File, *os.File, error) {
	open := func(path string) (*os.File, error) {
		if err := os.Mkdir(path, 0o700); err != nil {
			return nil, err
		}
		return os.Open(path)
	}
	fa, err := open(a)
	if err != nil {
		return nil, nil, err
	}
	fb, err := open(b)
	if err != nil {
		return nil, nil, errors.Join(err, fa.Close())
	}
	return fa, fb, nil
}

// throughTar writes the whole view as a layer tar and passes it to read. It
// returns the paths of files that a layer tar cannot hold.
func throughTar(ctx context.Context, view diff.View, read func(layer io.Reader) error) (left []string, err error) {
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		changes := diff.Compare(ctx, nil, view, diff.Options{Warn: func(path, _ string) { left = append(left, path) }})
		_, err := tar.Write(ctx, w, changes, tar.WriteOptions{})
		w.CloseWithError(err)
	}()
	err = read(r)
	r.CloseWithError(err)
	<-done
	return left, err
}

// copyLeft makes the files that a layer tar cannot hold: sockets, and character
// devices 0:0.
func copyLeft(view diff.View, root *os.File, left []string, noFchmodat2 bool) error {
	out, err := rootfd.FromFile(root, rootfd.Options{})
	if err != nil {
		return err
	}
	defer out.Close()
	e := encoder{enc: whiteout.Plain, noFchmodat2: noFchmodat2, out: out, first: map[[2]uint64]copiedTo{}}
	for _, at := range left {
		if err := lookupIn(view, path.Dir(at), func(d diff.Dir) error { return e.node(d, at) }); err != nil {
			return fmt.Errorf("copy %s: %w", at, err)
		}
	}
	return nil
}

// node copies a file without content, and restores the time of its directory.
func (e *encoder) node(from diff.Dir, at string) error {
	name := path.Base(at)
	n, err := from.Lookup(name)
	if err != nil {
		return err
	}
	if n.Type() != diff.TypeSocket && n.Type() != diff.TypeChar {
		return nil // it was reported for another reason
	}
	xattrs, err := from.LookupXattrs(name)
	if err != nil {
		return err
	}
	dir, err := e.out.OpenDirAt(path.Dir(at))
	if err != nil {
		return err
	}
	defer dir.Close()
	st, err := dir.Stat()
	if err != nil {
		return err
	}
	id := [2]uint64{n.Dev, n.Ino}
	if first, ok := e.first[id]; ok {
		err = e.again(first, dir, name)
	} else {
		e.first[id] = copiedTo{dir, name}
		node := rootfd.Stat{Mode: n.Mode, UID: n.UID, GID: n.GID, Rdev: n.Rdev, Mtime: n.Mtime}
		err = e.special(nil, dir.Fd(), name, node, xattrs)
	}
	if err != nil {
		return err
	}
	return attrs.Open(dir.Fd()).SetTimes(st.Mtime)
}
