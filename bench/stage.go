package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/layerkeep/layerkeep/bench/disk"
	"github.com/layerkeep/layerkeep/bench/synth"
)

// A Stage is what cases use to measure one subject: a store on a place, with
// layers that several cases share. It is not safe for concurrent use.
type Stage struct {
	Subject *Subject
	Place   *disk.Place
	Store   Store
	// scratch makes further places.
	scratch *disk.Scratch
	// dir is a directory on the place for mount points and files of the subject.
	dir   string
	count int
	// bases are sealed layers, by key; stacks are chains of them, the lowest first.
	bases  map[string]string
	stacks map[string][]string
}

// openStage makes a store for a subject in a new directory of a place.
func openStage(ctx context.Context, s *Subject, p *disk.Place, scratch *disk.Scratch) (*Stage, error) {
	st := &Stage{Subject: s, Place: p, scratch: scratch, dir: filepath.Join(p.Dir, s.Name), bases: map[string]string{}, stacks: map[string][]string{}}
	root := filepath.Join(st.dir, "store")
	if err := errors.Join(os.Mkdir(st.dir, 0o755), os.Mkdir(root, 0o700)); err != nil {
		return nil, err
	}
	store, err := s.Open(ctx, root)
	if err != nil {
		return nil, errors.Join(err, disk.Remove(st.dir))
	}
	st.Store = store
	return st, nil
}

// close closes the store and removes all.
func (st *Stage) close() error { return errors.Join(st.Store.Close(), disk.Remove(st.dir)) }

// as returns the stage of a subject that uses the store of this one.
func (st *Stage) as(s *Subject) *Stage {
	other := *st
	other.Subject = s
	return &other
}

// Name returns a name that no layer of the store has yet.
func (st *Stage) Name() string {
	st.count++
	return fmt.Sprintf("%s-%d", st.Subject.short(), st.count)
}

// Dir makes an empty directory on the place, for example for a mount point.
func (st *Stage) Dir() (string, error) { return os.MkdirTemp(st.dir, "dir-") }

// Base returns a sealed layer without parents, filled by fill. It makes the
// layer of a key only once; the layer stays until the suite ends.
func (st *Stage) Base(ctx context.Context, key string, fill func(*synth.Layer)) (string, error) {
	if name := st.bases[key]; name != "" {
		return name, nil
	}
	name, err := st.Make(ctx, nil, fill)
	if err == nil {
		st.bases[key] = name
	}
	return name, err
}

// Stack returns depth sealed layers, nearest first. fill fills the lowest; each
// layer above it has one small file of its own. Stacks of the same key share
// their layers.
func (st *Stage) Stack(ctx context.Context, key string, depth int, fill func(*synth.Layer)) ([]string, error) {
	return st.StackOf(ctx, key, depth, func(l *synth.Layer, n int) {
		if n == 0 {
			fill(l)
			return
		}
		l.Text(fmt.Sprintf("layer-%04d", n), key)
	})
}

// StackOf is Stack, but fill fills every layer; n is 0 for the lowest.
func (st *Stage) StackOf(ctx context.Context, key string, depth int, fill func(l *synth.Layer, n int)) ([]string, error) {
	have := st.stacks[key]
	for len(have) < depth {
		n := len(have)
		name, err := st.Make(ctx, nearestFirst(have), func(l *synth.Layer) { fill(l, n) })
		if err != nil {
			return nil, fmt.Errorf("layer %d of %d: %w", n+1, depth, err)
		}
		have = append(have, name)
		st.stacks[key] = have
	}
	return nearestFirst(have[:depth]), nil
}

func nearestFirst(lowestFirst []string) []string {
	var all []string
	for i := len(lowestFirst) - 1; i >= 0; i-- {
		all = append(all, lowestFirst[i])
	}
	return all
}

// Make makes a sealed layer over parents, filled by fill.
func (st *Stage) Make(ctx context.Context, parents []string, fill func(*synth.Layer)) (string, error) {
	name := st.Name()
	if err := st.Store.Create(ctx, name, parents); err != nil {
		return "", err
	}
	stream := synth.Stream(fill)
	defer stream.Close()
	err := st.Store.Apply(ctx, name, stream)
	if err == nil {
		err = st.Store.Seal(ctx, name)
	}
	if err != nil {
		return "", errors.Join(err, st.Store.Remove(context.WithoutCancel(ctx), name))
	}
	return name, nil
}

// Prepared returns a sealed layer that fill has filled through its mount. Like
// Base it makes the layer of a key only once.
func (st *Stage) Prepared(ctx context.Context, key string, fill func(root string) error) (string, error) {
	if name := st.bases[key]; name != "" {
		return name, nil
	}
	c, err := st.Start(ctx)
	if err != nil {
		return "", err
	}
	if err := fill(c.Root); err != nil {
		return "", errors.Join(err, c.Stop(ctx))
	}
	if err := st.Store.Unmount(c.Root); err != nil {
		return "", err
	}
	if err := errors.Join(os.Remove(c.Root), st.Store.Seal(ctx, c.Layer)); err != nil {
		return "", errors.Join(err, st.Forget(ctx, c.Layer))
	}
	st.bases[key] = c.Layer
	return c.Layer, nil
}

// Forget removes layers that Make has made. Name the uppermost first.
func (st *Stage) Forget(ctx context.Context, names ...string) error {
	ctx = context.WithoutCancel(ctx)
	var errs []error
	for _, name := range names {
		errs = append(errs, st.Store.Remove(ctx, name))
	}
	return errors.Join(append(errs, st.Store.Cleanup(ctx))...)
}
