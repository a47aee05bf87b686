package aufs

import (
	"errors"
	"io/fs"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/rootfd"
)

// A stack is the tree that an aufs of its branches shows, computed in user
// space. It is a [diff.View]. It follows the rules of au_lkup_dentry in the
// module's fs/aufs/dentry.c, with all branches mounted "+wh". Like the module,
// it returns an error for a file that has the name of a mark but is not a
// regular file.
//
// The module's listing of a directory and its lookup can disagree, for example
// about a name in the lowest branch that has a whiteout beside it. Then the
// lookup counts, so that the stack shows no name that cannot be opened.
//
// The first branch may be a layer of this driver that is not sealed yet. The
// stack shows it as sealing will leave it, see [normalizer].
type stack struct {
	branches []*branch // uppermost first
	// owned: Close closes the branches.
	owned bool
	// hints: the first branch holds the changes against the other branches.
	hints bool
	// unsealed: the first branch is a layer that is not sealed yet.
	unsealed bool
	// held is shared with the result of below.
	held *budget
}

// A branch is one directory of a stack.
type branch struct {
	root *rootfd.Dir
	// translated, if not nil, has other names of the branch's files.
	translated *translated

	once    sync.Once
	pseudo  map[uint64]uint64 // number of names in .wh..wh.plnk by inode number
	linkErr error
}

// A budget limits the descriptors that open directories of a stack hold.
// Otherwise a deep walk over a hundred branches would hold thousands. A
// directory over the limit is opened each time it is read.
type budget struct{ left atomic.Int64 }

// maxHeld is how many descriptors the directories of a stack hold. If this
// process may have few descriptors, the limit is lower, because several stacks
// are open at the same time.
const maxHeld = 4096

func newBudget() *budget {
	var b budget
	b.left.Store(maxHeld)
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err == nil && r.Cur/16 < maxHeld {
		b.left.Store(int64(r.Cur / 16))
	}
	return &b
}

// take takes n descriptors from the budget and reports whether they may be
// held.
func (b *budget) take(n int) bool {
	if b.left.Add(-int64(n)) < 0 {
		b.give(n)
		return false
	}
	return true
}

// give returns n descriptors to the budget.
func (b *budget) give(n int) { b.left.Add(int64(n)) }

// openStack opens the branches at the given paths, uppermost first.
func openStack(paths []string, opts rootfd.Options) (*stack, error) {
	v := &stack{owned: true, hints: true, held: newBudget()}
	for _, p := range paths {
		d, err := rootfd.Open(p, opts)
		if err != nil {
			return nil, errors.Join(err, v.Close())
		}
		v.branches = append(v.branches, &branch{root: d})
	}
	return v, nil
}

// below returns the stack without its uppermost branch, or nil if there is no
// other. The result is valid as long as v is open and need not be closed.
func (v *stack) below() diff.View {
	if len(v.branches) < 2 {
		return nil
	}
	return &stack{branches: v.branches[1:], held: v.held}
}

// Close closes the branches. Directories that are still open must not be used
// afterwards.
func (v *stack) Close() error {
	if !v.owned {
		return nil
	}
	var errs []error
	for _, b := range v.branches {
		errs = append(errs, b.root.Close(), b.translated.close())
	}
	return errors.Join(errs...)
}

// Root opens the root directory. The roots of all branches are merged, even if
// one has an opaque mark: the module looks for opaque marks only in directories
// that it looked up by name.
func (v *stack) Root() (diff.Dir, error) {
	places := make([]place, len(v.branches))
	for i := range v.branches {
		places[i] = place{branch: i}
	}
	known := unknown
	if v.hints && len(places) > 1 {
		known = merged
	}
	return v.open(places, known)
}

// provider returns the index of the uppermost branch that has the path.
func (v *stack) provider(p string) (int, error) {
	if p == "." {
		return 0, nil
	}
	root, err := v.Root()
	if err != nil {
		return 0, err
	}
	at := root.(*dir)
	defer func() { at.Close() }()
	for {
		name, rest, more := strings.Cut(p, "/")
		f, err := at.lookup(name, !more)
		if err != nil {
			return 0, err
		}
		if !more {
			return f.place.branch, nil
		}
		if !f.st.IsDir() {
			return 0, &fs.PathError{Op: "lookup", Path: p, Err: fs.ErrNotExist}
		}
		next, err := v.open(f.dirs, unknown)
		if err != nil {
			return 0, err
		}
		err = at.Close()
		at, p = next, rest
		if err != nil {
			return 0, err
		}
	}
}

// A place is a directory of one branch.
type place struct {
	branch int
	at     *rootfd.Way // path in the branch
	d      *rootfd.Dir // nil: opened when needed
	// parent, if not nil, is the open parent directory. Opening through it is
	// faster than through at, as long as it is open.
	parent *rootfd.Dir
}

// with calls fn with the opened directory.
func (v *stack) with(p place, fn func(d *rootfd.Dir) error) error {
	if p.d != nil {
		return fn(p.d)
	}
	d, err := v.branches[p.branch].root.OpenDirAt(p.at.String())
	if err != nil {
		return err
	}
	defer d.Close()
	return fn(d)
}

func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
