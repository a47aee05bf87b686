package differ

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"

	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layerkeep/layerkeep/driver"
)

// source says where the layer of a snapshot can be read once more. The store
// keeps it with the snapshot, so it outlives this process.
type source struct {
	Namespace string        `json:"namespace"`
	Digest    digest.Digest `json:"digest"`
	Size      int64         `json:"size"`
}

func sourceOf(ctx context.Context, desc ocispec.Descriptor) (string, error) {
	namespace, _ := namespaces.Namespace(ctx)
	text, err := json.Marshal(source{Namespace: namespace, Digest: desc.Digest, Size: desc.Size})
	return string(text), err
}

// reopen reads a layer for the second time, for a commit that can only now,
// with the parents, apply it.
func (d *Differ) reopen(ctx context.Context, from string) (io.ReadCloser, driver.ApplyOptions, error) {
	var s source
	if err := json.Unmarshal([]byte(from), &s); err != nil {
		return nil, driver.ApplyOptions{}, fmt.Errorf("where the layer came from: %q: %w: %w", from, err, errdefs.ErrInvalidArgument)
	}
	if err := d.engine.reopens.Acquire(ctx, 1); err != nil {
		return nil, driver.ApplyOptions{}, err
	}
	b, err := d.engine.open(namespaces.WithNamespace(ctx, s.Namespace), ocispec.Descriptor{Digest: s.Digest, Size: s.Size})
	if err != nil {
		d.engine.reopens.Release(1)
		return nil, driver.ApplyOptions{}, fmt.Errorf("read the layer again, on its parents: %w", err)
	}
	return &reopened{blob: b, end: sync.OnceFunc(func() { d.engine.reopens.Release(1) })}, driver.ApplyOptions{Limits: d.limits}, nil
}

// A reopened blob gives its turn to another one when it is closed.
type reopened struct {
	*blob
	end func()
}

// Close ends the stream.
func (r *reopened) Close() error {
	err := r.blob.Close()
	r.end()
	return err
}
