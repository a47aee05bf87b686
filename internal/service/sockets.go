package service

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strings"

	"github.com/coreos/go-systemd/v22/activation"

	"github.com/layerkeep/layerkeep/internal/service/config"
)

// Sockets are what a server listens on. All but Main may be missing.
type Sockets struct {
	// Main is the default socket, for containerd and for snapctl.
	Main net.Listener
	// Engines has the sockets of further engines by their scopes, Graphdrivers
	// those of Docker plugins by their names.
	Engines, Graphdrivers map[string]net.Listener
	Metrics, Pprof        net.Listener
}

// A place is one address of the configuration and where its listener goes.
type place struct {
	// name is what the socket unit calls its descriptor (FileDescriptorName).
	name, address string
	put           func(net.Listener)
}

// places lists where to listen, in the order in which descriptors of systemd
// that have other names are taken.
func (s *Sockets) places(c config.Config) []place {
	places := []place{{"address", c.Address, func(l net.Listener) { s.Main = l }}}
	for _, name := range slices.Sorted(maps.Keys(c.Engines)) {
		places = append(places, place{"engine-" + name, c.Engines[name], func(l net.Listener) { s.Engines[name] = l }})
	}
	for _, name := range c.Graphdrivers {
		places = append(places, place{
			"graphdriver-" + name, filepath.Join(c.GraphdriverDir, name+".sock"),
			func(l net.Listener) { s.Graphdrivers[name] = l },
		})
	}
	if c.MetricsAddress != "" {
		places = append(places, place{"metrics-address", c.MetricsAddress, func(l net.Listener) { s.Metrics = l }})
	}
	if c.PprofAddress != "" {
		places = append(places, place{"pprof-address", c.PprofAddress, func(l net.Listener) { s.Pprof = l }})
	}
	return places
}

// An Activation holds the sockets that systemd has opened for this process; see
// systemd.socket(5). It is empty in a process that systemd did not start.
type Activation struct {
	names     []string
	listeners []net.Listener
}

// TakeActivation takes them, once for the process.
func TakeActivation() (*Activation, error) {
	a := &Activation{}
	for _, f := range activation.Files(true) {
		l, err := net.FileListener(f)
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, errors.Join(fmt.Errorf("descriptor %s of systemd: %w", f.Name(), err), a.Close())
		}
		if u, ok := l.(*net.UnixListener); ok {
			u.SetUnlinkOnClose(false) // it is systemd's
		}
		a.names = append(a.names, f.Name())
		a.listeners = append(a.listeners, l)
	}
	return a, nil
}

// Close closes what was not used.
func (a *Activation) Close() error {
	var errs []error
	for _, l := range a.listeners {
		if l != nil {
			errs = append(errs, l.Close())
		}
	}
	return errors.Join(errs...)
}

// assign finds a descriptor for each place: by name first, then, of those with
// names that mean nothing, in their order.
func (a *Activation) assign(places []place) (map[int]net.Listener, error) {
	got := map[int]net.Listener{}
	known := func(name string) int {
		return slices.IndexFunc(places, func(p place) bool { return p.name == name })
	}
	for i, name := range a.names {
		at := known(name)
		if _, taken := got[at]; at < 0 || taken {
			continue
		}
		got[at], a.listeners[i] = a.listeners[i], nil
	}
	for at := range places {
		i := slices.IndexFunc(a.listeners, func(l net.Listener) bool { return l != nil })
		if _, taken := got[at]; i < 0 || taken {
			continue
		}
		got[at], a.listeners[i] = a.listeners[i], nil
	}
	for i, l := range a.listeners {
		if l != nil {
			return got, fmt.Errorf("%w: systemd gave a socket %q that nothing was configured for", config.ErrInvalid, a.names[i])
		}
	}
	for at, l := range got {
		if !private(l.Addr()) {
			return got, fmt.Errorf("%w: %s: systemd gave %s, which others can reach", config.ErrInvalid, places[at].name, l.Addr())
		}
	}
	return got, nil
}

// private reports whether only this machine can reach an address.
func private(addr net.Addr) bool {
	if tcp, ok := addr.(*net.TCPAddr); ok {
		return tcp.IP.IsLoopback()
	}
	return addr.Network() == "unix"
}

// MainAddress is where the default socket is, which may be elsewhere than the
// configuration says when systemd has opened it.
func (a *Activation) MainAddress(c config.Config) string {
	at := slices.Index(a.names, "address")
	if at < 0 {
		places := (&Sockets{}).places(c)
		at = slices.IndexFunc(a.names, func(name string) bool {
			return !slices.ContainsFunc(places, func(p place) bool { return p.name == name })
		})
	}
	if at < 0 {
		return c.Address
	}
	return a.listeners[at].Addr().String()
}

// OpenSockets listens on all addresses of the configuration, or takes the
// sockets that systemd has opened for them. The caller closes them.
func OpenSockets(c config.Config, a *Activation, log *slog.Logger) (_ Sockets, err error) {
	s := Sockets{Engines: map[string]net.Listener{}, Graphdrivers: map[string]net.Listener{}}
	places := s.places(c)
	given, err := a.assign(places)
	for at, l := range given {
		places[at].put(l)
	}
	for at, p := range places {
		if _, ok := given[at]; ok || err != nil {
			continue
		}
		var l net.Listener
		if l, err = open(p.address, log); err == nil {
			p.put(l)
		}
	}
	if err != nil {
		return Sockets{}, errors.Join(err, s.Close(), a.Close())
	}
	return s, nil
}

// open listens on a unix socket or on a loopback address.
func open(address string, log *slog.Logger) (net.Listener, error) {
	if filepath.IsAbs(address) {
		return Listen(address, log)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	return l, nil
}

func (s *Sockets) all() []net.Listener {
	all := []net.Listener{s.Main}
	for _, name := range slices.Sorted(maps.Keys(s.Engines)) {
		all = append(all, s.Engines[name])
	}
	for _, name := range slices.Sorted(maps.Keys(s.Graphdrivers)) {
		all = append(all, s.Graphdrivers[name])
	}
	all = append(all, s.Metrics, s.Pprof)
	return slices.DeleteFunc(all, func(l net.Listener) bool { return l == nil })
}

// Close closes all of them.
func (s *Sockets) Close() error {
	var errs []error
	for _, l := range s.all() {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// String lists their addresses.
func (s *Sockets) String() string {
	var addresses []string
	for _, l := range s.all() {
		addresses = append(addresses, l.Addr().String())
	}
	return strings.Join(addresses, " ")
}
