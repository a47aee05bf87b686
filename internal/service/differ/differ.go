package differ

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/errdefs"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/errkind"
	"github.com/layerkeep/layerkeep/snapshotter"
)

// Options tune [New].
type Options struct {
	// Logger receives warnings; nil discards them.
	Logger *slog.Logger
	// Limits bound what a layer may ask for.
	Limits driver.Limits
}

// A Differ applies layers to the snapshots of one scope of a store and compares
// these. It is safe for concurrent use.
type Differ struct {
	store  *snapshotter.Snapshotter
	scope  *snapshotter.Scope
	engine *Engine
	log    *slog.Logger
	limits driver.Limits
}

var (
	_ diff.Applier  = (*Differ)(nil)
	_ diff.Comparer = (*Differ)(nil)
)

// New returns a differ for the snapshots of a scope of the store, which reads
// and writes the content store of the engine. It is the one that gives the
// store a layer again which had to wait for its parents, see
// [snapshotter.Scope.OnReopen].
func New(store *snapshotter.Snapshotter, scope *snapshotter.Scope, engine *Engine, opts Options) *Differ {
	d := &Differ{store: store, scope: scope, engine: engine, log: opts.Logger, limits: opts.Limits}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	scope.OnReopen(d.reopen)
	return d
}

// notOurs says that the next differ in the engine's list should be asked.
func notOurs(format string, args ...any) error {
	return fmt.Errorf("%w: %w", fmt.Errorf(format, args...), errdefs.ErrNotImplemented)
}

// final keeps the engine from asking its next differ after an error of a layer
// and a snapshot that are ours: it would hide what is wrong.
func final(err error) error {
	if err == nil || !errdefs.IsNotImplemented(err) && !errors.Is(err, driver.ErrUnsupported) {
		return err
	}
	return errkind.Only(err, errdefs.ErrFailedPrecondition)
}
