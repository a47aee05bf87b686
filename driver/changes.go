package driver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/tar"
)

// Changes yields what layer id changes against its parents, in the order of
// [diff.Compare]. For a layer without parents it yields the whole content, for
// a view nothing.
//
// Nobody should write to the layer during the call. An error ends the sequence:
// it is the last pair that is yielded. Changes calls warn for each file that no
// layer can contain, for example a socket; warn may be nil.
func Changes(ctx context.Context, d Driver, id ID, warn func(path, message string)) iter.Seq2[diff.Change, error] {
	return func(yield func(diff.Change, error) bool) {
		parents, layer, err := d.Sides(ctx, id)
		if err != nil {
			yield(diff.Change{}, err)
			return
		}
		if layer == nil {
			return
		}
		defer layer.Close()
		if parents != nil {
			defer parents.Close()
		}
		for c, err := range diff.Compare(ctx, parents, layer, diff.Options{Warn: warn}) {
			if err != nil {
				err = fmt.Errorf("%s: compare layer %s with its parents: %w", d.Name(), id, err)
			}
			if !yield(c, err) {
				return
			}
		}
	}
}

// Diff writes the [Changes] of layer id to w as an uncompressed layer tar. The
// same changes give the same bytes on every backend. For a view, and for a
// layer that changes nothing, that is an empty tar. After an error w has
// received an incomplete stream.
func Diff(ctx context.Context, d Driver, id ID, w io.Writer, opts DiffOptions) (diff.Stats, error) {
	var told error
	changes := func(yield func(diff.Change, error) bool) {
		for c, err := range Changes(ctx, d, id, opts.Warn) {
			told = err
			if !yield(c, err) {
				return
			}
		}
	}
	stats, err := tar.Write(ctx, w, changes, tar.WriteOptions{MaxTime: opts.MaxTime, Warn: opts.Warn})
	if err != nil && !(told != nil && errors.Is(err, told)) { // which says already which layer it is
		err = fmt.Errorf("%s: write the changes of layer %s: %w", d.Name(), id, err)
	}
	return stats, err
}
