package aufs

import (
	"errors"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/rootfd"
)

// translated has the translations of a branch. A file of the branch may have a
// name in each of them, which no view shows.
type translated struct {
	paths []string // where a translation may be

	once  sync.Once
	trees []*rootfd.Dir
	err   error
}

// mark tells the branches of a stack where their translations may be. ids are
// the layers of the branches.
func (t *translator) mark(v *stack, ids []driver.ID) {
	for i, b := range v.branches {
		b.translated = &translated{}
		for _, s := range t.trees {
			b.translated.paths = append(b.translated.paths, s.Path(ids[i], treeDir))
		}
	}
}

// owns reports whether all names except one of the file at a path of the branch
// are in translations. If the file has more names, owns returns false, as if
// all names were in the branch: a translation that is being made or removed at
// the moment must not make names disappear.
func (t *translated) owns(at string, st rootfd.Stat) (bool, error) {
	if t == nil {
		return false, nil
	}
	t.once.Do(t.open)
	if t.err != nil {
		return false, t.err
	}
	names := uint64(1)
	for _, tree := range t.trees {
		linked, err := tree.LookupAt(at)
		switch {
		case isMissing(err), errors.Is(err, unix.ENOTDIR):
		case err != nil:
			return false, err
		case linked.Dev == st.Dev && linked.Ino == st.Ino:
			names++
		}
	}
	return names >= st.Nlink, nil
}

func (t *translated) open() {
	for _, p := range t.paths {
		d, err := rootfd.Open(p, rootfd.Options{})
		if isMissing(err) {
			continue
		}
		if err != nil {
			t.err = err
			return
		}
		t.trees = append(t.trees, d)
	}
}

func (t *translated) close() error {
	if t == nil {
		return nil
	}
	t.once.Do(func() {}) // prevents a later open
	var errs []error
	for _, d := range t.trees {
		errs = append(errs, d.Close())
	}
	t.trees = nil
	return errors.Join(errs...)
}
