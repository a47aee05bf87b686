package config

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/layerkeep/layerkeep/driver/all"
)

// ErrInvalid says that a setting has a value that cannot be.
var ErrInvalid = errors.New("invalid setting")

// maxSocket is the length of a unix socket's path that fits into its address on
// Linux, in bytes (unix(7)).
const maxSocket = 107

var names = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)
})

// Check says what is wrong with c, all of it at once; errors match
// [ErrInvalid]. Addresses lose their "unix://".
func (c *Config) Check() error {
	for _, address := range []*string{&c.Address, &c.ContainerdAddress, &c.MetricsAddress, &c.PprofAddress} {
		*address = socketPath(*address)
	}
	return errors.Join(append(c.checkAddresses(), c.checkRest()...)...)
}

func invalid(key, format string, args ...any) error {
	return fmt.Errorf("%w: %s: %s", ErrInvalid, key, fmt.Sprintf(format, args...))
}

func (c *Config) checkAddresses() []error {
	errs := []error{
		checkSocket("address", c.Address), checkSocket("containerd-address", c.ContainerdAddress),
		checkPrivate("metrics-address", c.MetricsAddress), checkPrivate("pprof-address", c.PprofAddress),
	}
	for _, name := range slices.Sorted(maps.Keys(c.Engines)) {
		path := socketPath(c.Engines[name])
		c.Engines[name] = path
		errs = append(errs, checkEngine(name), checkSocket("engine "+name, path))
	}
	for _, name := range c.Graphdrivers {
		if !names().MatchString(name) {
			errs = append(errs, invalid("graphdriver", "%q may have only lower-case letters, digits, dots, dashes and underscores", name))
			continue
		}
		errs = append(errs, checkSocket("graphdriver", filepath.Join(c.GraphdriverDir, name+".sock")))
	}
	return append(errs, c.checkTwice()...)
}

func checkEngine(name string) error {
	switch {
	case !names().MatchString(name):
		return invalid("engine", "the name %q may have only lower-case letters, digits, dots, dashes and underscores", name)
	case name == "containerd", strings.HasPrefix(name, "docker-"):
		return invalid("engine", "the name %q is reserved for another part of the service", name)
	default:
		return nil
	}
}

// checkTwice finds sockets that are asked for twice.
func (c *Config) checkTwice() []error {
	var errs []error
	seen := map[string]string{}
	for _, s := range c.sockets() {
		key, path := s[0], s[1]
		if path == "" {
			continue
		}
		if other, twice := seen[path]; twice {
			errs = append(errs, invalid(key, "%s is that of %s already", path, other))
		}
		seen[path] = key
	}
	return errs
}

// sockets lists what the service listens on, as pairs of a name and an address.
func (c *Config) sockets() [][2]string {
	sockets := [][2]string{{"address", c.Address}, {"metrics-address", c.MetricsAddress}, {"pprof-address", c.PprofAddress}}
	for _, name := range slices.Sorted(maps.Keys(c.Engines)) {
		sockets = append(sockets, [2]string{"engine " + name, c.Engines[name]})
	}
	for _, name := range c.Graphdrivers {
		sockets = append(sockets, [2]string{"graphdriver " + name, filepath.Join(c.GraphdriverDir, name+".sock")})
	}
	return sockets
}

// socketPath is the path in an address, which may be written as unix:PATH or
// unix://PATH. The path of a path is the path itself, however many slashes it
// begins with.
func socketPath(address string) string {
	path, is := strings.CutPrefix(address, "unix:")
	if !is {
		return address
	}
	return strings.TrimPrefix(path, "//")
}

func checkSocket(key, path string) error {
	switch {
	case !filepath.IsAbs(path):
		return invalid(key, "%q is not the absolute path of a unix socket", path)
	case len(path) > maxSocket:
		return invalid(key, "%q has %d bytes; the path of a socket has at most %d", path, len(path), maxSocket)
	default:
		return nil
	}
}

// checkPrivate takes what only this machine can reach: a unix socket, or an
// address of the loopback network.
func checkPrivate(key, address string) error {
	if address == "" {
		return nil
	}
	if filepath.IsAbs(address) {
		return checkSocket(key, address)
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return invalid(key, "%q is neither the absolute path of a unix socket nor HOST:PORT", address)
	}
	if ip, err := netip.ParseAddr(host); err != nil || !ip.IsLoopback() {
		return invalid(key, "%q is not a loopback address such as 127.0.0.1; it is not protected by a password", host)
	}
	return nil
}

func (c *Config) checkRest() []error {
	var errs []error
	for key, dir := range map[string]string{"graphdriver-dir": c.GraphdriverDir, "graphdriver-mounts": c.GraphdriverMounts} {
		if !filepath.IsAbs(dir) {
			errs = append(errs, invalid(key, "%q is not an absolute path", dir))
		}
	}
	if c.Root == "" {
		errs = append(errs, invalid("root", "it is empty"))
	}
	if slices.Contains(c.Additional, "") {
		errs = append(errs, invalid("additional", "it is empty"))
	}
	if c.Driver != "" && !slices.Contains(all.Names(), c.Driver) {
		errs = append(errs, invalid("driver", "unknown driver %q; choose one of %s", c.Driver, strings.Join(all.Names(), ", ")))
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.LogLevel) {
		errs = append(errs, invalid("log-level", "unknown level %q; choose debug, info, warn or error", c.LogLevel))
	}
	if !slices.Contains([]string{"text", "json"}, c.LogFormat) {
		errs = append(errs, invalid("log-format", "unknown format %q; choose text or json", c.LogFormat))
	}
	if c.StopTimeout < 0 {
		errs = append(errs, invalid("stop-timeout", "%s is negative", c.StopTimeout))
	}
	if c.MaxMessageBytes < 64<<10 || c.MaxMessageBytes > 1<<30 {
		errs = append(errs, invalid("max-message-bytes", "%d is not between 65536 and 1073741824", c.MaxMessageBytes))
	}
	if c.MaxStreams < 1 || c.MaxStreams > 1<<20 {
		errs = append(errs, invalid("max-streams", "%d is not between 1 and 1048576", c.MaxStreams))
	}
	if every := c.Checks.Every; every != 0 && every < Duration(time.Second) {
		errs = append(errs, invalid("check-every", "%s is less than a second", every))
	}
	if c.Checks.Rate < 0 {
		errs = append(errs, invalid("check-rate", "%d bytes in a second", int64(c.Checks.Rate)))
	}
	return errs
}

// Changes lists the settings that differ between c and other: those that a
// running service takes over, and those that it does not.
func (c *Config) Changes(other *Config) (taken, restart []string) {
	ours, theirs := c.Fields(), other.Fields()
	for i := range ours {
		switch {
		case ours[i].Value.String() == theirs[i].Value.String():
		case ours[i].Changeable:
			taken = append(taken, ours[i].Key)
		default:
			restart = append(restart, ours[i].Key)
		}
	}
	return taken, restart
}
