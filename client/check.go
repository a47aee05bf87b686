package client

import (
	"context"
	"fmt"
	"unicode/utf8"

	storev1 "github.com/layerkeep/layerkeep/api/store/v1"
	"github.com/layerkeep/layerkeep/check"
	"github.com/layerkeep/layerkeep/internal/storewire"
)

// Check makes the service check its store while the store is in use, see
// [check.Run]. With a rate above 0 it reads at most that many bytes per second,
// at low priority. It ends when ctx ends.
//
// Options.Read and Options.Shared have no effect. Options.Reached gets no
// summary, and is called about once per second.
//
// The error matches errdefs.ErrUnavailable while another check runs, and
// errdefs.ErrNotImplemented when the service has an earlier version.
func (c *Client) Check(ctx context.Context, opts check.Options, rate int64, found func(check.Finding)) (check.Summary, error) {
	for _, name := range opts.Names {
		if !utf8.ValidString(name) {
			return check.Summary{}, fmt.Errorf("%q: %w", name, check.ErrNoName)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.store.Check(ctx, &storev1.CheckRequest{ReadData: opts.ReadData, Names: opts.Names, Rate: rate, After: []byte(opts.After)})
	if err != nil {
		return check.Summary{}, err
	}
	var sum *storev1.CheckSummary
	err = drain(stream.Recv, func(m *storev1.CheckResponse) error {
		if step := m.GetStep(); step != nil && opts.Step != nil {
			opts.Step(int(step.GetDone()), int(step.GetAll()), step.GetName())
		}
		for _, f := range m.GetFindings() {
			found(storewire.ToFinding(f))
		}
		if p := m.GetStep().GetPosition(); len(p) > 0 && opts.Reached != nil {
			opts.Reached(check.Position(p), check.Summary{})
		}
		if m.GetSummary() != nil {
			sum = m.GetSummary()
		}
		return nil
	})
	if err == nil && sum == nil {
		err = errCutShort
	}
	if err != nil {
		return check.Summary{}, err
	}
	return storewire.ToSummary(sum), nil
}
