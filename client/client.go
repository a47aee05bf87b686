package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/layerkeep/layerkeep"
	storev1 "github.com/layerkeep/layerkeep/api/store/v1"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/service/grpcerr"
	"github.com/layerkeep/layerkeep/internal/storewire"
)

// ErrNoAnswer is [grpcerr.ErrNoAnswer]: no service answers, or the connection
// to it was lost.
var ErrNoAnswer = grpcerr.ErrNoAnswer

// dialPatience is how long a service may take to say that it is one.
const dialPatience = 5 * time.Second

// maxMessage is the largest message that a service may send, in bytes: what one
// takes by default.
const maxMessage = 16 << 20

// A Client uses the store of one service. It is safe for concurrent use.
type Client struct {
	conn  *grpc.ClientConn
	store storev1.StoreClient
	info  Info
}

// Info describes a service and its store.
type Info struct {
	// Address is the path of the socket.
	Address string
	// Root is the directory of the store, as the service sees it.
	Root string
	// Driver is the name of the backend. Properties is what the backend can do.
	Driver     string
	Properties driver.Properties
	// PID is the process ID of the service. Version is the version of its
	// program.
	PID     int
	Version string
}

// Dial connects to the service on the unix socket at address, and asks for its
// [Info]. The error matches [ErrNoAnswer] when no service answers there.
func Dial(ctx context.Context, address string) (*Client, error) {
	return dialWith(ctx, address, dialUnix)
}

func dialUnix(ctx context.Context, address string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "unix", address)
}

// dialWith is Dial with connections that dial makes.
func dialWith(ctx context.Context, address string, dial func(context.Context, string) (net.Conn, error)) (*Client, error) {
	opts := append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()), // the socket's mode is what protects it
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx, address) }),
		grpc.WithNoProxy(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
	}, grpcerr.DialOptions()...)
	conn, err := grpc.NewClient("passthrough:///layerkeep", opts...)
	if err != nil {
		return nil, fmt.Errorf("service at %s: %w", address, err)
	}
	c := &Client{conn: conn, store: storev1.NewStoreClient(conn)}
	ctx, cancel := context.WithTimeout(ctx, dialPatience)
	defer cancel()
	resp, err := c.store.Info(ctx, &storev1.InfoRequest{})
	if errdefs.IsNotImplemented(err) {
		err = fmt.Errorf("%w: there is no store behind this socket: use the service's own address, not that of an engine", err)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("service at %s: %w", address, err), conn.Close())
	}
	c.info = Info{
		Address: address,
		Root:    string(resp.GetRoot()), Driver: resp.GetDriver(), Properties: storewire.ToProperties(resp.GetProperties()),
		PID: int(resp.GetPid()), Version: resp.GetVersion(),
	}
	return c, nil
}

// Info returns what the service said when the client connected.
func (c *Client) Info() Info { return c.info }

// Root implements [layerkeep.Store].
func (c *Client) Root() string { return c.info.Root }

// DriverName implements [layerkeep.Store].
func (c *Client) DriverName() string { return c.info.Driver }

// Properties implements [layerkeep.Store].
func (c *Client) Properties() driver.Properties { return c.info.Properties }

// Close closes the connection. Calls that are still running fail.
func (c *Client) Close() error { return c.conn.Close() }

var _ layerkeep.Store = (*Client)(nil)
