package client

import (
	"context"
	"fmt"
	"unicode/utf8"

	storev1 "github.com/layerkeep/layerkeep/api/store/v1"
	"github.com/layerkeep/layerkeep/check"
	"github.com/layerkeep/layerkeep/internal/storewire"
)

// Check has the service check its store while that is in use, see [check.Run]; Options.Read
// and Shared have no meaning here, and Options.Reached gets no summary and is told about once
// in a second. With a rate it reads no more than so many bytes in a
// second, at low priority. It ends with ctx. Errors match errdefs.ErrUnavailable while
// another check runs, and errdefs.ErrNotImplemented where the service is of an earlier
// version.
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
