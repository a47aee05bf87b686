package layerlife_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/driver/drivertest"
	"github.com/layerkeep/layerkeep/internal/copytree"
	"github.com/layerkeep/layerkeep/internal/layerdir"
	"github.com/layerkeep/layerkeep/internal/layerlife"
	"github.com/layerkeep/layerkeep/internal/rootfd"
	"github.com/layerkeep/layerkeep/internal/whiteout"
	"github.com/layerkeep/layerkeep/mount"
	"github.com/layerkeep/layerkeep/tar"
)

// A toy is the smallest possible backend: each layer is a plain copy of its
// parent. It shows what a new backend needs. It has to pass the same tests as
// the real backends.
type toy struct {
	store  *layerdir.Store
	opts   driver.Options
	xattrs []string
	userNS bool
}

func newToy(_ context.Context, root string, opts driver.Options) (driver.Driver, error) {
	store, err := layerdir.OpenFor(root, opts)
	if err != nil {
		return nil, err
	}
	store.StackAtMost(layerdir.MaxParents)
	t := &toy{store: store, opts: opts}
	if t.xattrs, err = layerdir.XattrNamespaces(store.Root()); err == nil {
		t.userNS, err = layerdir.UserNS(store.Root())
	}
	if err == nil {
		err = layerdir.CheckOwners(store.Root())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("toy: %w", err), store.Close())
	}
	return struct {
		*layerlife.Driver
		layerdir.Parts
	}{layerlife.New(store, t), store.Parts("toy", "tree", nil)}, nil
}

func (t *toy) Name() string { return "toy" }

func (t *toy) Properties() driver.Properties {
	return driver.Properties{RenameDir: true, Rootless: true, MountsWritable: !t.opts.ReadOnly, XattrNamespaces: t.xattrs, MaxParents: layerdir.MaxParents}
}

func (t *toy) tree(l layerlife.Layer) string {
	if l.View {
		return t.store.Path(l.Parents[0], "tree")
	}
	return t.store.Path(l.ID, "tree")
}

func (t *toy) Make(ctx context.Context, dir string, l *layerlife.Layer) error {
	if l.View {
		return nil
	}
	if err := os.Mkdir(dir+"/tree", 0o755); err != nil {
		return err
	}
	if len(l.Parents) == 0 {
		return layerdir.EmptyRoot(dir + "/tree")
	}
	src, err := rootfd.Open(t.store.Path(l.Parents[0], "tree"), rootfd.Options{})
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := rootfd.Open(dir+"/tree", rootfd.Options{})
	if err != nil {
		return err
	}
	defer dst.Close()
	return copytree.Copy(ctx, src, dst, copytree.Options{})
}

func (t *toy) Mounts(_ context.Context, l layerlife.Layer, opts driver.MountOptions) ([]mount.Mount, error) {
	return []mount.Mount{{Type: "bind", Source: t.tree(l), ReadOnly: opts.ReadOnly || t.opts.ReadOnly || l.View || l.Sealed}}, nil
}

// A view closes its directory.
type view struct {
	diff.View
	dir *os.File
}

func (v view) Close() error { return errors.Join(v.View.Close(), v.dir.Close()) }

func open(path string) (diff.View, error) {
	dir, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return view{diff.DirView(dir), dir}, nil
}

func (t *toy) View(_ context.Context, l layerlife.Layer) (diff.View, error) { return open(t.tree(l)) }

func (t *toy) Sides(ctx context.Context, l layerlife.Layer) (parents, layer diff.View, err error) {
	if layer, err = t.View(ctx, l); err != nil || len(l.Parents) == 0 {
		return nil, layer, err
	}
	if parents, err = open(t.store.Path(l.Parents[0], "tree")); err != nil {
		return nil, nil, errors.Join(err, layer.Close())
	}
	return parents, layer, nil
}

func (t *toy) CheckWriters(ctx context.Context, id driver.ID) error {
	return t.store.NotWritableElsewhere(ctx, id)
}

func (t *toy) Target(_ context.Context, l layerlife.Layer, opts driver.ApplyOptions) (*layerlife.Target, error) {
	staging, done, err := t.store.OpenStaging(l.ID)
	if err != nil {
		return nil, err
	}
	tree, err := os.Open(t.tree(l))
	if err != nil {
		done()
		return nil, err
	}
	to := &layerlife.Target{Staging: staging, Options: layerdir.UnpackOptions(t.opts, opts, l.ID, whiteout.Plain, t.userNS)}
	to.Options.Parents = diff.DirView(tree)
	to.Merge = func(ctx context.Context, delta *tar.Delta) error { return delta.Merge(ctx, tar.Target{Root: tree}) }
	to.Close = func() { tree.Close(); done() }
	return to, nil
}

func (t *toy) Prepare(context.Context, *layerlife.Layer) error { return nil }

func (t *toy) Settle(ctx context.Context, l *layerlife.Layer) error {
	usage, err := t.Usage(ctx, *l)
	l.Meta.Usage = &usage
	return err
}

func (t *toy) Usage(ctx context.Context, l layerlife.Layer) (driver.Usage, error) {
	return layerdir.Usage(ctx, t.store.Path(l.ID, "tree"))
}

func TestAToyPassesTheWholeSuite(t *testing.T) {
	drivertest.Run(t, drivertest.Config{New: newToy})
}
