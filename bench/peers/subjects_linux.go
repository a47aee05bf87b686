package peers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/containerd/containerd/v2/plugins/snapshots/native"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/bench"
	"github.com/layerkeep/layerkeep/driver"
)

// Subjects returns containerd's snapshotters, to be measured beside the drivers
// of this module.
func Subjects() []*bench.Subject {
	return []*bench.Subject{
		{
			Name: "containerd-overlayfs", About: "containerd's snapshotter overlayfs; a layer is synced when it is committed", Peer: true,
			Open: func(_ context.Context, dir string) (bench.Store, error) {
				s, err := overlay.NewSnapshotter(dir)
				return newStore(dir, s, err)
			},
		},
		{
			Name: "containerd-native", About: "containerd's snapshotter native, which copies; a layer is synced when it is committed", Peer: true, Copies: true,
			Open: func(_ context.Context, dir string) (bench.Store, error) {
				s, err := native.NewSnapshotter(dir)
				return newStore(dir, s, err)
			},
		},
	}
}

// A store keeps layers in a snapshotter of containerd.
type store struct {
	dir string
	s   snapshots.Snapshotter

	mu     sync.Mutex
	sealed map[string]bool
	views  map[string]string // the keys of views, by where they are mounted
}

func newStore(dir string, s snapshots.Snapshotter, err error) (bench.Store, error) {
	if err != nil {
		return nil, fmt.Errorf("%w: %w", driver.ErrUnsupported, err)
	}
	return &store{dir: dir, s: s, sealed: map[string]bool{}, views: map[string]string{}}, nil
}

// committed is the name of a layer once it is sealed. Keys and names are one
// space.
func committed(name string) string { return "committed-" + name }

func (s *store) isSealed(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sealed[name]
}

func (s *store) key(name string) string {
	if s.isSealed(name) {
		return committed(name)
	}
	return name
}

func (s *store) Create(ctx context.Context, name string, parents []string) error {
	parent := ""
	if len(parents) > 0 {
		parent = committed(parents[0])
	}
	_, err := s.s.Prepare(ctx, name, parent)
	return err
}

func (s *store) Mount(ctx context.Context, name, target string, _ bench.MountOptions) error {
	if !s.isSealed(name) {
		mounts, err := s.s.Mounts(ctx, name)
		if err != nil {
			return err
		}
		return mount.All(mounts, target)
	}
	view := "view-" + name
	mounts, err := s.s.View(ctx, view, committed(name))
	if err != nil {
		return err
	}
	if err := mount.All(mounts, target); err != nil {
		return errors.Join(err, s.s.Remove(ctx, view))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.views[target] = view
	return nil
}

func (s *store) Unmount(target string) error {
	if err := mount.UnmountAll(target, 0); err != nil {
		return err
	}
	s.mu.Lock()
	view := s.views[target]
	delete(s.views, target)
	s.mu.Unlock()
	if view == "" {
		return nil
	}
	return s.s.Remove(context.Background(), view)
}

func (s *store) Apply(ctx context.Context, name string, layer io.Reader) error {
	mounts, err := s.s.Mounts(ctx, name)
	if err != nil {
		return err
	}
	return mount.WithTempMount(ctx, mounts, func(root string) error {
		_, err := archive.Apply(ctx, root, layer)
		return err
	})
}

func (s *store) Diff(ctx context.Context, name string, w io.Writer) error {
	upper, done, err := s.look(ctx, name)
	if err != nil {
		return err
	}
	defer done()
	info, err := s.s.Stat(ctx, s.key(name))
	if err != nil {
		return err
	}
	view := "below-" + name
	below, err := s.s.View(ctx, view, info.Parent)
	if err != nil {
		return err
	}
	err = mount.WithReadonlyTempMount(ctx, below, func(a string) error {
		return mount.WithReadonlyTempMount(ctx, upper, func(b string) error { return archive.WriteDiff(ctx, w, a, b) })
	})
	return errors.Join(err, s.s.Remove(ctx, view))
}

// look returns how a layer is mounted for reading.
func (s *store) look(ctx context.Context, name string) (mounts []mount.Mount, done func(), err error) {
	if !s.isSealed(name) {
		mounts, err = s.s.Mounts(ctx, name)
		return mounts, func() {}, err
	}
	view := "look-" + name
	mounts, err = s.s.View(ctx, view, committed(name))
	return mounts, func() { _ = s.s.Remove(context.WithoutCancel(ctx), view) }, err
}

// Seal commits the layer, and then syncs the file system, which our drivers do
// and containerd leaves to others.
func (s *store) Seal(ctx context.Context, name string) error {
	if s.isSealed(name) {
		return nil
	}
	if err := s.s.Commit(ctx, committed(name), name); err != nil {
		return err
	}
	s.mu.Lock()
	s.sealed[name] = true
	s.mu.Unlock()
	dir, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	return unix.Syncfs(int(dir.Fd()))
}

func (s *store) Remove(ctx context.Context, name string) error {
	err := s.s.Remove(ctx, s.key(name))
	if err == nil {
		s.mu.Lock()
		delete(s.sealed, name)
		s.mu.Unlock()
	}
	return err
}

func (s *store) Usage(ctx context.Context, name string) (driver.Usage, error) {
	u, err := s.s.Usage(ctx, s.key(name))
	return driver.Usage{Bytes: u.Size, Inodes: u.Inodes}, err
}

func (s *store) Cleanup(ctx context.Context) error {
	if c, ok := s.s.(snapshots.Cleaner); ok {
		return c.Cleanup(ctx)
	}
	return nil
}

func (s *store) Close() error { return s.s.Close() }
