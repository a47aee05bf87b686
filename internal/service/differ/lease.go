package differ

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	leasesapi "github.com/containerd/containerd/api/services/leases/v1"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/opencontainers/go-digest"
)

const (
	// grace is for how long a new layer is kept that nothing refers to.
	grace = time.Minute
	// expiry is the label with which a lease ends by itself, and contentType what
	// it holds (containerd's docs/garbage-collection.md).
	expiry      = "containerd.io/gc.expire"
	contentType = "content"
)

// protect makes a lease that keeps the engine's garbage collection from a blob
// for a minute. The caller calls protect before it commits the blob, and calls
// drop if the commit fails. containerd's client has a lease of its own, but
// containerd does not pass it on to a proxied differ. If ctx has a lease, or
// the content store has none, protect does nothing. It does not stop when ctx
// ends, because the engine could still make the lease after that.
func (e *Engine) protect(ctx context.Context, blob digest.Digest) (drop func(), err error) {
	drop = func() {}
	if _, ok := leases.FromContext(ctx); ok {
		return drop, nil
	}
	id := uniqueName()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortPatience)
	defer cancel()
	_, err = e.leases().Create(ctx, &leasesapi.CreateRequest{
		ID:     id,
		Labels: map[string]string{expiry: time.Now().Add(grace).UTC().Format(time.RFC3339)},
	})
	if err = native(err); errdefs.IsNotImplemented(err) {
		return drop, nil // a content store without leases
	}
	drop = func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortPatience)
		defer cancel()
		_, _ = e.leases().Delete(ctx, &leasesapi.DeleteRequest{ID: id}) // it ends by itself
	}
	if err != nil {
		drop() // an engine that did not answer may have made it
		return func() {}, fmt.Errorf("protect layer %s in containerd's store: %w", blob, err)
	}
	_, err = e.leases().AddResource(ctx, &leasesapi.AddResourceRequest{
		ID: id, Resource: &leasesapi.Resource{ID: blob.String(), Type: contentType},
	})
	if err = native(err); err != nil {
		drop()
		return func() {}, fmt.Errorf("protect layer %s in containerd's store: %w", blob, err)
	}
	return drop, nil
}

// uniqueName is the name of an upload or a lease of ours.
func uniqueName() string { return "layerkeep-" + strings.ToLower(rand.Text()) }

func native(err error) error {
	if err == nil {
		return nil
	}
	return errgrpc.ToNative(err)
}
