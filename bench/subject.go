package bench

import (
	"context"
	"io"
	"slices"
	"strings"

	"github.com/layerkeep/layerkeep/driver"
)

// A Subject is something to measure, for example a driver.
type Subject struct {
	// Name is unique, for example "overlay2", "overlay2+metacopy" or "bare".
	Name string
	// About is one line on what the subject is.
	About string
	// Store is empty for a subject with its own store. For a variant it is the
	// name of the subject whose store the variant uses, with other mounts. A
	// variant takes part only in cases with Variants.
	Store string
	// Open makes an empty store in the empty directory dir. An error that
	// matches [errors.ErrUnsupported] or [driver.ErrUnsupported] says that the
	// subject does not work there. It is nil for a variant.
	Open func(ctx context.Context, dir string) (Store, error)
	// Thorough: a quick run leaves the subject out unless it is named.
	Thorough bool
	// Vary changes the options with which a variant mounts a layer.
	Vary func(MountOptions) MountOptions
	// Copies: each layer is a full copy of its parents, unless files share
	// blocks.
	Copies bool
	// Suites are the names of the suites that the subject takes part in; nil
	// for all.
	Suites []string
	// Peer: the subject is part of another program.
	Peer bool
	// Reference: the subject is only for comparison, nobody should choose it.
	Reference bool
	// Bare: the subject has no layers at all. What it takes is the baseline.
	Bare bool
}

func (s *Subject) info() SubjectInfo {
	return SubjectInfo{Name: s.Name, About: s.About, VariantOf: s.Store, Copies: s.Copies, Peer: s.Peer, Reference: s.Reference, Bare: s.Bare}
}

// MountOptions tune [Store].Mount.
type MountOptions struct {
	// Overlay replaces options of an overlay mount by name, for example
	// "metacopy" by "on". Other mounts ignore it.
	Overlay map[string]string
	// Volatile makes a volatile overlay mount: it ignores sync calls.
	Volatile bool
}

// A Store stores the layers of a [Subject]. Names of layers have the form of a
// [driver.ID].
type Store interface {
	// Create makes a writable layer over sealed parents, nearest first.
	Create(ctx context.Context, name string, parents []string) error
	// Mount mounts a layer on target: a writable layer for writing, a sealed
	// layer for reading.
	Mount(ctx context.Context, name, target string, opts MountOptions) error
	// Unmount undoes Mount.
	Unmount(target string) error
	// Apply unpacks an uncompressed layer into a new writable layer.
	Apply(ctx context.Context, name string, layer io.Reader) error
	// Diff writes the changes of a layer.
	Diff(ctx context.Context, name string, w io.Writer) error
	// Seal makes a layer immutable.
	Seal(ctx context.Context, name string) error
	// Remove removes a layer. Its disk space may become free later.
	Remove(ctx context.Context, name string) error
	// Usage returns what a layer takes on disk, without its parents.
	Usage(ctx context.Context, name string) (driver.Usage, error)
	// Cleanup returns when the disk space of all removed layers is free.
	Cleanup(ctx context.Context) error
	// Close closes the store. Afterwards the content of its directory may be
	// deleted.
	Close() error
}

// short is the name as the beginning of the name of a layer.
func (s *Subject) short() string {
	return strings.Map(func(r rune) rune {
		if r == '+' || r == '=' || r == ',' {
			return '-'
		}
		return r
	}, s.Name)
}

// in reports whether it takes part in a suite.
func (s *Subject) in(suite string) bool {
	return len(s.Suites) == 0 || slices.Contains(s.Suites, suite)
}

func (s *Subject) mountOptions() MountOptions {
	if s.Vary == nil {
		return MountOptions{}
	}
	return s.Vary(MountOptions{})
}
