package drivertest

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/continuity/fs"
	cfstest "github.com/containerd/continuity/fs/fstest"
	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/tar"
)

// testContinuity runs continuity's file-system suite: each of its steps changes
// a plain tree, the change becomes a layer, and the stack of layers, mounted,
// has to be the plain tree.
func (s *suite) testContinuity(t *testing.T) {
	if !s.can.mounts || !s.can.owners {
		return // its comparison wants real mounts and owners; the model covers the rest
	}
	cfstest.FSSuite(t, &continuityApplier{suite: s, t: t})
}

// A continuityApplier keeps one stack of layers and the plain tree it stands
// for; TestContext starts new ones.
type continuityApplier struct {
	*suite
	t     *testing.T
	st    *store
	chain []driver.ID
	plain string // the tree that all steps so far made
}

func (a *continuityApplier) TestContext(ctx context.Context) (context.Context, func(), error) {
	a.st, a.chain = a.open(a.t), nil
	a.plain = filepath.Join(a.t.TempDir(), "0")
	return ctx, func() {}, os.Mkdir(a.plain, 0o755)
}

// Apply makes one step a layer and mounts the stack.
func (a *continuityApplier) Apply(ctx context.Context, step cfstest.Applier) (string, func(), error) {
	next := filepath.Join(filepath.Dir(a.plain), string(layerID(len(a.chain))))
	if err := fs.CopyDir(next, a.plain); err != nil {
		return "", nil, err
	}
	if err := step.Apply(next); err != nil {
		return "", nil, err
	}
	layer, err := layerBetween(ctx, a.plain, next)
	if err != nil {
		return "", nil, err
	}
	a.plain = next
	id := layerID(len(a.chain))
	a.st.create(id, a.chain...)
	if err := a.st.applyBytes(id, layer, driver.ApplyOptions{}); err != nil {
		return "", nil, err
	}
	a.st.seal(id)
	a.chain = append([]driver.ID{id}, a.chain...)
	return a.mountStack(ctx, id)
}

// mountStack mounts a layer for as long as the suite looks at it.
func (a *continuityApplier) mountStack(ctx context.Context, id driver.ID) (string, func(), error) {
	mounts, err := a.st.d.Mount(ctx, id, driver.MountOptions{})
	if err != nil {
		return "", nil, err
	}
	root, release, done := make(chan string), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- a.mounter().WithTemp(ctx, mounts, func(dir string) error {
			root <- dir
			<-release
			return nil
		})
	}()
	select {
	case dir := <-root:
		return dir, func() { close(release); require.NoError(a.t, <-done) }, nil
	case err := <-done:
		return "", nil, err
	}
}

// layerBetween writes the change from one plain tree to another as a layer.
func layerBetween(ctx context.Context, from, to string) ([]byte, error) {
	before, err := os.Open(from)
	if err != nil {
		return nil, err
	}
	defer before.Close()
	after, err := os.Open(to)
	if err != nil {
		return nil, err
	}
	defer after.Close()
	old, now := diff.DirView(before), diff.DirView(after)
	defer old.Close()
	defer now.Close()
	var layer bytes.Buffer
	_, err = tar.Write(ctx, &layer, diff.Compare(ctx, old, now, diff.Options{}), tar.WriteOptions{})
	return layer.Bytes(), err
}
