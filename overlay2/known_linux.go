package overlay2

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/layerdir"
	"github.com/layerkeep/layerkeep/internal/whiteout"
	"github.com/layerkeep/layerkeep/mount"
)

// facts are what try finds out.
type facts struct {
	Features mount.Features `json:"features"`
	Xattrs   []string       `json:"xattrs"`
	UserNS   bool           `json:"userNS"`
	IDMap    bool           `json:"idmap"`
	XFS      bool           `json:"xfs"`
}

// Found returns the facts that probe found out or remembered.
func (d *backend) Found() json.RawMessage {
	return layerdir.Found(d.untried == nil, facts{d.features, d.xattrs, d.userNS, d.idmap, d.onXFS})
}

// probe finds out what works here, or uses remembered facts. Without either, it
// is not known how to mount layers; then they can be read and removed, but not
// mounted.
func (d *backend) probe(ctx context.Context) error {
	if d.opts.ReadOnly {
		return d.probeReadOnly(ctx)
	}
	var untried error
	f, known, err := layerdir.Learn(d.opts, func() (facts, error) {
		f, err := d.try(ctx)
		untried = err
		return f, err
	})
	if err != nil {
		return err
	}
	if untried != nil {
		// Remembered facts are useless if another kind of user found them out: root of
		// the machine, or root of a user namespace.
		userXattr := d.opts.Fallbacks.UserXattr || layerdir.UserOverlay(d.store.Root())
		if !known || f.Features.UserXattr != userXattr {
			f = facts{Features: mount.Features{UserXattr: userXattr}}
			d.untried = untried
		}
	}
	d.take(f)
	return nil
}

// probeReadOnly is probe for a read-only store. It uses remembered facts. If
// there are none for this kernel, it probes overlay in memory.
func (d *backend) probeReadOnly(ctx context.Context) error {
	userXattr := d.opts.Fallbacks.UserXattr || layerdir.UserOverlayInMemory()
	f, known := layerdir.Remembered[facts](d.opts)
	if !known || f.Features.UserXattr != userXattr { // as in probe
		f = facts{}
		f.Features, d.untried = layerdir.OverlayInMemory(ctx, d.store.Root(), d.opts)
		if err := ctx.Err(); err != nil {
			return err
		}
		if d.untried != nil {
			f.Features = mount.Features{UserXattr: userXattr}
		}
	}
	d.take(f)
	return nil
}

// take stores the facts f in the backend.
func (d *backend) take(f facts) {
	d.features, d.xattrs, d.userNS, d.idmap, d.onXFS = f.Features, f.Xattrs, f.UserNS, f.IDMap, f.XFS
	d.limit()
}

// limit switches features off that tests do not want, and chooses the marks.
func (d *backend) limit() {
	if d.features.UserXattr {
		d.marks = marks{whiteout.OverlayUser}
	}
	if d.opts.Fallbacks.NoEscape {
		d.features.Escapes = false
	}
	if d.opts.Fallbacks.NoMetadataOpt {
		d.features.RedirectDir, d.features.Metacopy = false, false
	}
}

// canMount returns an error if it is not known what can be mounted.
func (d *backend) canMount() error {
	if d.untried == nil {
		return nil
	}
	return fmt.Errorf("%w: what can be mounted could not be tried when the store was opened, open it again: %w", driver.ErrUnsupported, d.untried)
}
