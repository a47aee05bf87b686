package bench

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
)

// A Container is a writable layer that is mounted.
type Container struct {
	// Root is the directory that it is mounted on.
	Root string
	// Layer is the name of its layer in the store.
	Layer string
	stage *Stage
	// created: the layer exists. mounted: it is mounted at Root.
	created, mounted bool
}

// Start makes a writable layer over parents, nearest first, and mounts it.
func (st *Stage) Start(ctx context.Context, parents ...string) (*Container, error) {
	c, err := st.reserve()
	if err != nil {
		return nil, err
	}
	if err := c.start(ctx, parents); err != nil {
		return nil, errors.Join(err, c.Discard(ctx))
	}
	return c, nil
}

// In starts a new container over parents, nearest first, calls do with it, and
// stops it.
func (st *Stage) In(ctx context.Context, parents []string, do func(c *Container) error) error {
	c, err := st.Start(ctx, parents...)
	if err != nil {
		return err
	}
	return errors.Join(do(c), c.Stop(ctx))
}

// StartAll starts n containers over the same parents at the same time, each in
// its own goroutine. After an error it leaves none of them.
func (st *Stage) StartAll(ctx context.Context, n int, parents ...string) ([]*Container, error) {
	all, err := st.reserveAll(n)
	if err == nil {
		err = startReserved(ctx, all, parents)
	}
	if err != nil {
		return nil, errors.Join(err, st.StopAll(ctx, all))
	}
	return all, nil
}

// reserve chooses a name and makes a mount point. Nothing is in the store yet.
func (st *Stage) reserve() (*Container, error) {
	root, err := st.Dir()
	if err != nil {
		return nil, err
	}
	return &Container{Root: root, Layer: st.Name(), stage: st}, nil
}

// reserveAll is reserve for n containers. It returns what it has made also with
// an error.
func (st *Stage) reserveAll(n int) ([]*Container, error) {
	var all []*Container
	for range n {
		c, err := st.reserve()
		if err != nil {
			return all, err
		}
		all = append(all, c)
	}
	return all, nil
}

// startReserved starts reserved containers, each in a goroutine of its own.
func startReserved(ctx context.Context, all []*Container, parents []string) error {
	return atOnce(all, len(all), func(c *Container) error { return c.start(ctx, parents) })
}

func (c *Container) start(ctx context.Context, parents []string) error {
	if err := c.create(ctx, parents); err != nil {
		return err
	}
	return c.mount(ctx)
}

func (c *Container) create(ctx context.Context, parents []string) error {
	err := c.stage.Store.Create(ctx, c.Layer, parents)
	c.created = err == nil
	return err
}

func (c *Container) mount(ctx context.Context) error {
	err := c.stage.Store.Mount(ctx, c.Layer, c.Root, c.stage.Subject.mountOptions())
	c.mounted = err == nil
	return err
}

// Path returns the path of a file in the container.
func (c *Container) Path(name string) string { return filepath.Join(c.Root, name) }

// Unmount unmounts the container. Its layer stays.
func (c *Container) Unmount() error {
	if !c.mounted {
		return nil
	}
	err := c.stage.Store.Unmount(c.Root)
	c.mounted = err != nil
	return err
}

// remove removes the layer of a container that is not mounted.
func (c *Container) remove(ctx context.Context) error {
	if !c.created {
		return nil
	}
	err := c.stage.Store.Remove(ctx, c.Layer)
	c.created = err != nil
	return err
}

// Discard unmounts the container and removes its layer. It does nothing for a
// container that is already unmounted and removed. The disk space may become
// free later. A cancelled context does not matter.
func (c *Container) Discard(ctx context.Context) error {
	if err := c.Unmount(); err != nil {
		return err
	}
	err := c.remove(context.WithoutCancel(ctx))
	if gone := os.Remove(c.Root); !errors.Is(gone, os.ErrNotExist) {
		err = errors.Join(err, gone)
	}
	return err
}

// Stop is Discard, and returns when the disk space is free.
func (c *Container) Stop(ctx context.Context) error {
	if err := c.Discard(ctx); err != nil {
		return err
	}
	return c.stage.Store.Cleanup(context.WithoutCancel(ctx))
}

// stopsAtOnce is how many containers StopAll works on at the same time.
const stopsAtOnce = 16

// StopAll discards containers, several at the same time, and returns when their
// disk space is free. It accepts containers that are already discarded. A
// cancelled context does not matter.
func (st *Stage) StopAll(ctx context.Context, all []*Container) error {
	err := atOnce(all, stopsAtOnce, func(c *Container) error { return c.Discard(ctx) })
	return errors.Join(err, st.Store.Cleanup(context.WithoutCancel(ctx)))
}

// atOnce calls do for each container, in so many goroutines, and returns all
// errors.
func atOnce(all []*Container, goroutines int, do func(*Container) error) error {
	errs := make([]error, len(all))
	next := make(chan int)
	var wait sync.WaitGroup
	for range min(goroutines, len(all)) {
		wait.Go(func() {
			for i := range next {
				errs[i] = do(all[i])
			}
		})
	}
	for i := range all {
		next <- i
	}
	close(next)
	wait.Wait()
	return errors.Join(errs...)
}
