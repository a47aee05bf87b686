package snapshotter

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/mount"
)

// fakeDisk has the layers of a fakeDriver. It outlives the driver, as a disk
// outlives a process.
type fakeDisk struct {
	most   int // Properties.MaxParents
	mu     sync.Mutex
	layers map[driver.ID]*fakeLayer
	trash  int
	quota  bool // supports size limits
	noRW   bool // cannot mount writable layers
	unions bool // its mounts name several directories
	refuse bool // refuses to unpack a layer that needs its parents

	failNotes error // returned by NoteNow
}

// fakeLayer is a layer whose whole content is one string.
type fakeLayer struct {
	parents      []driver.ID
	view, sealed bool
	content      []byte
	busy         bool
	writers      bool // has writers that Seal does not find
	size         int64
	note         json.RawMessage
}

func newFakeDisk() *fakeDisk { return &fakeDisk{layers: map[driver.ID]*fakeLayer{}} }

// fakeDriver implements driver.Driver, Rebaser, Recorder, Replacer and
// Explainer in memory. It checks that its caller follows the contract.
type fakeDriver struct {
	root string
	disk *fakeDisk
	// notes are the notes of layers that are not sealed yet. They are lost with the
	// process.
	notes map[driver.ID]json.RawMessage
}

func (d *fakeDisk) open(_ context.Context, root, name string, _ driver.Options) (driver.Driver, error) {
	if name != "" && name != "fake" {
		return nil, fmt.Errorf("no driver %q: %w", name, driver.ErrUnsupported)
	}
	return &fakeDriver{root: root, disk: d, notes: map[driver.ID]json.RawMessage{}}, nil
}

func (d *fakeDriver) Name() string { return "fake" }

func (d *fakeDriver) Properties() driver.Properties {
	return driver.Properties{Rebase: true, Explain: true, NativeDiff: true, Quota: d.disk.quota, MountsWritable: !d.disk.noRW, SharesPages: d.disk.unions, MaxParents: d.disk.most}
}

// with runs fn on a layer while the disk is locked.
func (d *fakeDriver) with(ctx context.Context, id driver.ID, fn func(*fakeLayer) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	d.disk.mu.Lock()
	defer d.disk.mu.Unlock()
	l := d.disk.layers[id]
	if l == nil {
		return fmt.Errorf("layer %s: %w", id, driver.ErrNotFound)
	}
	return fn(l)
}

func (d *fakeDriver) checkParents(parents []driver.ID) error {
	for _, p := range parents {
		switch l := d.disk.layers[p]; {
		case l == nil:
			return fmt.Errorf("parent %s: %w", p, driver.ErrNotFound)
		case !l.sealed:
			return fmt.Errorf("parent %s: %w", p, driver.ErrNotSealed)
		}
	}
	return nil
}

func (d *fakeDriver) Create(ctx context.Context, id driver.ID, parents []driver.ID, opts driver.CreateOptions) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	d.disk.mu.Lock()
	defer d.disk.mu.Unlock()
	if d.disk.layers[id] != nil {
		return fmt.Errorf("layer %s: %w", id, driver.ErrExists)
	}
	if err := d.checkParents(parents); err != nil {
		return err
	}
	d.disk.layers[id] = &fakeLayer{parents: slices.Clone(parents), view: opts.View, size: opts.Size, note: opts.Note}
	return nil
}

func (d *fakeDriver) Mount(ctx context.Context, id driver.ID, opts driver.MountOptions) (mounts []mount.Mount, err error) {
	err = d.with(ctx, id, func(l *fakeLayer) error {
		if d.disk.noRW && !opts.ReadOnly && !l.view && !l.sealed {
			return driver.ErrUnsupported
		}
		source := filepath.Join(d.root, "fake", string(id))
		mounts = []mount.Mount{{Type: "bind", Source: source, ReadOnly: opts.ReadOnly || l.view || l.sealed}}
		return nil
	})
	return mounts, err
}

func (d *fakeDriver) ApplyDiff(ctx context.Context, id driver.ID, layer io.Reader, opts driver.ApplyOptions) (driver.Applied, error) {
	raw, err := io.ReadAll(layer)
	if err != nil {
		return driver.Applied{}, err
	}
	got := digest.FromBytes(raw)
	if opts.DiffID != "" && opts.DiffID != got {
		return driver.Applied{}, driver.ErrDigest
	}
	err = d.with(ctx, id, func(l *fakeLayer) error {
		if l.sealed || l.view {
			return driver.ErrSealed
		}
		if opts.Detached && d.disk.refuse && bytes.HasPrefix(raw, []byte("needs parents")) {
			return driver.ErrNeedsParents
		}
		l.content = raw
		return nil
	})
	return driver.Applied{DiffID: got, Bytes: int64(len(raw)), Entries: 1}, err
}

func (d *fakeDriver) Sides(ctx context.Context, id driver.ID) (_, layer diff.View, err error) {
	err = d.with(ctx, id, func(l *fakeLayer) error {
		layer = fakeTree{content: slices.Clone(l.content)}
		return nil
	})
	return nil, layer, err
}

// fakeTree is a tree with one file, whose content is that of the layer. Its
// name is the same, when that is a valid name.
type fakeTree struct {
	diff.Dir
	content []byte
}

func (t fakeTree) Root() (diff.Dir, error)            { return t, nil }
func (t fakeTree) Close() error                       { return nil }
func (t fakeTree) Xattrs() (map[string]string, error) { return nil, nil }
func (t fakeTree) LookupXattrs(string) (map[string]string, error) {
	return nil, nil
}

