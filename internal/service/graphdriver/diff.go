package graphdriver

import (
	"context"
	"errors"
	"io"
	"iter"
	"net/http"
	"time"

	"github.com/containerd/errdefs"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/tar"
)

// attempts is how often the changes of a layer that is being written to are
// read, when what was there a moment ago is gone.
const attempts = 5

// serveDiff answers with the changes of a layer as a tar.
func (d *Driver) serveDiff(w http.ResponseWriter, r *http.Request) {
	d.stream(w, r, "diff", "application/x-tar", d.writeDiff)
}

// serveChanges answers with the changes of a layer in JSON.
func (d *Driver) serveChanges(w http.ResponseWriter, r *http.Request) {
	d.stream(w, r, "changes", mediaType, d.writeChanges)
}

// A streamer writes an answer of any length about a layer.
type streamer func(ctx context.Context, l layer, parent string, w io.Writer) error

// stream answers a request with what fn writes. When fn fails, what the client
// gets is an error, or once the stream is on its way, a stream that breaks off.
func (d *Driver) stream(w http.ResponseWriter, r *http.Request, op, mediaType string, fn streamer) {
	start := time.Now()
	var req request
	if err := decode(w, r, &req); err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	out := &held{w: w, mediaType: mediaType, patience: d.patience}
	err := d.reading(r.Context(), req, out, func(ctx context.Context, l layer) error {
		return fn(ctx, l, req.Parent, out)
	})
	if err == nil {
		err = out.release()
	}
	out.wait(0) // the connection may be used again
	d.record(r.Context(), op, req.ID, start, err)
	switch {
	case err == nil:
	case out.released:
		panic(http.ErrAbortHandler) // the server's way to break a response off
	default:
		fail(w, statusOf(err), err)
	}
}

// A rewinder can take back what was written, as long as nobody has seen it.
type rewinder interface{ rewind() bool }

// reading calls fn with the layer, again when the layer was committed under its
// hands, and so renamed, or when it changed while it was being read, as the
// layer of a container that runs does.
func (d *Driver) reading(ctx context.Context, req request, out rewinder, fn func(context.Context, layer) error) error {
	for attempt := 1; ; attempt++ {
		l, err := d.find(ctx, req.ID)
		if err != nil {
			return err
		}
		err = fn(ctx, l)
		if err == nil || l.committed() || attempt == attempts || ctx.Err() != nil || errdefs.IsInvalidArgument(err) || !out.rewind() {
			return err
		}
	}
}

// writeDiff writes the changes of the layer against parent as a layer tar.
func (d *Driver) writeDiff(ctx context.Context, l layer, parent string, w io.Writer) error {
	if l.parent() == parent {
		_, err := d.store.Diff(ctx, d.scope.Full(l.name()), w, driver.DiffOptions{})
		return err
	}
	_, err := tar.Write(ctx, w, d.changes(ctx, l, parent), tar.WriteOptions{})
	return err
}

// changes is what differs between the layer and parent, which is any layer, or
// nothing when empty.
func (d *Driver) changes(ctx context.Context, l layer, parent string) iter.Seq2[diff.Change, error] {
	if l.parent() == parent {
		return d.store.Changes(ctx, d.scope.Full(l.name()))
	}
	return func(yield func(diff.Change, error) bool) {
		stopped := false
		err := d.compare(ctx, l, parent, func(c diff.Change, err error) bool {
			stopped = !yield(c, err)
			return !stopped
		})
		if err != nil && !stopped {
			yield(diff.Change{}, err)
		}
	}
}

// compare compares the trees of two layers that are not parent and child.
func (d *Driver) compare(ctx context.Context, l layer, parent string, yield func(diff.Change, error) bool) (err error) {
	var old diff.View
	if parent != "" {
		p, err := d.find(ctx, parent)
		if err != nil {
			return err
		}
		if old, err = d.store.OpenView(ctx, d.scope.Full(p.name())); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, old.Close()) }()
	}
	view, err := d.store.OpenView(ctx, d.scope.Full(l.name()))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, view.Close()) }()
	for c, err := range diff.Compare(ctx, old, diff.Unhinted(view), diff.Options{}) {
		if !yield(c, err) {
			break
		}
	}
	return nil
}

// diffSize returns the bytes of the files that the layer has changed.
func (d *Driver) diffSize(ctx context.Context, req request) (response, error) {
	size, err := d.size(ctx, req.ID, req.Parent)
	return response{Size: size}, err
}

func (d *Driver) size(ctx context.Context, id, parent string) (int64, error) {
	var sum counter
	err := d.reading(ctx, request{ID: id}, &sum, func(ctx context.Context, l layer) error {
		for c, err := range d.changes(ctx, l, parent) {
			if err != nil {
				return err
			}
			if c.Kind != diff.Delete && c.Node.IsRegular() && c.Hardlink == "" {
				sum += counter(c.Node.Size)
			}
		}
		return nil
	})
	return int64(sum), err
}

// counter is a number of bytes.
type counter int64

func (c *counter) rewind() bool {
	*c = 0
	return true
}
