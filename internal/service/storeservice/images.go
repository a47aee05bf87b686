package storeservice

import (
	"context"
	"time"

	storev1 "github.com/layerkeep/layerkeep/api/store/v1"
	"github.com/layerkeep/layerkeep/image"
	"github.com/layerkeep/layerkeep/internal/storewire"
)

// Images implements the call of that name.
func (s *Service) Images(_ *storev1.ImagesRequest, stream storev1.Store_ImagesServer) error {
	images, err := s.store.Images(stream.Context())
	if err != nil {
		return err
	}
	var all []*storev1.Image
	for _, i := range images {
		all = append(all, storewire.FromImage(i))
	}
	return portions(all, func(some []*storev1.Image) error { return stream.Send(&storev1.ImagesResponse{Images: some}) })
}

// GetImage implements the call of that name.
func (s *Service) GetImage(ctx context.Context, req *storev1.GetImageRequest) (*storev1.Image, error) {
	i, err := s.store.Image(ctx, req.GetName())
	if err != nil {
		return nil, err
	}
	return storewire.FromImage(i), nil
}

// Resolve implements the call of that name.
func (s *Service) Resolve(ctx context.Context, req *storev1.ResolveRequest) (*storev1.ResolveResponse, error) {
	r, err := s.store.Resolve(ctx, req.GetName())
	if err != nil {
		return nil, err
	}
	resp := &storev1.ResolveResponse{Key: r.Key}
	if r.Image != nil {
		resp.Image = storewire.FromImage(*r.Image)
	}
	return resp, nil
}

// RemoveImage implements the call of that name.
func (s *Service) RemoveImage(ctx context.Context, req *storev1.RemoveImageRequest) (*storev1.Collected, error) {
	ctx, end := s.calls.begin(ctx)
	defer end()
	return s.collect(func() (image.Collected, error) { return s.store.RemoveImage(ctx, req.GetName()) })
}

// Collect implements the call of that name.
func (s *Service) Collect(ctx context.Context, _ *storev1.CollectRequest) (*storev1.Collected, error) {
	ctx, end := s.calls.begin(ctx)
	defer end()
	return s.collect(func() (image.Collected, error) { return s.store.Collect(ctx) })
}

// collect runs what collects, and tells who wants to know.
func (s *Service) collect(run func() (image.Collected, error)) (*storev1.Collected, error) {
	start := time.Now()
	c, err := run()
	if tell := s.opts.Collected; tell != nil {
		tell(Collection{
			Snapshots: len(c.Snapshots), Blobs: c.Blobs, Bytes: c.Bytes, Duration: time.Since(start), Err: err,
		})
	}
	if err != nil {
		return nil, err
	}
	return &storev1.Collected{Snapshots: c.Snapshots, Blobs: int64(c.Blobs), Bytes: c.Bytes}, nil
}
