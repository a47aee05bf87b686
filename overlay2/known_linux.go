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

// Found returns what try found out, or what was known instead.
func (d *backend) Found() json.RawMessage {
	return layerdir.Found(d.untried == nil, facts{d.features, d.xattrs, d.userNS, d.idmap, d.onXFS})
}

// probe finds out what works here, or takes what was known. Without either,
// layers are read and removed, but not mounted: how that has to be done is not
// known.
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
		// What another user found out, who is root of a user namespace or is not, is of
		// no use.
		userXattr := d.opts.Fallbacks.UserXattr || layerdir.UserOverlay(d.store.Root())
		if !known || f.Features.UserXattr != userXattr {
			f = facts{Features: mount.Features{UserXattr: userXattr}}
			d.untried = untried
		}
	}
	d.take(f)
	return nil
}

// probeReadOnly is probe for a store that nothing may be written to: what was
// known counts, and where nothing was known on this kernel, what overlay can do
// is tried in memory.
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

// take makes f what is known.
func (d *backend) take(f facts) {
	d.features, d.xattrs, d.userNS, d.idmap, d.onXFS = f.Features, f.Xattrs, f.UserNS, f.IDMap, f.XFS
	d.limit()
}

// limit takes what tests have switched off from the features, and chooses the
// marks.
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

// canMount returns an error where nothing is known of mounting.
func (d *backend) canMount() error {
	if d.untried == nil {
		return nil
	}
	return fmt.Errorf("%w: what can be mounted could not be tried when the store was opened, open it again: %w", driver.ErrUnsupported, d.untried)
}
