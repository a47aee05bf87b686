package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"strings"
	"sync"

	ctdmount "github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/filters"
	"github.com/containerd/errdefs"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/errkind"
)

// scopeMark begins the names of all snapshots that belong to a scope.
const scopeMark = "@"

var scopeNames = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)
})

// A Scope is the part of a store that one engine sees: the snapshots whose
// names begin with "@NAME/". The engine itself never sees this prefix. An
// engine removes every snapshot that it does not know. Therefore two engines,
// and an engine and people who use the store by hand, must not see each other's
// snapshots.
type Scope struct {
	s      *Snapshotter
	name   string
	prefix string
}

var (
	_ snapshots.Snapshotter = (*Scope)(nil)
	_ snapshots.Cleaner     = (*Scope)(nil)
)

// Scope returns the scope called name. A name consists of at most 64 lower-case
// letters, digits, dots, dashes and underscores; for another name the error
// matches errdefs.ErrInvalidArgument. Scope logs a warning when engines cannot
// read the path of the store out of mount options.
func (s *Snapshotter) Scope(name string) (*Scope, error) {
	if !scopeNames().MatchString(name) {
		return nil, fail(errdefs.ErrInvalidArgument, "scope %q: it is made of lower-case letters, digits, dots, dashes and underscores", name)
	}
	if strings.ContainsAny(s.root, `,:\`) && s.driver.Properties().SharesPages {
		s.log.Warn("the path of the store has a comma, a colon or a backslash: engines that take the options of its mounts apart, to unpack layers say, will not find its directories",
			"root", s.root, "scope", name)
	}
	return &Scope{s: s, name: name, prefix: scopeMark + name + "/"}, nil
}

// ScopeOf splits the name of a snapshot in the store into its scope and its
// name in the scope. The scope is empty for a snapshot that belongs to none.
// For example "@containerd/k8s.io/1/x" gives "containerd" and "k8s.io/1/x".
func ScopeOf(name string) (scope, rest string) {
	marked, ok := strings.CutPrefix(name, scopeMark)
	if !ok {
		return "", name
	}
	scope, rest, ok = strings.Cut(marked, "/")
	if !ok || !scopeNames().MatchString(scope) {
		return "", name
	}
	return scope, rest
}

// extraction begins the last component of the keys under which containerd and
// BuildKit unpack layers. They never run containers on these snapshots.
const extraction = "extract-"

// IsExtraction reports whether key is, in any scope, the key under which an
// engine unpacks a layer.
func IsExtraction(key string) bool {
	scope, rest := ScopeOf(key)
	return scope != "" && strings.HasPrefix(path.Base(rest), extraction)
}

// Name returns the name of the scope.
func (sc *Scope) Name() string { return sc.name }

// Full returns the name in the store of the snapshot that the scope calls name.
func (sc *Scope) Full(name string) string {
	if name == "" {
		return ""
	}
	return sc.prefix + name
}

// Prepare is [Snapshotter.Prepare] in the scope. Engines may read the mounts,
// so an overlay has only options that they know.
func (sc *Scope) Prepare(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]ctdmount.Mount, error) {
	mounts, err := sc.s.Prepare(ctx, sc.Full(key), sc.Full(parent), opts...)
	return engineMounts(mounts), err
}

// View is [Snapshotter.View] in the scope.
func (sc *Scope) View(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]ctdmount.Mount, error) {
	mounts, err := sc.s.View(ctx, sc.Full(key), sc.Full(parent), opts...)
	return engineMounts(mounts), err
}

// Mounts is [Snapshotter.Mounts] in the scope.
func (sc *Scope) Mounts(ctx context.Context, key string) ([]ctdmount.Mount, error) {
	mounts, err := sc.s.Mounts(ctx, sc.Full(key))
	return engineMounts(mounts), err
}

// Commit is [Snapshotter.Commit] in the scope.
func (sc *Scope) Commit(ctx context.Context, name, key string, opts ...snapshots.Opt) error {
	scoped := append(append([]snapshots.Opt{}, opts...), func(info *snapshots.Info) error {
		info.Parent = sc.Full(info.Parent)
		return nil
	})
	return sc.s.Commit(ctx, sc.Full(name), sc.Full(key), scoped...)
}

// Remove is [Snapshotter.Remove] in the scope, with another result for mounted
// snapshots. For a mounted view, and for a committed snapshot that a view
// binds, the engine sees the snapshot removed, and can remove those below it
// too. Their layers stay, in no scope, while the mount exists. A later Remove
// or Cleanup, or the next opening of the store, deletes them.
//
// Remove refuses a snapshot that is mounted writable. The error matches
// driver.ErrBusy and also errdefs.ErrFailedPrecondition, because the garbage
// collection of containerd goes on with the next snapshot only after that one.
func (sc *Scope) Remove(ctx context.Context, key string) error {
	err := sc.s.remove(ctx, sc.Full(key), true)
	if errors.Is(err, driver.ErrBusy) {
		return errkind.Only(err, driver.ErrBusy, errdefs.ErrFailedPrecondition)
	}
	return err
}

// Stat is [Snapshotter.Stat] in the scope.
func (sc *Scope) Stat(ctx context.Context, key string) (snapshots.Info, error) {
	info, err := sc.s.Stat(ctx, sc.Full(key))
	return sc.local(info), err
}

// StatWhole is Stat for an engine that looks for the layers of an image. It
// does not find a committed snapshot when its layer, or a layer below, is
// missing or has no readable record. So the engine unpacks the layer again, see
// [Scope.Heal].
func (sc *Scope) StatWhole(ctx context.Context, key string) (snapshots.Info, error) {
	info, err := sc.s.Stat(ctx, sc.Full(key))
	if err == nil && info.Kind == snapshots.KindCommitted {
		err = sc.s.whole(ctx, info.Name)
	}
	if err != nil {
		return snapshots.Info{}, err
	}
	return sc.local(info), nil
}

// Update is [Snapshotter.Update] in the scope.
func (sc *Scope) Update(ctx context.Context, info snapshots.Info, fieldpaths ...string) (snapshots.Info, error) {
	info.Name, info.Parent = sc.Full(info.Name), sc.Full(info.Parent)
	info, err := sc.s.Update(ctx, info, fieldpaths...)
	return sc.local(info), err
}

// Usage is [Snapshotter.Usage] in the scope.
func (sc *Scope) Usage(ctx context.Context, key string) (snapshots.Usage, error) {
	return sc.s.Usage(ctx, sc.Full(key))
}

// Walk is [Snapshotter.Walk] in the scope. The filters see the names in the
// scope.
func (sc *Scope) Walk(ctx context.Context, fn snapshots.WalkFunc, fs ...string) error {
	filter, err := filters.ParseAll(fs...)
	if err != nil {
		return fmt.Errorf("%w: %w", errdefs.ErrInvalidArgument, err)
	}
	return sc.s.Walk(ctx, func(ctx context.Context, info snapshots.Info) error {
		if !strings.HasPrefix(info.Name, sc.prefix) {
			return nil
		}
		if info = sc.local(info); !filter.Match(fields(info)) {
			return nil
		}
		return fn(ctx, info)
	})
}

// Create is [Snapshotter.Create] in the scope.
func (sc *Scope) Create(ctx context.Context, key, parent string, opts ...snapshots.Opt) error {
	return sc.s.Create(ctx, sc.Full(key), sc.Full(parent), opts...)
}

// Apply is [Snapshotter.Apply] in the scope.
func (sc *Scope) Apply(ctx context.Context, key string, layer io.Reader, opts driver.ApplyOptions) (driver.Applied, error) {
	return sc.s.Apply(ctx, sc.Full(key), layer, opts)
}

// Diff is [Snapshotter.Diff] in the scope.
func (sc *Scope) Diff(ctx context.Context, key string, w io.Writer, opts driver.DiffOptions) (diff.Stats, error) {
	return sc.s.Diff(ctx, sc.Full(key), w, opts)
}

// OpenView is [Snapshotter.OpenView] in the scope.
func (sc *Scope) OpenView(ctx context.Context, key string) (diff.View, error) {
	return sc.s.OpenView(ctx, sc.Full(key))
}

// Find is [Snapshotter.Find] among the snapshots of the scope. It returns the
// key in the scope.
func (sc *Scope) Find(ctx context.Context, mounts []ctdmount.Mount) (string, error) {
	row, err := sc.s.find(ctx, mounts, sc.prefix)
	return strings.TrimPrefix(row.Name, sc.prefix), err
}

// FindTree is [Snapshotter.FindTree] among the snapshots of the scope.
func (sc *Scope) FindTree(ctx context.Context, mounts []ctdmount.Mount) (string, error) {
	name, err := sc.s.findTree(ctx, mounts, sc.prefix)
	return strings.TrimPrefix(name, sc.prefix), err
}

// Cleanup is [Snapshotter.Cleanup]: leftovers on disk belong to no scope.
func (sc *Scope) Cleanup(ctx context.Context) error { return sc.s.Cleanup(ctx) }

// Close does nothing: the store stays open for its other users.
func (sc *Scope) Close() error { return nil }

// local replaces the names in info by the names in the scope.
func (sc *Scope) local(info snapshots.Info) snapshots.Info {
	info.Name = strings.TrimPrefix(info.Name, sc.prefix)
	info.Parent = strings.TrimPrefix(info.Parent, sc.prefix)
	return info
}
