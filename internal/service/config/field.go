package config

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// A Value is one setting behind a flag, as package pflag wants it.
type Value interface {
	String() string
	Set(text string) error
	Type() string
}

// A Field is one setting: a flag and a key of the file.
type Field struct {
	// Key is the flag, and the key in the file, where Table is empty; else it is
	// that of the table, a dash and the key in it.
	Key, Table string
	// Help says what it is, in one line; the name of its argument is in
	// backquotes.
	Help string
	// Value reads and writes the setting of the configuration it was made for.
	Value Value
	// Changeable reports whether a running service can take a new value from the
	// file.
	Changeable bool
}

// Fields lists the settings of c, in the order in which they are printed.
func (c *Config) Fields() []Field {
	return []Field{
		{Key: "root", Help: "use the store in `DIR`", Value: (*text)(&c.Root)},
		{Key: "driver", Help: "backend `NAME` (empty: the backend of the store; for a new store the best that works)", Value: (*text)(&c.Driver)},
		{Key: "metacopy", Help: "with overlay2, copy only the attributes of a file when its owner or mode changes, which makes chown -R fast", Value: (*truth)(&c.Metacopy)},
		{Key: "additional", Help: "also use the images of the store in `DIR`, which is only read (may be repeated)", Value: (*list)(&c.Additional)},
		{Key: "address", Help: "listen on the unix socket `PATH`, as containerd's snapshotter", Value: (*text)(&c.Address)},
		{Key: "engine", Help: "listen for one more engine, as `NAME=PATH`; it sees only its own snapshots (may be repeated)", Value: (*table)(&c.Engines)},
		{Key: "containerd-address", Help: "read and write layer blobs through containerd's socket `PATH`", Value: (*text)(&c.ContainerdAddress)},
		{Key: "graphdriver", Help: "serve as Docker's graph driver plugin `NAME` (may be repeated)", Value: (*list)(&c.Graphdrivers)},
		{Key: "graphdriver-dir", Help: "make the sockets of the plugins in `DIR`", Value: (*text)(&c.GraphdriverDir)},
		{Key: "graphdriver-mounts", Help: "let the plugins mount below `DIR`", Value: (*text)(&c.GraphdriverMounts)},
		{Key: "metrics-address", Help: "serve Prometheus metrics on `ADDR`, a unix socket or a loopback address (empty: no metrics)", Value: (*text)(&c.MetricsAddress)},
		{Key: "pprof-address", Help: "serve profiles on `ADDR`, a unix socket or a loopback address (empty: no profiles)", Value: (*text)(&c.PprofAddress)},
		{Key: "log-level", Help: "log at `LEVEL`: debug, info, warn or error", Value: (*text)(&c.LogLevel), Changeable: true},
		{Key: "log-format", Help: "log in `FORMAT`: text or json", Value: (*text)(&c.LogFormat)},
		{Key: "log-file", Help: "append the log to `FILE`; SIGHUP opens it again (empty: standard error)", Value: (*text)(&c.LogFile)},
		{Key: "stop-timeout", Help: "when stopping, cancel calls that take longer than `DURATION`", Value: (*span)(&c.StopTimeout)},
		{Key: "max-message-bytes", Help: "refuse messages of more than `N` bytes", Value: (*number)(&c.MaxMessageBytes)},
		{Key: "max-streams", Help: "run at most `N` calls at the same time on one connection", Value: (*number)(&c.MaxStreams)},
		{Key: "limit", Help: "refuse layers that exceed `LIMITS`, for example bytes=2TiB,memory=1GiB; the names are entries, bytes, ratio, depth, header, memory (empty: the defaults)", Value: &c.Limit},
		{Key: "check-every", Table: "check", Help: "look for damage in the store every `DURATION`, for example 168h (0s: never)", Value: (*span)(&c.Checks.Every)},
		{Key: "check-rate", Table: "check", Help: "in these checks read at most `SIZE` per second, at low priority (empty: no limit)", Value: (*size)(&c.Checks.Rate)},
		{Key: "check-read-data", Table: "check", Help: "in these checks read every byte", Value: (*truth)(&c.Checks.ReadData)},
	}
}

type text string

func (t *text) String() string     { return string(*t) }
func (t *text) Set(s string) error { *t = text(s); return nil }
func (t *text) Type() string       { return "string" }

type number int

func (n *number) String() string { return strconv.Itoa(int(*n)) }
func (n *number) Type() string   { return "int" }

func (n *number) Set(s string) error {
	v, err := strconv.Atoi(s)
	*n = number(v)
	return err
}

type span Duration

func (d *span) String() string     { return Duration(*d).String() }
func (d *span) Set(s string) error { return (*Duration)(d).UnmarshalText([]byte(s)) }
func (d *span) Type() string       { return "duration" }

type size Size

func (s *size) String() string        { return Size(*s).String() }
func (s *size) Set(text string) error { return (*Size)(s).UnmarshalText([]byte(text)) }
func (s *size) Type() string          { return "SIZE" }

type truth bool

func (b *truth) String() string { return strconv.FormatBool(bool(*b)) }
func (b *truth) Type() string   { return "bool" }

func (b *truth) Set(s string) error {
	v, err := strconv.ParseBool(s)
	*b = truth(v)
	return err
}

// list is a setting that is given once for each of its items. The first Set
// replaces what the file said: see Config.Merge.
type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }
func (l *list) Type() string       { return "string" }

// table is a setting of pairs, each given as NAME=PATH.
type table map[string]string

func (t *table) Type() string { return "string" }

func (t *table) String() string {
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(*t)) {
		pairs = append(pairs, name+"="+(*t)[name])
	}
	return strings.Join(pairs, ",")
}

func (t *table) Set(s string) error {
	name, path, ok := strings.Cut(s, "=")
	if !ok || name == "" || path == "" {
		return fmt.Errorf("%q is not NAME=PATH", s)
	}
	if *t == nil {
		*t = table{}
	}
	if _, twice := (*t)[name]; twice {
		return fmt.Errorf("engine %q is given twice", name)
	}
	(*t)[name] = path
	return nil
}
