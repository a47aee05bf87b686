package aufs

import (
	"errors"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/rootfd"
)

// A stack is the picture of the tree that an aufs of its branches shows, made
// in user space. It is a [diff.View].
type stack struct {
	branches []*branch // uppermost first
	// hints: the first branch holds the changes against the others.
	hints bool
}

// A branch is one directory of a stack.
type branch struct {
	root *rootfd.Dir
}

// openStack opens the branches at the given paths, uppermost first.
func openStack(paths []string, opts rootfd.Options) (*stack, error) {
	v := &stack{hints: true}
	for _, p := range paths {
		d, err := rootfd.Open(p, opts)
		if err != nil {
			return nil, errors.Join(err, v.Close())
		}
		v.branches = append(v.branches, &branch{root: d})
	}
	return v, nil
}

// below is the stack without its uppermost branch, nil when there is none. It
// lives as long as v and need not be closed.
func (v *stack) below() diff.View {
	if len(v.branches) < 2 {
		return nil
	}
	return &stack{branches: v.branches[1:]}
}

// provider returns the index of the uppermost branch that has the path.
func (v *stack) provider(path string) (int, error) {
	return 0, errors.ErrUnsupported
}

// Close closes the branches. Directories that are still open must not be used
// afterwards.
func (v *stack) Close() error {
	var errs []error
	for _, b := range v.branches {
		errs = append(errs, b.root.Close())
	}
	return errors.Join(errs...)
}

// Root opens the root, where all branches are merged whatever their marks say.
func (v *stack) Root() (diff.Dir, error) { return nil, errors.ErrUnsupported }
