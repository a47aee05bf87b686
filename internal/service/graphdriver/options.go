package graphdriver

import (
	"context"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/layerkeep/layerkeep/snapshotter"
)

// activate tells what kind of plugin this is.
func (d *Driver) activate(context.Context, struct{}) (response, error) {
	return response{Implements: []string{"GraphDriver"}}, nil
}

// init begins the work with an engine that has just started, which knows
// nothing of mounts that an earlier one has asked for.
func (d *Driver) init(_ context.Context, req initRequest) (response, error) {
	if len(req.Opts) > 0 {
		return response{}, fmt.Errorf("storage options of the daemon are not supported, found %q: %w", req.Opts, errdefs.ErrInvalidArgument)
	}
	if len(req.UIDMaps) > 0 || len(req.GIDMaps) > 0 {
		return response{}, fmt.Errorf("user namespaces are not supported by this graph driver, switch userns-remap off: %w",
			errdefs.ErrNotImplemented)
	}
	d.mounts.forgetCounts()
	return response{}, nil
}

func (d *Driver) capabilities(context.Context, struct{}) (response, error) {
	return response{Capabilities: &capabilities{}}, nil
}

// checkMountLabel refuses SELinux labels: a layer would be mounted without one.
func checkMountLabel(label string) error {
	if label != "" {
		return fmt.Errorf("mount label %q: SELinux labels are not supported by this graph driver, switch selinux-enabled off: %w",
			label, errdefs.ErrNotImplemented)
	}
	return nil
}

// labelsOf turns storage options of one layer into labels of its snapshot. The
// only one is "size".
func labelsOf(opts map[string]string) (map[string]string, error) {
	labels := map[string]string{}
	for name, value := range opts {
		if !strings.EqualFold(name, "size") {
			return nil, fmt.Errorf("unknown storage option %q, there is only size: %w", name, errdefs.ErrInvalidArgument)
		}
		size, err := parseSize(value)
		if err != nil {
			return nil, fmt.Errorf("storage option size: %w", err)
		}
		if size > 0 {
			labels[snapshotter.LabelSize] = strconv.FormatInt(size, 10)
		}
	}
	return labels, nil
}

var sizes = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?) ?([kmgtp]?)(?:i?b)?$`)
})

// parseSize reads a size as Docker does: "10G" is 10 times 2 to the 30th bytes,
// and so are "10g", "10GB" and "10GiB".
func parseSize(text string) (int64, error) {
	m := sizes().FindStringSubmatch(strings.ToLower(text))
	if m == nil {
		return 0, fmt.Errorf("%q is not a size: %w", text, errdefs.ErrInvalidArgument)
	}
	number, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a size: %w", text, errdefs.ErrInvalidArgument)
	}
	if m[2] != "" {
		number *= math.Pow(1024, float64(1+strings.Index("kmgtp", m[2])))
	}
	if number >= math.MaxInt64 {
		return 0, fmt.Errorf("%q is too large: %w", text, errdefs.ErrInvalidArgument)
	}
	return int64(number), nil
}
