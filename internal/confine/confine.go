package confine

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
)

// Dirs are directories that confined work needs.
type Dirs struct {
	Change []string // everything below may be made, changed and removed
	Read   []string // everything below may be read
}

// A work is one call of Do.
type work struct {
	box   *sandbox // nil for no confinement
	calls chan call
	gone  chan struct{} // closed when nobody answers calls any more
}

type call struct {
	fn   func()
	done chan struct{}
}

type key struct{}

func of(ctx context.Context) *work {
	w, _ := ctx.Value(key{}).(*work)
	return w
}

// Without returns a context with which nothing is confined, and Do calls the function on
// the caller's own goroutine: for tests that make system calls of one thread fail.
func Without(ctx context.Context) context.Context {
	return context.WithValue(ctx, key{}, &work{})
}

// Do calls fn on a confined thread and returns its error, or that of confining it. It
// panics with what fn panicked with. Work in confined work is not confined further.
func Do(ctx context.Context, dirs Dirs, fn func(context.Context) error) error {
	if of(ctx) != nil {
		return fn(ctx)
	}
	box, err := newSandbox(dirs)
	if err != nil {
		return fmt.Errorf("confine the work on a layer: %w", err)
	}
	defer box.close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := &work{box: box, calls: make(chan call), gone: make(chan struct{})}
	ended := make(chan ending, 1)
	box.start(func(err error) {
		e := ending{err: err, exited: err == nil}
		defer func() {
			if p := recover(); p != nil {
				e.exited, e.panicked = false, fmt.Sprintf("%v\n\n%s", p, debug.Stack())
			}
			ended <- e
		}()
		if err == nil {
			e.err = fn(context.WithValue(ctx, key{}, w))
			e.exited = false
		}
	})
	return w.serve(ended, cancel)
}

// An ending is how confined work has ended: with an error or none, a panic, or with its
// goroutine, as the end of a test does.
type ending struct {
	err      error
	panicked string
	exited   bool
}

// serve answers calls until the work has ended.
func (w *work) serve(ended chan ending, cancel func()) error {
	served := false
	defer func() {
		if !served { // a call has panicked; what the work uses must stay until it has ended
			cancel()
			close(w.gone)
			<-ended
		}
	}()
	for {
		select {
		case c := <-w.calls:
			func() {
				defer close(c.done)
				c.fn()
			}()
		case e := <-ended:
			served = true
			switch {
			case e.panicked != "":
				panic(e.panicked)
			case e.exited:
				runtime.Goexit()
			}
			return e.err
		}
	}
}

// Go calls fn on a goroutine of its own, confined as the work is that ctx comes from. fn
// gets the error of confining it, and must do nothing then.
func Go(ctx context.Context, fn func(error)) {
	w := of(ctx)
	if w == nil || w.box == nil {
		go fn(nil)
		return
	}
	w.box.start(fn)
}

// Outside calls fn where the work that ctx comes from was started, not confined, and waits
// for it: for what callers have given, such as writers and functions that take warnings.
func Outside(ctx context.Context, fn func()) {
	w := of(ctx)
	if w == nil || w.box == nil {
		fn()
		return
	}
	if done := w.post(fn); done != nil {
		<-done
	}
}

// post has fn called outside and returns a channel that is closed after that; nil if
// nobody is there to call it.
func (w *work) post(fn func()) chan struct{} {
	c := call{fn: fn, done: make(chan struct{})}
	select {
	case w.calls <- c:
		return c.done
	case <-w.gone:
		return nil
	}
}
