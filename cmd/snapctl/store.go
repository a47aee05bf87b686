package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"

	"github.com/layerkeep/layerkeep"
	"github.com/layerkeep/layerkeep/driver/all"
	"github.com/layerkeep/layerkeep/image"
)

// A store is a store in reach, with what commands make of it.
type store struct{ layerkeep.Store }

// openHere returns the store that this process has open, also for reading
// alone; not ok when a service has it.
func (st *store) openHere() (l *layerkeep.Local, ok bool) {
	s := st.Store
	if r, is := s.(readOnlyStore); is {
		s = r.Store
	}
	l, ok = s.(*layerkeep.Local)
	return l, ok
}

// withStore gives fn the store, and closes it again.
func (a *app) withStore(ctx context.Context, fn func(*store) error) error {
	return a.withStoreWait(ctx, lockTimeout, fn)
}

// withStoreWait is withStore with another patience for a locked store.
func (a *app) withStoreWait(ctx context.Context, wait time.Duration, fn func(*store) error) (err error) {
	if d := a.global.driver; d != "" && !slices.Contains(all.Names(), d) {
		return usagef("unknown driver %q; choose %s", d, orList(all.Names()))
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s, err := a.reach(ctx, wait)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(explainLost(s, err), s.Close()) }()
	st := &store{a.readOnly(s)}
	if err := a.checkLimits(st); err != nil {
		return err
	}
	return fn(st)
}

// snapshots lists all snapshots, oldest first, parents before children.
func (st *store) list(ctx context.Context) ([]snapshots.Info, error) {
	var infos []snapshots.Info
	err := st.Walk(ctx, func(info snapshots.Info) error {
		infos = append(infos, info)
		return nil
	})
	slices.SortStableFunc(infos, older)
	return infos, doing(err, "listing the snapshots")
}

// older compares snapshots by age, and those of one age by their names.
func older(a, b snapshots.Info) int {
	if c := a.Created.Compare(b.Created); c != 0 {
		return c
	}
	return strings.Compare(a.Name, b.Name)
}

// A parent is what a PARENT on the command line means.
type parent struct {
	// key is the committed snapshot; image the name of the image, if it was one.
	key, image string
	labels     map[string]string
}

// parent finds the committed snapshot that name means, as an image or as a key.
// The labels are for what is prepared on it, so that an export knows the image.
func (st *store) parent(ctx context.Context, name string) (parent, error) {
	r, err := st.Resolve(ctx, name)
	if err != nil {
		return parent{}, st.explainParent(ctx, name, err)
	}
	p := parent{key: r.Key, labels: map[string]string{}}
	if r.Image != nil {
		p.image = r.Image.Name
		p.labels[image.LabelBase] = r.Image.Target.Digest.String()
		p.labels[labelImage] = r.Image.Name
	} else if info, err := st.Stat(ctx, p.key); err == nil {
		for _, l := range []string{image.LabelBase, labelImage} {
			if v := info.Labels[l]; v != "" {
				p.labels[l] = v
			}
		}
	}
	return p, nil
}

// labelImage is the name of the image on which a snapshot was prepared. It is
// for people only; image.LabelBase says which image it was.
const labelImage = "layerkeep.dev/snapctl.image"

// explainParent adds to the error of a name that is no parent what to do.
func (st *store) explainParent(ctx context.Context, name string, err error) error {
	info, statErr := st.Stat(ctx, name)
	if ctxErr := ctx.Err(); ctxErr != nil {
		return ctxErr
	}
	if statErr != nil || info.Kind == snapshots.KindCommitted {
		return err
	}
	if info.Kind == snapshots.KindView {
		return advise(err, "nothing can be built on a view; use its parent "+fmt.Sprintf("%q", info.Parent))
	}
	return advise(err, "commit it first with 'snapctl commit NAME "+name+"'")
}

// imagesByKey maps the key of each image's snapshot to the names of the images.
func (st *store) imagesByKey(ctx context.Context) (map[string][]string, error) {
	images, err := st.Images(ctx)
	if err != nil {
		return nil, doing(err, "listing the images")
	}
	names := map[string][]string{}
	for _, i := range images {
		names[i.Snapshot] = append(names[i.Snapshot], i.Name)
	}
	return names, nil
}

// kindName is the word for a kind: active, view or committed.
func kindName(k snapshots.Kind) string { return strings.ToLower(k.String()) }
