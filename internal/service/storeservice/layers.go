package storeservice

import (
	"fmt"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	storev1 "github.com/layerkeep/layerkeep/api/store/v1"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/storewire"
)

// Apply implements the call of that name.
func (s *Service) Apply(stream storev1.Store_ApplyServer) error {
	ctx, end := s.calls.begin(stream.Context())
	defer end()
	first, err := stream.Recv()
	if err != nil {
		return begun(err)
	}
	diffID := digest.Digest(first.GetDiffId())
	if diffID != "" && diffID.Validate() != nil {
		return fmt.Errorf("%w: diffID %q is no digest", errdefs.ErrInvalidArgument, diffID)
	}
	if err := refuseScoped(first.GetKey()); err != nil {
		return err
	}
	var mu sync.Mutex
	send := func(m *storev1.ApplyResponse) error {
		mu.Lock()
		defer mu.Unlock()
		return stream.Send(m)
	}
	layer := newUpload(ctx, first.GetData(), func() ([]byte, error) {
		m, err := stream.Recv()
		return m.GetData(), err
	})
	applied, err := s.store.Apply(ctx, first.GetKey(), layer, driver.ApplyOptions{
		DiffID: diffID, Sync: first.GetSync(),
		Warn: func(path, message string) {
			_ = send(&storev1.ApplyResponse{Warning: warning(0, path, message)}) // who has gone is told nothing
		},
	})
	if err != nil {
		return err
	}
	return send(&storev1.ApplyResponse{Applied: storewire.FromApplied(applied)})
}

func warning(layer int, path, message string) *storev1.Warning {
	return &storev1.Warning{Path: []byte(path), Message: []byte(message), Layer: int32(layer)} //nolint:gosec // a number of layers
}

// Diff implements the call of that name.
func (s *Service) Diff(req *storev1.DiffRequest, stream storev1.Store_DiffServer) error {
	ctx, end := s.calls.begin(stream.Context())
	defer end()
	var mu sync.Mutex
	send := func(m *storev1.DiffResponse) error {
		mu.Lock()
		defer mu.Unlock()
		return stream.Send(m)
	}
	out := &download{send: func(data []byte) error { return send(&storev1.DiffResponse{Data: data}) }}
	stats, err := s.store.Diff(ctx, req.GetKey(), out, driver.DiffOptions{
		MaxTime: storewire.ToTime(req.GetSourceDateEpoch()),
		Warn: func(path, message string) {
			_ = send(&storev1.DiffResponse{Warning: warning(0, path, message)}) // who has gone is told nothing
		},
	})
	if err != nil {
		return err
	}
	if err := out.flush(); err != nil {
		return err
	}
	return send(&storev1.DiffResponse{Stats: storewire.FromStats(stats)})
}

// changePortion is how many changes go into one message.
const changePortion = 512

// Changes implements the call of that name.
func (s *Service) Changes(req *storev1.ChangesRequest, stream storev1.Store_ChangesServer) error {
	ctx, end := s.calls.begin(stream.Context())
	defer end()
	var some []*storev1.Change
	size := 0
	flush := func() error {
		if len(some) == 0 {
			return nil
		}
		err := stream.Send(&storev1.ChangesResponse{Changes: some})
		some, size = nil, 0
		return err
	}
	for c, err := range s.store.Changes(ctx, req.GetKey()) {
		if err == nil {
			some, size = append(some, storewire.FromChange(c)), size+len(c.Path)
		}
		if err == nil && len(some) < changePortion && size < portionBytes {
			continue
		}
		// What came before an error is sent, as it would be listed here.
		if flushErr := flush(); flushErr != nil {
			return flushErr
		}
		if err != nil {
			return err
		}
	}
	return flush()
}
