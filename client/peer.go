package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
)

// ErrOtherUser: the service that answers [DialTrusted] belongs to another user,
// who is not root.
var ErrOtherUser = errors.New("the service belongs to another user")

// DialTrusted is [Dial] for an address that the program found by itself, and
// that the user did not give. Such an address needs more care, because the
// service says what the caller mounts. So DialTrusted accepts only a service of
// root or of the caller's own user. It asks the kernel for the user at every
// connection. For another user the error matches [ErrOtherUser]. On systems
// other than Linux the kernel cannot tell, and every service is accepted.
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
