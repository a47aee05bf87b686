package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/layerkeep/layerkeep/driver"
)

// Limits bound what one layer may ask for, as text: NAME=VALUE, separated by
// commas. The names are entries, bytes, ratio, depth, header and memory; bytes,
// header and memory are sizes as [ParseSize] reads them. What is not named has
// its default.
type Limits string

type limitName struct {
	name string
	size bool // the value is a size in bytes, else a number
	set  func(l *driver.Limits, n int64)
}

var limitNames = []limitName{
	{"entries", false, func(l *driver.Limits, n int64) { l.Entries = n }},
	{"bytes", true, func(l *driver.Limits, n int64) { l.Bytes = n }},
	{"ratio", false, func(l *driver.Limits, n int64) { l.Ratio = n }},
	{"depth", false, func(l *driver.Limits, n int64) { l.PathDepth = int(n) }},
	{"header", true, func(l *driver.Limits, n int64) { l.PAXBytes = n }},
	{"memory", true, func(l *driver.Limits, n int64) { l.Memory = n }},
}

// ParseLimits returns the limits that a text means.
func ParseLimits(text string) (driver.Limits, error) {
	var l driver.Limits
	seen := map[string]bool{}
	for part := range strings.SplitSeq(text, ",") {
		if text == "" {
			break
		}
		name, value, ok := strings.Cut(part, "=")
		name = strings.TrimSpace(name)
		i := slices.IndexFunc(limitNames, func(n limitName) bool { return n.name == name })
		if !ok || i < 0 {
			return driver.Limits{}, fmt.Errorf("%q is no limit: it is NAME=VALUE, with a name of %s", part, limitList())
		}
		if seen[name] {
			return driver.Limits{}, fmt.Errorf("the limit %s is given twice", name)
		}
		seen[name] = true
		n, err := limitNames[i].parse(strings.TrimSpace(value))
		if err != nil {
			return driver.Limits{}, fmt.Errorf("the limit %s: %w", name, err)
		}
		limitNames[i].set(&l, n)
	}
	return l, nil
}

func (n limitName) parse(value string) (int64, error) {
	if n.size {
		return ParseSize(value)
	}
	v, err := strconv.ParseInt(value, 10, 64)
	if err != nil || v < 1 || n.name == "depth" && v > 1<<30 {
		return 0, fmt.Errorf("%q is not a number of at least 1", value)
	}
	return v, nil
}

func limitList() string {
	var names []string
	for _, n := range limitNames {
		names = append(names, n.name)
	}
	return strings.Join(names, ", ")
}

// Limits returns what the text means. The text was checked when it was set.
func (l *Limits) Limits() driver.Limits {
	limits, _ := ParseLimits(string(*l))
	return limits
}

// Set takes what ParseLimits reads.
func (l *Limits) Set(text string) error {
	_, err := ParseLimits(text)
	if err == nil {
		*l = Limits(text)
	}
	return err
}

// UnmarshalText is Set.
func (l *Limits) UnmarshalText(text []byte) error { return l.Set(string(text)) }

// String returns the text.
func (l *Limits) String() string { return string(*l) }

// Type names the kind of the value in the help of a flag.
func (l *Limits) Type() string { return "LIMITS" }
