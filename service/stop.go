package service

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrCutShort says that calls were cancelled when the service stopped, because they took
// longer than it may wait for them.
var ErrCutShort = errors.New("calls in flight were cancelled")

// shutDown ends all servers: no new calls, those in flight end by themselves or,
// after the timeout, are cancelled.
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
	select {
	case <-s.calls.working.wait():
		s.letGo() // what is held by commands of which no call is left
	case <-graceful.Done():
	}
	select {
	case <-done:
	case <-graceful.Done():
		s.log.WarnContext(ctx, "calls in flight are cancelled", "timeout", timeout)
		err = errors.Join(err, fmt.Errorf("%w after %s", ErrCutShort, timeout))
		s.stop()
		s.cutOff(done)
	}
	s.release()
	s.log.InfoContext(ctx, "stopped")
	return err
}

// lastPatience is how long a cancelled call may take to answer before its
// connection is closed, which also ends waiting for a message of the client.
const lastPatience = 2 * time.Second

func (s *Server) cutOff(done <-chan struct{}) {
	select {
	case <-done:
		return
	case <-time.After(lastPatience):
	}
	var closing sync.WaitGroup
	for _, e := range s.grpcs {
		closing.Go(e.server.Stop)
	}
	closing.Wait()
	<-done
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

func (w *working) tell() {
	if w.n == 0 && w.none != nil {
		close(w.none)
		w.none = nil
	}
}
