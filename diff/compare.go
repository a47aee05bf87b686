package diff

import (
	"context"
	"iter"
)

// Options tune [Compare].
type Options struct {
	// Warn is told of what a layer cannot hold, such as sockets. May be nil.
	Warn func(path, message string)
}

// Compare yields the changes that turn old into new, in the canonical order: a
// directory before its children; of the children of one directory, first the
// deleted names, then the others, both sorted bytewise. A nil old is the empty
// tree. Neither view is closed.
func Compare(ctx context.Context, old, new View, opts Options) iter.Seq2[Change, error] {
	return func(func(Change, error) bool) { panic("to be written") }
}
