package overlay2

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/layerdir"
	"github.com/layerkeep/layerkeep/internal/rootfd"
	"github.com/layerkeep/layerkeep/internal/sys"
)

// Other engines unpack layers directly into the upper directory of an overlay.
// Then overlay's own attributes from an untrusted tar are active there.
// Whiteouts may be in directories that merge with nothing. And a directory that
// has no entry in the tar lacks the attributes of the parents' directory if the
// parents were not known.

// Settle escapes overlay's own attributes, except the marks of opaque
// directories. It removes whiteouts from directories that merge with nothing,
// where a mount would show them.
func (d *overlay) Settle(ctx context.Context, id driver.ID) error {
	err := d.settle(ctx, id)
	if errors.Is(err, driver.ErrSealed) {
		if m, loadErr := d.store.Load(id); loadErr == nil && m.Sealed {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("overlay2: settle layer %s: %w", id, err)
	}
	return nil
}

func (d *backend) settle(ctx context.Context, id driver.ID) error {
	m, err := d.store.Writable(id)
	if err != nil || m.Detached {
		return err // this driver unpacked a detached layer itself
	}
	if err := d.store.NotMounted(id, layerdir.MountedReadOnly); err != nil {
		return err
	}
	own, below, done, err := d.openOwn(id, m.Parents)
	if err != nil {
		return err
	}
	defer done()
	s := &settling{backend: d}
	err = d.walkOwn(ctx, own, below, s.settleDir)
	// The record is written also after an error: the active attributes must not be
	// mounted.
	return errors.Join(err, d.recordEscaped(id, m, s.escaped))
}

// settling is the state of one call of Settle.
type settling struct {
	*backend
	// escaped: the layer has attributes of overlay's own namespace.
	escaped bool
}

// openOwn opens the layer's own directory and the root of the parents' merged
// tree. below is nil if there are no parents.
func (d *backend) openOwn(id driver.ID, parents []driver.ID) (own *rootfd.Dir, below diff.Dir, done func(), err error) {
	own, err = rootfd.Open(d.store.Path(id, fsDir), d.read())
	if err != nil || len(parents) == 0 {
		return own, nil, func() { own.Close() }, err
	}
	view, err := d.openLayers("", layerdir.Meta{View: true, Parents: parents})
	if err != nil {
		return nil, nil, nil, errors.Join(err, own.Close())
	}
	if below, err = view.Root(); err != nil {
		return nil, nil, nil, errors.Join(err, view.Close(), own.Close())
	}
	return own, below, func() { below.Close(); view.Close(); own.Close() }, nil
}

// walkOwn calls fn for own and each directory below it. fn also gets the
// directory with the same path in the parents, or nil if they have none. If own
// is opaque, fn still gets the parents' directory for own itself, but nil for
// everything further down.
func (d *backend) walkOwn(ctx context.Context, own *rootfd.Dir, below diff.Dir, fn func(own *rootfd.Dir, below diff.Dir, entries []rootfd.Entry) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	entries, err := own.Entries()
	if err != nil {
		return err
	}
	if err := fn(own, below, entries); err != nil {
		return err
	}
	merged, err := d.merges(own, below)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Type != rootfd.TypeDir {
			continue
		}
		if err := d.walkChild(ctx, own, merged, e.Name, fn); err != nil {
			return err
		}
	}
	return nil
}

func (d *backend) walkChild(ctx context.Context, own *rootfd.Dir, below diff.Dir, name string, fn func(own *rootfd.Dir, below diff.Dir, entries []rootfd.Entry) error) error {
	child, err := own.OpenDir(name)
	if err != nil {
		return err
	}
	defer child.Close()
	var childBelow diff.Dir
	if below != nil {
		n, err := below.Lookup(name)
		if err != nil && !isMissing(err) {
			return err
		}
		if err == nil && n.IsDir() {
			if childBelow, err = below.OpenDir(name); err != nil {
				return err
			}
			defer childBelow.Close()
		}
	}
	return d.walkOwn(ctx, child, childBelow, fn)
}

// merges returns below, or nil if own is opaque.
func (d *backend) merges(own *rootfd.Dir, below diff.Dir) (diff.Dir, error) {
	if below == nil {
		return nil, nil
	}
	opaque, _, err := own.Xattr(d.marks.opaque())
	if err != nil || opaque == opaqueY {
		return nil, err
	}
	return below, nil
}

// settleDir does the work of Settle for one directory and for its entries that
// are not directories.
func (d *settling) settleDir(own *rootfd.Dir, below diff.Dir, entries []rootfd.Entry) error {
	attrs, err := own.Xattrs()
	if err != nil {
		return err
	}
	for name, value := range attrs {
		if name == d.marks.opaque() && value == opaqueY {
			continue
		}
		err := own.Use(func(fd int) error {
			return d.escape(name, value,
				func(name, value string) error { return sys.Fsetxattr(fd, name, []byte(value)) },
				func(name string) error { return sys.Fremovexattr(fd, name) })
		})
		if err != nil {
			return err
		}
	}
	if below, err = d.merges(own, below); err != nil {
		return err
	}
	for _, e := range entries {
		if e.Type != rootfd.TypeDir {
			if err := d.settleFile(own, e, below != nil); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *settling) settleFile(own *rootfd.Dir, e rootfd.Entry, merged bool) error {
	if e.Type == rootfd.TypeChar && !merged {
		st, err := own.Lookup(e.Name)
		if err != nil {
			return err
		}
		if d.marks.IsWhiteoutNode(st.Mode, st.Rdev) {
			return own.Use(func(fd int) error { return sys.Unlinkat(fd, e.Name) })
		}
	}
	attrs, err := own.LookupXattrs(e.Name)
	if err != nil {
		return err
	}
	for name, value := range attrs {
		err := own.Use(func(fd int) error {
			return d.escape(name, value,
				func(name, value string) error { return sys.Lsetxattrat(fd, e.Name, name, []byte(value)) },
				func(name string) error { return sys.Lremovexattrat(fd, e.Name, name) })
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// escape renames an active attribute of overlay to its escaped name. It removes
// attributes that overlay sets during a mount and that say nothing about the
// content of the layer.
func (d *settling) escape(name, value string, set func(name, value string) error, remove func(name string) error) error {
	own, active := strings.CutPrefix(name, d.marks.XattrPrefix())
	if !active {
		return nil
	}
	if _, shown := d.marks.XattrFromDisk(name); shown {
		d.escaped = true
		if !d.features.Escapes {
			return d.errEscaped()
		}
		return nil
	}
	switch own {
	case "origin", "impure", "nlink", "uuid", "upper", "protattr":
		return remove(name)
	}
	d.escaped = true
	if !d.features.Escapes {
		return d.errEscaped()
	}
	onDisk, ok := d.marks.XattrToDisk(name)
	if ok {
		if err := set(onDisk, value); err != nil {
			return err
		}
	}
	return remove(name)
}
