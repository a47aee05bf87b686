package service

import (
	"net"
	"sync"
)

// A lineListener knows the connections that came through it. A server of gRPC
// does not know those on which nothing was said yet, and would wait for them at
// its end.
type lineListener struct {
	net.Listener
	mu    sync.Mutex
	lines map[*line]struct{}
	ended bool
}

func newLineListener(l net.Listener) *lineListener {
	return &lineListener{Listener: l, lines: map[*line]struct{}{}}
}

// A line is one connection.
type line struct {
	net.Conn
	of *lineListener
}

// Accept implements [net.Listener].
func (l *lineListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	accepted := &line{Conn: c, of: l}
	l.mu.Lock()
	ended := l.ended
	l.lines[accepted] = struct{}{}
	l.mu.Unlock()
	if ended {
		_ = accepted.Close() // whoever accepts it finds out
	}
	return accepted, nil
}

// Close implements [net.Conn].
func (c *line) Close() error {
	c.of.mu.Lock()
	delete(c.of.lines, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// hangUp closes all connections, now and from now on.
func (l *lineListener) hangUp() {
	l.mu.Lock()
	l.ended = true
	var lines []*line
	for c := range l.lines {
		lines = append(lines, c)
	}
	l.mu.Unlock()
	for _, c := range lines {
		_ = c.Close() // the other side is not heard any more
	}
}
