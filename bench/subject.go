package bench

import (
	"context"
	"io"
	"slices"
	"strings"

	"github.com/layerkeep/layerkeep/driver"
)

// A Subject is something that is measured.
type Subject struct {
	// Name is unique: "overlay2", "overlay2+metacopy", "bare".
	Name string
	// About is one line on what it is.
	About string
	// Store names the subject whose store this one uses, with other mounts; empty for
	// one that has a store of its own. Such a variant takes part only in cases that say so.
	Store string
	// Open makes an empty store in dir, an empty directory. An error that matches
	// [errors.ErrUnsupported] or [driver.ErrUnsupported] says that it does not work there.
	// For a variant it is nil.
	Open func(ctx context.Context, dir string) (Store, error)
	// Thorough: a quick run leaves it out unless it is named.
	Thorough bool
	// Vary changes how a layer of a variant's store is mounted.
	Vary func(MountOptions) MountOptions
	// Copies: each layer is a full copy of its parents, unless files share blocks.
	Copies bool
	// Suites are the names of the suites that it takes part in; nil for all.
	Suites []string
	// Peer: it is part of another program.
	Peer bool
	// Reference: it is no choice, but there to compare with.
	Reference bool
	// Bare: it keeps no layers at all. What it takes is the base line.
	Bare bool
}

func (s *Subject) info() SubjectInfo {
	return SubjectInfo{Name: s.Name, About: s.About, VariantOf: s.Store, Copies: s.Copies, Peer: s.Peer, Reference: s.Reference, Bare: s.Bare}
}

// MountOptions tune [Store.Mount].
type MountOptions struct {
	// Overlay replaces options of an overlay mount by name, "metacopy" by "on" say; other
	// mounts ignore it.
	Overlay map[string]string
	// Volatile mounts an overlay that does not sync.
	Volatile bool
}

// A Store keeps the layers of a [Subject]. Names of layers are those of a [driver.ID].
type Store interface {
	// Create makes a writable layer over sealed parents, nearest first.
	Create(ctx context.Context, name string, parents []string) error
	// Mount mounts a writable or a sealed layer, the latter for reading.
	Mount(ctx context.Context, name, target string, opts MountOptions) error
	// Unmount undoes Mount.
	Unmount(target string) error
	// Apply unpacks an uncompressed layer into a new writable layer.
	Apply(ctx context.Context, name string, layer io.Reader) error
	// Diff writes the changes of a layer.
	Diff(ctx context.Context, name string, w io.Writer) error
	// Seal makes a layer immutable.
	Seal(ctx context.Context, name string) error
	// Remove removes a layer; its space may come back later.
	Remove(ctx context.Context, name string) error
	// Usage returns what a layer takes without its parents.
	Usage(ctx context.Context, name string) (driver.Usage, error)
	// Cleanup returns when the space of all removed layers is free.
	Cleanup(ctx context.Context) error
	// Close closes the store; what is in its directory may be deleted then.
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
