package snapshotter

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/mount"
)

var errInjected = errors.New("injected")

// fault makes one step of a call fail. A step is the moment before or after a
// call of the driver that changes something, or before or after a writing
// transaction. In the mode dying all later steps fail too and have no effect,
// as if the process had died.
type fault struct {
	mu     sync.Mutex
	armed  bool
	dying  bool
	at     int // the number of the step that fails, from 0
	passed []string
	dead   bool
}

func (f *fault) arm(at int, dying bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed, f.dying, f.at = true, dying, at
}

// fired reports whether the step was reached.
func (f *fault) fired() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.passed) > f.at
}

// trace returns the steps up to the one that failed.
func (f *fault) trace() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.passed[:min(len(f.passed), f.at+1)], ", ")
}

func (f *fault) step(point string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.dead:
		return errInjected
	case !f.armed:
		return nil
	case !f.dying && strings.HasSuffix(point, " after") && !strings.HasPrefix(point, "driver "):
		return nil // a transaction that returned an error did not take place
	}
	f.passed = append(f.passed, point)
	if len(f.passed)-1 != f.at {
		return nil
	}
	f.dead = f.dying
	return errInjected
}

// around makes a step before and a step after a call of the driver.
func (f *fault) around(name string, call func() error) error {
	if err := f.step("driver " + name + " before"); err != nil {
		return err
	}
	if err := call(); err != nil {
		return err
	}
	return f.step("driver " + name + " after")
}

// faultyDriver makes steps around the calls of a driver that change something.
// Reads and the cleanup in the background are not steps.
type faultyDriver struct {
	driver.Driver
	fault *fault
}

// wrap returns an openDriver whose drivers have the fault.
func (f *fault) wrap(open openDriver) openDriver {
	return func(ctx context.Context, root, name string, opts driver.Options) (driver.Driver, error) {
		d, err := open(ctx, root, name, opts)
		if err != nil {
			return nil, err
		}
		return &faultyDriver{d, f}, nil
	}
}

func (d *faultyDriver) Create(ctx context.Context, id driver.ID, parents []driver.ID, opts driver.CreateOptions) error {
	return d.fault.around("create", func() error { return d.Driver.Create(ctx, id, slices.Clone(parents), opts) })
}

func (d *faultyDriver) Mount(ctx context.Context, id driver.ID, opts driver.MountOptions) ([]mount.Mount, error) {
	if err := d.fault.step("driver mount before"); err != nil {
		return nil, err
	}
	return d.Driver.Mount(ctx, id, opts)
}

func (d *faultyDriver) ApplyDiff(ctx context.Context, id driver.ID, layer io.Reader, opts driver.ApplyOptions) (applied driver.Applied, err error) {
	err = d.fault.around("apply", func() error {
		applied, err = d.Driver.ApplyDiff(ctx, id, layer, opts)
		return err
	})
	return applied, err
}

func (d *faultyDriver) Seal(ctx context.Context, id driver.ID) error {
	return d.fault.around("seal", func() error { return d.Driver.Seal(ctx, id) })
}

func (d *faultyDriver) Record(ctx context.Context, id driver.ID) (driver.Record, error) {
	return d.Driver.(driver.Recorder).Record(ctx, id)
}

func (d *faultyDriver) NoteNow(ctx context.Context, id driver.ID, note json.RawMessage) error {
	return d.fault.around("note", func() error { return d.Driver.(driver.Recorder).NoteNow(ctx, id, note) })
}

func (d *faultyDriver) Note(ctx context.Context, id driver.ID, note json.RawMessage) error {
	return d.fault.around("note", func() error { return d.Driver.(driver.Recorder).Note(ctx, id, note) })
}

func (d *faultyDriver) Usage(ctx context.Context, id driver.ID) (driver.Usage, error) {
	if err := d.fault.step("driver usage before"); err != nil {
		return driver.Usage{}, err
	}
	return d.Driver.Usage(ctx, id)
}

func (d *faultyDriver) Remove(ctx context.Context, id driver.ID) error {
	return d.fault.around("remove", func() error { return d.Driver.Remove(ctx, id) })
}

func (d *faultyDriver) Cleanup(ctx context.Context) error {
	d.fault.mu.Lock()
	dead := d.fault.dead
	d.fault.mu.Unlock()
	if dead {
		return errInjected
	}
	return d.Driver.Cleanup(ctx)
}

// Rebase exists for every driver; Properties says which drivers can do it.
func (d *faultyDriver) Rebase(ctx context.Context, id driver.ID, parents []driver.ID) error {
	return d.fault.around("rebase", func() error { return d.Driver.(driver.Rebaser).Rebase(ctx, id, parents) })
}

// Replace exists for every driver.
func (d *faultyDriver) Replace(ctx context.Context, id, made driver.ID) error {
	return d.fault.around("replace", func() error {
		r, ok := d.Driver.(driver.Replacer)
		if !ok {
			return driver.ErrUnsupported
		}
		return r.Replace(ctx, id, made)
	})
}
