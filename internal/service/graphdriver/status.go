package graphdriver

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/core/snapshots"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/mount"
)

// status tells of the store, for "docker info".
func (d *Driver) status(ctx context.Context, _ struct{}) (response, error) {
	layers := 0
	err := d.scope.Walk(ctx, func(context.Context, snapshots.Info) error {
		layers++
		return nil
	})
	if err != nil {
		return response{}, err
	}
	backend := d.store.Driver()
	facts := backend.Properties()
	return response{Status: [][2]string{
		{"Driver", backend.Name()},
		{"Root", d.store.Root()},
		{"Scope", d.scope.Name()},
		{"Layers", strconv.Itoa(layers)},
		{"Mounted layers", strconv.Itoa(len(d.mounts.ids()))},
		{"Native diff", strconv.FormatBool(facts.NativeDiff)},
		{"Size limits", strconv.FormatBool(facts.Quota)},
	}}, nil
}

// metadata tells of one layer, for "docker inspect", with the names that
// Docker's own drivers use where there are any.
func (d *Driver) metadata(ctx context.Context, req request) (response, error) {
	l, err := d.find(ctx, req.ID)
	if err != nil {
		return response{}, err
	}
	full := d.scope.Full(l.name())
	data := map[string]string{
		"Snapshot":  full,
		"Kind":      strings.ToLower(l.info.Kind.String()),
		"Driver":    d.store.Driver().Name(),
		"MergedDir": d.mounts.target(l.id),
	}
	mounts, err := d.store.MountValues(ctx, full, driver.MountOptions{})
	if err != nil && !errors.Is(err, driver.ErrUnsupported) { // cannot be mounted here
		return response{}, fmt.Errorf("metadata of layer %s: %w", req.ID, err)
	}
	for _, m := range mounts {
		describe(m, data)
	}
	return response{Metadata: data}, nil
}

// describe adds the directories of a mount.
func describe(m mount.Mount, data map[string]string) {
	switch {
	case m.Overlay != nil:
		data["LowerDir"] = strings.Join(m.Overlay.Lower, ":")
		if m.Overlay.Upper != "" {
			data["UpperDir"], data["WorkDir"] = m.Overlay.Upper, m.Overlay.Work
		}
	case m.Type == "bind":
		data["Dir"] = m.Source
	}
}
