package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// ErrAddressInUse says that another process listens on the socket, or something
// that is no socket is in its place.
var ErrAddressInUse = errors.New("address in use")

const (
	// socketMode lets only us, and root, connect.
	socketMode = 0o600
	// socketDirMode lets others pass through to sockets that are theirs.
	socketDirMode = 0o711
	// watchInterval is how often a socket is looked after.
	watchInterval = time.Second
	// acceptPause is how long accept(2) rests when descriptors have run out.
	acceptPause = 50 * time.Millisecond
)

// Listen listens on the unix socket at path, which gets mode 0600, and makes
// its directory if it is missing. It takes the place of a socket on which
// nobody listens any more; for one on which somebody does, and for what is no
// socket, the error matches [ErrAddressInUse].
//
// When the socket is removed or replaced, the listener makes it anew: engines
// know nothing but the path, and would never come back otherwise. Close removes
// the socket if it is still this one.
func Listen(path string, log *slog.Logger) (net.Listener, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return listen(path, log, watchInterval)
}

func listen(path string, log *slog.Logger, interval time.Duration) (*socket, error) {
	bound, err := bind(path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &socket{path: path, log: log, bound: bound, ctx: ctx, cancel: cancel, conns: make(chan net.Conn)}
	s.accept(bound)
	s.running.Add(1)
	go func() {
		defer s.running.Done()
		s.watch(interval)
	}()
	return s, nil
}

// bound is one socket in the file system with its listener.
type bound struct {
	*net.UnixListener
	file fs.FileInfo
	pin  io.Closer // keeps the inode of file, while we compare with it
}

// Close ends the listener and leaves the file.
func (b bound) Close() error { return errors.Join(b.UnixListener.Close(), b.pin.Close()) }

// socket is a listener that stays while the files at its path come and go.
type socket struct {
	path  string
	log   *slog.Logger
	conns chan net.Conn

	// ctx ends with Close.
	ctx     context.Context //nolint:containedctx // the life of the socket
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu    sync.Mutex
	bound bound
}

// Accept implements [net.Listener].
func (s *socket) Accept() (net.Conn, error) {
	select {
	case c := <-s.conns:
		return c, nil
	case <-s.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Addr implements [net.Listener].
func (s *socket) Addr() net.Addr { return &net.UnixAddr{Name: s.path, Net: "unix"} }

// Close implements [net.Listener].
func (s *socket) Close() error {
	if s.ctx.Err() != nil {
		return net.ErrClosed
	}
	s.cancel()
	s.mu.Lock()
	var err error
	if s.ours() {
		err = os.Remove(s.path)
	}
	err = errors.Join(err, s.bound.Close())
	s.mu.Unlock()
	s.running.Wait()
	return err
}

// ours reports whether the file at the path is still our socket.
func (s *socket) ours() bool {
	now, err := os.Lstat(s.path)
	return err == nil && os.SameFile(now, s.bound.file)
}

// accept hands what connects to b to Accept until b is closed.
func (s *socket) accept(b bound) {
	s.running.Add(1)
	go func() {
		defer s.running.Done()
		for {
			c, err := b.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				s.log.Error("cannot accept a connection", "socket", s.path, "error", err)
				select {
				case <-time.After(acceptPause):
				case <-s.ctx.Done():
				}
				continue
			}
			select {
			case s.conns <- c:
			case <-s.ctx.Done():
				_ = c.Close() // nobody will read it
			}
		}
	}()
}

// watch makes the socket anew when it is gone.
func (s *socket) watch(interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	last := ""
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
		}
		err := s.restore()
		if err != nil && err.Error() != last {
			last = err.Error()
			s.log.Error("the socket was taken away; trying again until it can be made anew", "socket", s.path, "error", err)
		}
		if err == nil {
			last = ""
		}
	}
}

func (s *socket) restore() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil || s.ours() {
		return nil
	}
	b, err := bind(s.path)
	if err != nil {
		return err
	}
	old := s.bound
	s.bound = b
	s.accept(b)
	s.log.Warn("the socket had been removed or replaced; it was made anew", "socket", s.path)
	return old.Close()
}

// bind makes the socket at path.
func bind(path string) (_ bound, err error) {
	if err := os.MkdirAll(filepath.Dir(path), socketDirMode); err != nil {
		return bound{}, err
	}
	unlock, err := lockSocket(path)
	if err != nil {
		return bound{}, err
	}
	// What is left of a lock does no harm, nor does its removal with the directory.
	defer func() { _ = unlock() }()
	if err := clearStale(path); err != nil {
		return bound{}, err
	}
	config := net.ListenConfig{Control: restrict}
	l, err := config.Listen(context.Background(), "unix", path)
	if err != nil {
		return bound{}, err
	}
	b := bound{UnixListener: l.(*net.UnixListener)} //nolint:forcetypeassert // what "unix" gives
	b.SetUnlinkOnClose(false)
	err = os.Chmod(path, socketMode)
	if err == nil {
		b.file, b.pin, err = pin(path)
	}
	if err != nil {
		return bound{}, errors.Join(err, l.Close(), os.Remove(path))
	}
	return b, nil
}

// clearStale removes a socket on which nobody listens.
func clearStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%w: it is there, and is no socket", ErrAddressInUse)
	}
	switch pid, alive := listenerOf(path); {
	case alive && pid > 0:
		return fmt.Errorf("%w: process %d listens on it", ErrAddressInUse, pid)
	case alive:
		return fmt.Errorf("%w: another process listens on it", ErrAddressInUse)
	}
	return os.Remove(path)
}