func (t fakeTree) Stat() (diff.Node, error) {
	return diff.Node{Mode: diff.TypeDir | 0o755, Mtime: time.Unix(0, 0)}, nil
}

func (t fakeTree) Names() ([]string, error) {
	if len(t.content) == 0 {
		return nil, nil
	}
	if len(t.content) > 100 || bytes.ContainsAny(t.content, "/\x00") {
		return []string{"content"}, nil
	}
	return []string{string(t.content)}, nil
}

func (t fakeTree) Lookup(string) (diff.Node, error) {
	if string(t.content) == "a socket" {
		return diff.Node{Mode: diff.TypeSocket | 0o644, Nlink: 1}, nil
	}
	return diff.Node{Mode: diff.TypeRegular | 0o644, Nlink: 1, Size: int64(len(t.content)), Mtime: time.Unix(0, 0)}, nil
}

func (t fakeTree) Open(string) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(t.content)), nil
}

func (d *fakeDriver) View(ctx context.Context, id driver.ID) (diff.View, error) {
	return fakeView{}, d.with(ctx, id, func(*fakeLayer) error { return nil })
}

// fakeView shows an empty directory.
type fakeView struct{ diff.Dir }

func (v fakeView) Root() (diff.Dir, error) { return v, nil }
func (fakeView) Names() ([]string, error)  { return nil, nil }
func (fakeView) Close() error              { return nil }

func (d *fakeDriver) Seal(ctx context.Context, id driver.ID) error {
	return d.with(ctx, id, func(l *fakeLayer) error {
		if l.view {
			return driver.ErrUnsupported
		}
		if note, ok := d.notes[id]; ok {
			l.note = note
			delete(d.notes, id)
		}
		l.sealed = true
		return nil
	})
}

func (d *fakeDriver) Record(ctx context.Context, id driver.ID) (r driver.Record, err error) {
	err = d.with(ctx, id, func(l *fakeLayer) error {
		r = driver.Record{Parents: l.parents, View: l.view, Sealed: l.sealed, Note: l.note}
		return nil
	})
	return r, err
}

func (d *fakeDriver) Note(ctx context.Context, id driver.ID, note json.RawMessage) error {
	return d.with(ctx, id, func(l *fakeLayer) error {
		if l.sealed {
			l.note = note
		} else {
			d.notes[id] = note
		}
		return nil
	})
}

func (d *fakeDriver) NoteNow(ctx context.Context, id driver.ID, note json.RawMessage) error {
	if d.disk.failNotes != nil {
		return d.disk.failNotes
	}
	return d.with(ctx, id, func(l *fakeLayer) error {
		l.note = note
		delete(d.notes, id)
		return nil
	})
}

func (d *fakeDriver) Replace(ctx context.Context, id, made driver.ID) error {
	return d.with(ctx, made, func(l *fakeLayer) error {
		if !l.sealed {
			return driver.ErrNotSealed
		}
		delete(d.disk.layers, made)
		d.disk.layers[id] = l
		d.disk.trash++
		return nil
	})
}

func (d *fakeDriver) Remove(ctx context.Context, id driver.ID) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	d.disk.mu.Lock()
	defer d.disk.mu.Unlock()
	l := d.disk.layers[id]
	if l == nil {
		return nil
	}
	if l.busy {
		return fmt.Errorf("layer %s: %w", id, driver.ErrBusy)
	}
	for other, o := range d.disk.layers {
		if slices.Contains(o.parents, id) {
			panic(fmt.Sprintf("layer %s was removed while %s stands on it", id, other))
		}
	}
	delete(d.disk.layers, id)
	d.disk.trash++
	return nil
}

func (d *fakeDriver) Usage(ctx context.Context, id driver.ID) (usage driver.Usage, err error) {
	err = d.with(ctx, id, func(l *fakeLayer) error {
		usage = driver.Usage{Bytes: int64(len(l.content)), Inodes: 1}
		return nil
	})
	return usage, err
}

func (d *fakeDriver) Layers(context.Context) ([]driver.ID, error) {
	d.disk.mu.Lock()
	defer d.disk.mu.Unlock()
	var ids []driver.ID
	for id := range d.disk.layers {
		ids = append(ids, id)
	}
	return ids, nil
}

func (d *fakeDriver) Cleanup(context.Context) error {
	d.disk.mu.Lock()
	defer d.disk.mu.Unlock()
	d.disk.trash = 0
	return nil
}

func (d *fakeDriver) Close() error { return nil }

func (d *fakeDriver) Rebase(ctx context.Context, id driver.ID, parents []driver.ID) error {
	return d.with(ctx, id, func(l *fakeLayer) error {
		if err := d.checkParents(parents); err != nil {
			return err
		}
		switch {
		case slices.Equal(l.parents, parents):
			return nil
		case l.sealed:
			return driver.ErrSealed
		case len(l.parents) > 0:
			return driver.ErrUnsupported
		case bytes.HasPrefix(l.content, []byte("needs parents")):
			return driver.ErrNeedsParents
		}
		l.parents = slices.Clone(parents)
		return nil
	})
}

func (d *fakeDriver) Provider(ctx context.Context, id driver.ID, path string) (driver.ID, error) {
	var chain []driver.ID
	err := d.with(ctx, id, func(l *fakeLayer) error {
		chain = append([]driver.ID{id}, l.parents...)
		return nil
	})
	if err != nil {
		return "", err
	}
	d.disk.mu.Lock()
	defer d.disk.mu.Unlock()
	for _, c := range chain {
		if string(d.disk.layers[c].content) == path {
			return c, nil
		}
	}
	return "", fmt.Errorf("%s: %w", path, fs.ErrNotExist)
}
