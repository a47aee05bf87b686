package config

import (
	"time"
)

// DefaultPath is the file that is read when no other is named; it may be
// missing.
const DefaultPath = "/etc/layerkeep/config.toml"

// DefaultAddress is the socket of the service.
const DefaultAddress = "/run/layerkeep/layerkeep.sock"

// Config is all that can be said about a service. The zero value is not usable:
// start with [Default].
type Config struct {
	// Root is the directory of the store; Driver its backend, empty for the
	// store's own.
	Root   string `toml:"root"`
	Driver string `toml:"driver"`
	// Metacopy: with overlay2, changing the owner or the mode of a file of the
	// image copies its attributes alone, see driver.Options.
	Metacopy bool `toml:"metacopy"`
	// Additional are the directories of additional stores, whose images are used
	// and which are only read.
	Additional []string `toml:"additional"`

	// Address is the unix socket of the service; the engine behind it has the
	// scope "containerd". Engines names further sockets by the scope of each.
	Address string            `toml:"address"`
	Engines map[string]string `toml:"engine"`

	// ContainerdAddress is the socket of the engine whose content store the
	// differ reads and writes.
	ContainerdAddress string `toml:"containerd-address"`

	// Graphdrivers names the Docker plugins, each with a socket NAME.sock in
	// GraphdriverDir; what they mount is below GraphdriverMounts.
	Graphdrivers      []string `toml:"graphdriver"`
	GraphdriverDir    string   `toml:"graphdriver-dir"`
	GraphdriverMounts string   `toml:"graphdriver-mounts"`

	// MetricsAddress and PprofAddress are unix sockets or loopback addresses;
	// empty: not served.
	MetricsAddress string `toml:"metrics-address"`
	PprofAddress   string `toml:"pprof-address"`

	// LogLevel is debug, info, warn or error; LogFormat text or json. LogFile is
	// empty for standard error.
	LogLevel  string `toml:"log-level"`
	LogFormat string `toml:"log-format"`
	LogFile   string `toml:"log-file"`

	// StopTimeout is how long calls in flight may take to end when the service
	// stops, before they are cancelled.
	StopTimeout Duration `toml:"stop-timeout"`
	// MaxMessageBytes bounds one message in each direction, MaxStreams the calls
	// at one time on one connection.
	MaxMessageBytes int `toml:"max-message-bytes"`
	MaxStreams      int `toml:"max-streams"`

	// Limit bounds what one layer may ask for that is applied or imported.
	Limit Limits `toml:"limit"`

	// Checks say when the service checks its store by itself.
	Checks Checks `toml:"check"`
}

// Checks say when a service checks its store by itself, and how.
type Checks struct {
	// Every is the time from the end of one check to the next; 0: none.
	Every Duration `toml:"every"`
	// Rate is how many bytes in a second it reads at most.
	Rate Size `toml:"rate"`
	// ReadData: it reads every byte.
	ReadData bool `toml:"read-data"`
}

// Default returns the configuration when nobody says otherwise.
func Default() Config {
	return Config{
		Root:              "/var/lib/layerkeep",
		Address:           DefaultAddress,
		Additional:        []string{},
		Engines:           map[string]string{},
		ContainerdAddress: "/run/containerd/containerd.sock",
		Graphdrivers:      []string{},
		GraphdriverDir:    "/run/docker/plugins",
		GraphdriverMounts: "/run/layerkeep/graph",
		LogLevel:          "info",
		LogFormat:         "text",
		StopTimeout:       Duration(30 * time.Second),
		MaxMessageBytes:   16 << 20,
		MaxStreams:        1024,
		Checks:            Checks{Rate: 20 << 20, ReadData: true},
	}
}

// A Duration is a time.Duration that is written as Go writes it: "1m30s".
type Duration time.Duration

// UnmarshalText reads what time.ParseDuration reads.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = Duration(v)
	return err
}

// MarshalText is the inverse of UnmarshalText.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// String returns the duration as text.
func (d Duration) String() string { return time.Duration(d).String() }
