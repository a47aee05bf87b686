package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"

	"github.com/layerkeep/layerkeep/check"
)

const infoLong = `Show what is known about the snapshot KEY, or about the snapshot of an image: its kind,
its parents (nearest first), its labels, what it takes on the disk without its parents,
and its size limit.

The command checks the record and the root directory of the snapshot's own layer, and
the records of its parents. It names damage together with the command that repairs or
removes it. 'snapctl check' checks more.`

const infoJSON = `{
  "key": "work",
  "kind": "active",
  "state": "torn",
  "damage": [
    {
      "key": "work",
      "state": "torn",
      "what": "it is torn, and can only be removed",
      "command": "snapctl rm work"
    }
  ],
  "parent": "sha256:…",
  "parents": [
    "sha256:…"
  ],
  "images": [],
  "mounts": [
    "/mnt"
  ],
  "driver": "overlay2",
  "bytes": 4096,
  "inodes": 2,
  "limit": 536870912,
  "labels": {
    "layerkeep.dev/snapctl.image": "debian:12"
  },
  "created": "2026-01-02T03:04:05Z",
  "updated": "2026-01-02T03:04:05Z"
}`

type infoResult struct {
	Key     string            `json:"key"`
	Kind    string            `json:"kind"`
	State   string            `json:"state"`
	Damage  []layerDamageJSON `json:"damage"`
	Parent  string            `json:"parent"`
	Parents []string          `json:"parents"`
	Images  []string          `json:"images"`
	Mounts  []string          `json:"mounts"`
	Driver  string            `json:"driver"`
	Bytes   int64             `json:"bytes"`
	Inodes  int64             `json:"inodes"`
	Limit   int64             `json:"limit"`
	Labels  map[string]string `json:"labels"`
	Created string            `json:"created"`
	Updated string            `json:"updated"`
}

func newInfoCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "info KEY",
		Short:             "Show what is known about a snapshot",
		Long:              jsonHelp(infoLong, infoJSON),
		Args:              exactArgs(1),
		ValidArgsFunction: a.complete(either(imageNames, allKeys()), argAt(0)),
		RunE:              func(cmd *cobra.Command, args []string) error { return runInfo(cmd.Context(), a, args[0]) },
	}
}

func runInfo(ctx context.Context, a *app, name string) error {
	return a.withStore(ctx, func(st *store) error {
		key, err := st.key(ctx, name)
		if err != nil {
			return doing(err, "looking up %q", name)
		}
		result, err := st.info(ctx, key)
		if err != nil {
			return doing(err, "looking up the snapshot %q", key)
		}
		return a.result(result, func(w io.Writer) error { return result.print(w) })
	})
}

// key finds the snapshot that a name means: an image's, or the one of that key.
func (st *store) key(ctx context.Context, name string) (string, error) {
	if img, err := st.Image(ctx, name); err == nil {
		return img.Snapshot, nil
	}
	_, err := st.Stat(ctx, name)
	if errdefs.IsNotFound(err) {
		return "", as(errMissing, check.ErrNoName)
	}
	return name, err
}

func (st *store) info(ctx context.Context, key string) (infoResult, error) {
	info, err := st.Stat(ctx, key)
	if err != nil {
		return infoResult{}, err
	}
	damage, err := st.Damage(ctx, key)
	if err != nil {
		return infoResult{}, err
	}
	usage, err := st.Usage(ctx, key)
	if err != nil && stateIn(damage, key) == "" {
		return infoResult{}, err
	}
	images, err := st.imagesByKey(ctx)
	if err != nil {
		return infoResult{}, err
	}
	mounts, err := st.mountsByKey(ctx)
	if err != nil {
		return infoResult{}, err
	}
	s := newSnapshotJSON(info, images, mounts)
	result := infoResult{
		Key: s.Key, Kind: s.Kind, State: stateIn(damage, key), Damage: newLayerDamageJSON(damage), Parent: s.Parent, Parents: []string{}, Images: s.Images, Mounts: s.Mounts,
		Driver: st.DriverName(), Bytes: usage.Size, Inodes: usage.Inodes, Limit: s.Limit, Labels: info.Labels,
		Created: s.Created, Updated: stamp(info.Updated),
	}
	if result.Labels == nil {
		result.Labels = map[string]string{}
	}
	for p := info.Parent; p != ""; p = info.Parent {
		if info, err = st.Stat(ctx, p); err != nil {
			return infoResult{}, err
		}
		result.Parents = append(result.Parents, p)
	}
	return result, nil
}

func (r infoResult) print(w io.Writer) error {
	fields := [][2]string{
		{"key", r.Key},
		{"kind", withState(r.Kind, r.State)},
		{"images", orDash(strings.Join(r.Images, ", "))},
		{"mounted", orDash(strings.Join(r.Mounts, ", "))},
		{"driver", r.Driver},
		{"size", fmt.Sprintf("%s, %d %s", size(r.Bytes), r.Inodes, plural(int(r.Inodes), "inode", "inodes"))},
		{"limit", limitText(r.Limit)},
		{"created", r.Created},
		{"updated", r.Updated},
	}
	for _, d := range r.Damage {
		fields = append(fields, [2]string{"damage", d.text()})
	}
	for i, p := range r.Parents {
		fields = append(fields, [2]string{plural(i+1, "parents", ""), p})
	}
	for _, k := range slices.Sorted(maps.Keys(r.Labels)) {
		fields = append(fields, [2]string{"label", k + "=" + r.Labels[k]})
	}
	for _, f := range fields {
		if _, err := fmt.Fprintf(w, "%-9s%s\n", f[0], escape(f[1])); err != nil {
			return err
		}
	}
	return nil
}
