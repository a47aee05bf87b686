package storeservice

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	storev1 "github.com/layerkeep/layerkeep/api/store/v1"
	"github.com/layerkeep/layerkeep/check"
	"github.com/layerkeep/layerkeep/internal/storewire"
)

const (
	// maxCheckNames bounds what one check is asked for by name.
	maxCheckNames = 100_000
	// stepEvery is how often a client is told how far a check is.
	stepEvery = time.Second
)

// errChecking: one check runs already. Two would only read the disk in turns.
var errChecking = fmt.Errorf("%w: another check of the store is running", errdefs.ErrUnavailable)

// Check implements the call of that name. It sends a finding only while it
// holds no lock of a snapshot. So a client that stops reading makes other
// checks wait, and no other calls.
func (s *Service) Check(req *storev1.CheckRequest, stream storev1.Store_CheckServer) error {
	switch {
	case len(req.GetNames()) > maxCheckNames:
		return fmt.Errorf("%w: %d names to check, at most %d", errdefs.ErrInvalidArgument, len(req.GetNames()), maxCheckNames)
	case req.GetRate() < 0:
		return fmt.Errorf("%w: a rate of %d bytes in a second", errdefs.ErrInvalidArgument, req.GetRate())
	}
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	var sendErr error
	send := func(m *storev1.CheckResponse) {
		if sendErr == nil {
			if sendErr = stream.Send(m); sendErr != nil {
				cancel() // nobody reads it
			}
		}
	}
	told := time.Now()
	reached := check.Position(req.GetAfter())
	sum, err := s.RunCheck(ctx, check.Options{
		ReadData: req.GetReadData(), Names: req.GetNames(), After: reached,
		Reached: func(at check.Position, _ check.Summary) { reached = at },
		Step: func(done, all int, name string) {
			if time.Since(told) >= stepEvery {
				told = time.Now()
				send(&storev1.CheckResponse{Step: &storev1.CheckStep{
					Done: int64(done), All: int64(all), Name: strings.ToValidUTF8(name, "\uFFFD"),
					Position: []byte(reached),
				}})
			}
		},
	}, req.GetRate(), func(f check.Finding) {
		send(&storev1.CheckResponse{Findings: []*storev1.CheckFinding{storewire.FromFinding(f)}})
	})
	if sendErr != nil {
		return sendErr
	}
	if err != nil {
		return err
	}
	return stream.Send(&storev1.CheckResponse{Summary: storewire.FromSummary(sum)})
}

// RunCheck is [check.Background] of the store beside its other users. Returns
// an error that matches errdefs.ErrUnavailable while another one runs.
func (s *Service) RunCheck(ctx context.Context, opts check.Options, rate int64, found func(check.Finding)) (check.Summary, error) {
	if !s.checking.TryLock() {
		return check.Summary{}, errChecking
	}
	defer s.checking.Unlock()
	opts.Shared = true
	start := time.Now()
	sum, err := s.store.Check(ctx, opts, rate, found)
	if s.opts.Checked != nil && len(opts.Names) == 0 && opts.After == "" {
		s.opts.Checked(Checked{ReadData: opts.ReadData, Summary: sum, Duration: time.Since(start), Err: err})
	}
	return sum, err
}
