package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
)

// ErrOtherUser is returned by [DialTrusted] when the process that answers belongs to
// another user, who is not root.
var ErrOtherUser = errors.New("the service belongs to another user")

// DialTrusted is [Dial] for an address that was found somewhere, rather than given by
// the user: whoever answers says what the caller mounts. So it has to be a process of
// root or of the caller's own user, as the kernel says, each time a connection is made.
// An error matches [ErrOtherUser] otherwise. Where the kernel cannot tell (other
// systems than Linux), anybody may answer.
func DialTrusted(ctx context.Context, address string) (*Client, error) {
	return dialTrusted(ctx, address, os.Geteuid())
}

func dialTrusted(ctx context.Context, address string, euid int) (*Client, error) {
	g := guard{euid: euid}
	c, err := dialWith(ctx, address, g.dial)
	if stranger := g.refusal(); err != nil && stranger != nil {
		return nil, fmt.Errorf("service at %s: %w", address, stranger)
	}
	return c, err
}

// A guard makes connections to services of root or of euid alone.
type guard struct {
	euid int

	mu      sync.Mutex
	refused error
}

func (g *guard) dial(ctx context.Context, address string) (net.Conn, error) {
	conn, err := dialUnix(ctx, address)
	if err != nil {
		return nil, err
	}
	uid, err := peerUID(conn)
	if err == nil && uid != 0 && uid != g.euid {
		err = fmt.Errorf("%w: %d", ErrOtherUser, uid)
		g.mu.Lock()
		g.refused = err
		g.mu.Unlock()
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

func (g *guard) refusal() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.refused
}
