package service

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrCutShort says that calls were cancelled when the service stopped, because
// they took longer than it may wait for them.
var ErrCutShort = errors.New("calls in flight were cancelled")

// shutDown ends all servers: no new calls, those in flight end by themselves
// or, after the timeout, are cancelled.
func (s *Server) shutDown(ctx context.Context, sockets Sockets) error {
	s.notify(ctx, notifyStopping)
	s.health.Shutdown()
	timeout := time.Duration(s.config.StopTimeout)
	s.log.InfoContext(ctx, "stopping", "timeout", timeout)
	err := sockets.Close() // first, so that nobody finds a socket that does not answer
	s.rest()
	graceful, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.drain(graceful)
	}()
	if !s.finished(graceful, done) {
		s.log.WarnContext(ctx, "calls in flight are cancelled", "timeout", timeout)
		err = errors.Join(err, fmt.Errorf("%w after %s", ErrCutShort, timeout))
		s.stop()
		select {
		case <-done:
		case <-time.After(lastPatience):
		}
	}
	cancel()
	s.hangUp()
	<-done
	s.release()
	s.log.InfoContext(ctx, "stopped")
	return err
}

// lastPatience is how long a call that was cancelled may take to answer, and a
// client of which no call is left to go, before its connection is closed. That
// also ends waiting for a message of the client.
const lastPatience = 2 * time.Second

// finished waits until no call is left, and a while for the clients to go; done
// is closed when they have. It returns false when ctx ended before the calls
// did.
func (s *Server) finished(ctx context.Context, done <-chan struct{}) bool {
	for {
		select {
		case <-done:
			return true
		case <-s.calls.working.wait():
		case <-ctx.Done():
			return false
		}
		s.letGo() // what is held by commands of which no call is left
		select {
		case <-done:
			return true
		case <-time.After(lastPatience):
		case <-ctx.Done():
		}
		// A call may have come in before its client heard that we are going.
		if s.calls.working.idle() {
			return true
		}
	}
}

// hangUp closes all connections, among them those whose clients have never said
// anything, and waits for what still runs.
func (s *Server) hangUp() {
	var closing sync.WaitGroup
	for _, e := range s.grpcs {
		if l, ok := e.listener.(*lineListener); ok {
			l.hangUp()
		}
		closing.Go(e.server.Stop)
	}
	closing.Wait()
}

// release ends the contexts of a server that serves nothing any more.
func (s *Server) release() {
	s.rest()
	s.letGo()
	s.stop()
}

// drain returns when no call is left.
func (s *Server) drain(ctx context.Context) {
	var draining sync.WaitGroup
	for _, e := range s.grpcs {
		draining.Go(e.server.GracefulStop)
	}
	for _, e := range s.https {
		draining.Go(func() {
			if e.server.Shutdown(ctx) != nil {
				// Its handlers have a context that has ended by now, too.
				_ = e.server.Close() // of connections that are given up
			}
		})
	}
	draining.Wait()
}

// working counts the calls that do something, so that a stop knows when none is
// left.
type working struct {
	mu   sync.Mutex
	n    int
	none chan struct{}
}

// begin counts a call in; the returned function counts it out.
func (w *working) begin() (end func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.n++
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.n--
		w.tell()
	}
}

// wait returns a channel that is closed once no call is left.
func (w *working) wait() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.none = make(chan struct{})
	none := w.none
	w.tell()
	return none
}

// idle reports whether no call is left.
func (w *working) idle() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.n == 0
}

func (w *working) tell() {
	if w.n == 0 && w.none != nil {
		close(w.none)
		w.none = nil
	}
}
