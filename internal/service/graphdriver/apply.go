package graphdriver

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"

	"github.com/layerkeep/layerkeep/driver"
)

// serveApply reads a layer tar from the body of the request; the rest of the
// request is in the query.
func (d *Driver) serveApply(w http.ResponseWriter, r *http.Request) {
	start, query := time.Now(), r.URL.Query()
	id := query.Get("id")
	body := patientBody(w, r.Body, d.patience)
	size, err := d.apply(r.Context(), id, query.Get("parent"), body)
	err = body.done(err)
	d.record(r.Context(), "apply diff", id, start, err)
	if err != nil {
		fail(w, statusOf(err), err)
		return
	}
	reply(w, http.StatusOK, response{Size: size})
}

// apply fills a new layer and commits it. It returns the bytes of the files
// that the layer has changed.
//
// Once it has begun, the layer cannot be applied to again, for a second call
// for the same layer is one that Docker repeats after it was cut off: it brings
// only what was left of the stream then.
func (d *Driver) apply(ctx context.Context, id, parent string, body io.Reader) (int64, error) {
	if err := d.fill(ctx, id, parent, body); err != nil {
		return 0, err
	}
	return d.size(ctx, id, parent)
}

func (d *Driver) fill(ctx context.Context, id, parent string, body io.Reader) error {
	unlock, err := d.lock(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	l, err := d.find(ctx, id)
	if err != nil {
		return err
	}
	if err := d.applicable(l, parent); err != nil {
		return err
	}
	if err := d.markApplying(ctx, l); err != nil {
		return err
	}
	if _, err := d.store.Apply(ctx, d.scope.Full(l.name()), body, driver.ApplyOptions{}); err != nil {
		return err
	}
	return d.scope.Commit(ctx, id, l.name())
}

func (d *Driver) applicable(l layer, parent string) error {
	if l.parent() != parent {
		return fmt.Errorf("layer %s: its parent is %q, not %q: %w", l.id, l.parent(), parent, errdefs.ErrInvalidArgument)
	}
	if l.committed() {
		return fmt.Errorf("layer %s cannot be changed any more: %w", l.id, errdefs.ErrFailedPrecondition)
	}
	if l.applying() {
		return errTorn(l.id)
	}
	if err := d.mounts.release(l.id); err != nil {
		return fmt.Errorf("apply to layer %s: %w", l.id, err)
	}
	return nil
}

func (d *Driver) markApplying(ctx context.Context, l layer) error {
	info := snapshots.Info{Name: l.name(), Labels: map[string]string{labelApplying: "true"}}
	_, err := d.scope.Update(ctx, info, "labels."+labelApplying)
	return err
}
