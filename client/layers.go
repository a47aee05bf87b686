package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	storev1 "github.com/layerkeep/layerkeep/api/store/v1"
	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/storewire"
)

// Apply implements [layerkeep.Store]. It ignores the options Detached and
// Limits: the service decides them.
func (c *Client) Apply(ctx context.Context, key string, layer io.Reader, opts driver.ApplyOptions) (driver.Applied, error) {
	if err := errors.Join(lookupName(key), ctx.Err()); err != nil {
		return driver.Applied{}, err
	}
	call := c.begin(ctx)
	defer call.end()
	stream, err := c.store.Apply(call.ctx) //nolint:contextcheck // ended by way of the service, see call
	if err != nil {
		return driver.Applied{}, err
	}
	first := &storev1.ApplyRequest{Key: key, DiffId: opts.DiffID.String(), Sync: opts.Sync}
	up := startUpload(call, layer, stream.CloseSend, func(data []byte) error {
		m := first
		if m == nil {
			m = &storev1.ApplyRequest{}
		}
		m.Data, first = data, nil
		return stream.Send(m)
	})
	var applied *storev1.Applied
	err = drain(stream.Recv, func(m *storev1.ApplyResponse) error {
		if w := m.GetWarning(); w != nil && opts.Warn != nil {
			opts.Warn(string(w.GetPath()), string(w.GetMessage()))
		}
		if m.GetApplied() != nil {
			applied = m.GetApplied()
		}
		return nil
	})
	ours, err := up.blame(err, applied != nil)
	if ours {
		err = fmt.Errorf("apply a layer to snapshot %q: %w", key, err)
	}
	if err != nil {
		return driver.Applied{}, err
	}
	return storewire.ToApplied(applied), nil
}

// Diff implements [layerkeep.Store].
func (c *Client) Diff(ctx context.Context, key string, w io.Writer, opts driver.DiffOptions) (diff.Stats, error) {
	if err := lookupName(key); err != nil {
		return diff.Stats{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.store.Diff(ctx, &storev1.DiffRequest{Key: key, SourceDateEpoch: storewire.FromTime(opts.MaxTime)})
	if err != nil {
		return diff.Stats{}, err
	}
	var stats *storev1.DiffStats
	err = drain(stream.Recv, func(m *storev1.DiffResponse) error {
		if warn := m.GetWarning(); warn != nil && opts.Warn != nil {
			opts.Warn(string(warn.GetPath()), string(warn.GetMessage()))
		}
		if m.GetStats() != nil {
			stats = m.GetStats()
		}
		_, err := w.Write(m.GetData())
		return err
	})
	if err == nil && stats == nil {
		err = errCutShort
	}
	if err != nil {
		return diff.Stats{}, err
	}
	return storewire.ToStats(stats), nil
}

// Changes implements [layerkeep.Store]. Only Kind and Path of each change are
// set.
func (c *Client) Changes(ctx context.Context, key string) iter.Seq2[diff.Change, error] {
	return func(yield func(diff.Change, error) bool) {
		err := lookupName(key)
		if err == nil {
			err = c.changes(ctx, key, yield)
		}
		if err != nil && !errors.Is(err, errStopped) {
			yield(diff.Change{}, err)
		}
	}
}

// errStopped: the caller wants no more.
var errStopped = errors.New("stopped")

func (c *Client) changes(ctx context.Context, key string, yield func(diff.Change, error) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.store.Changes(ctx, &storev1.ChangesRequest{Key: key})
	if err != nil {
		return err
	}
	return drain(stream.Recv, func(m *storev1.ChangesResponse) error {
		for _, change := range m.GetChanges() {
			if !yield(storewire.ToChange(change), nil) {
				return errStopped
			}
		}
		return nil
	})
}
