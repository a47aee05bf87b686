package client

import (
	"context"
	"errors"
	"fmt"
	"io"

	storev1 "github.com/layerkeep/layerkeep/api/store/v1"
	"github.com/layerkeep/layerkeep/image"
	"github.com/layerkeep/layerkeep/internal/storewire"
)

// Images implements [layerkeep.Store].
func (c *Client) Images(ctx context.Context) ([]image.Image, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.store.Images(ctx, &storev1.ImagesRequest{})
	if err != nil {
		return nil, err
	}
	var images []image.Image
	err = drain(stream.Recv, func(m *storev1.ImagesResponse) error {
		for _, i := range m.GetImages() {
			images = append(images, storewire.ToImage(i))
		}
		return nil
	})
	return images, err
}

// Image implements [layerkeep.Store].
func (c *Client) Image(ctx context.Context, name string) (image.Image, error) {
	if err := lookupName(name); err != nil {
		return image.Image{}, err
	}
	i, err := c.store.GetImage(ctx, &storev1.GetImageRequest{Name: name})
	if err != nil {
		return image.Image{}, err
	}
	return storewire.ToImage(i), nil
}

// Resolve implements [layerkeep.Store].
func (c *Client) Resolve(ctx context.Context, name string) (image.Resolved, error) {
	if err := lookupName(name); err != nil {
		return image.Resolved{}, err
	}
	resp, err := c.store.Resolve(ctx, &storev1.ResolveRequest{Name: name})
	if err != nil {
		return image.Resolved{}, err
	}
	r := image.Resolved{Key: resp.GetKey()}
	if resp.GetImage() != nil {
		img := storewire.ToImage(resp.GetImage())
		r.Image = &img
	}
	return r, nil
}

// RemoveImage implements [layerkeep.Store].
func (c *Client) RemoveImage(ctx context.Context, name string) (image.Collected, error) {
	if err := lookupName(name); err != nil {
		return image.Collected{}, err
	}
	return c.collected(ctx, func(ctx context.Context) (*storev1.Collected, error) {
		return c.store.RemoveImage(ctx, &storev1.RemoveImageRequest{Name: name})
	})
}

// Collect implements [layerkeep.Store].
func (c *Client) Collect(ctx context.Context) (image.Collected, error) {
	return c.collected(ctx, func(ctx context.Context) (*storev1.Collected, error) {
		return c.store.Collect(ctx, &storev1.CollectRequest{})
	})
}

func (c *Client) collected(ctx context.Context, fn func(context.Context) (*storev1.Collected, error)) (out image.Collected, err error) {
	err = c.change(ctx, func(ctx context.Context) error {
		m, err := fn(ctx)
		out = image.Collected{Snapshots: m.GetSnapshots(), Blobs: int(m.GetBlobs()), Bytes: m.GetBytes()}
		return err
	})
	return out, err
}

// Import implements [layerkeep.Store]. The client opens the source; it sends a
// directory as an archive. The service decides the options Parallel, Limits and
// SpoolBytes.
func (c *Client) Import(ctx context.Context, src image.Source, opts image.ImportOptions) (image.Image, error) {
	if err := ctx.Err(); err != nil {
		return image.Image{}, err
	}
	packed, source, err := src.Pack(ctx, opts)
	if err != nil {
		return image.Image{}, err
	}
	defer func() { _ = source.Close() }() // it was only read
	call := c.begin(ctx)
	defer call.end()
	stream, err := c.store.Import(call.ctx) //nolint:contextcheck // ended by way of the service, see call
	if err != nil {
		return image.Image{}, err
	}
	first := &storev1.ImportRequest{Options: &storev1.ImportOptions{
		Format: string(packed.Kind), Ref: []byte(packed.Packed.Ref), Label: []byte(packed.Packed.Label), Base: packed.Packed.Base,
		Name: opts.Name, Platform: opts.Platform, Image: opts.Image, Recipes: opts.Recipes,
	}}
	up := startUpload(call, packed.Reader, stream.CloseSend, func(data []byte) error {
		m := first
		if m == nil {
			m = &storev1.ImportRequest{}
		}
		m.Data, first = data, nil
		return stream.Send(m)
	})
	img, err := receiveImport(stream, opts)
	ours, err := up.blame(err, img != nil)
	if ours {
		err = fmt.Errorf("import %s: %w", src, err)
	}
	if err != nil {
		return image.Image{}, err
	}
	return storewire.ToImage(img), nil
}

func receiveImport(stream storev1.Store_ImportClient, opts image.ImportOptions) (img *storev1.Image, err error) {
	err = drain(stream.Recv, func(m *storev1.ImportResponse) error {
		tell(opts.Progress, m.GetProgress())
		if w := m.GetWarning(); w != nil && opts.Warn != nil {
			opts.Warn(int(w.GetLayer()), string(w.GetPath()), string(w.GetMessage()))
		}
		if m.GetImage() != nil {
			img = m.GetImage()
		}
		return nil
	})
	return img, err
}

func tell(p image.Progress, steps []*storev1.Progress) {
	if p == nil {
		return
	}
	for _, s := range steps {
		storewire.Tell(p, s)
	}
}

// Export implements [layerkeep.Store]. It ignores the option Created.
func (c *Client) Export(ctx context.Context, name string, w io.Writer, opts image.ExportOptions) (image.Exported, error) {
	if err := errors.Join(lookupName(name), ctx.Err()); err != nil {
		return image.Exported{}, err
	}
	call := c.begin(ctx)
	defer call.end()
	req := &storev1.ExportRequest{Source: name, Name: opts.Name, SourceDateEpoch: storewire.FromTime(opts.SourceDateEpoch)}
	stream, err := c.store.Export(call.ctx, req) //nolint:contextcheck // ended by way of the service, see call
	if err != nil {
		return image.Exported{}, err
	}
	var exported *storev1.Exported
	var writeErr error
	err = drain(stream.Recv, func(m *storev1.ExportResponse) error {
		tell(opts.Progress, m.GetProgress())
		if m.GetExported() != nil {
			exported = m.GetExported()
		}
		if writeErr == nil {
			_, writeErr = w.Write(m.GetData())
		}
		if writeErr != nil {
			call.giveUp() // the service will say so
		}
		return nil
	})
	switch {
	case writeErr != nil:
		return image.Exported{}, fmt.Errorf("export %s: %w", name, writeErr)
	case err != nil:
		return image.Exported{}, err
	case exported == nil:
		return image.Exported{}, errCutShort
	}
	return storewire.ToExported(exported), nil
}
