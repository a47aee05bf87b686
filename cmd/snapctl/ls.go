package main

import (
	"context"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/spf13/cobra"

	"github.com/layerkeep/layerkeep/snapshotter"
)

const lsLong = `List the snapshots, oldest first, with their images and with the directories where
snapctl has mounted them. Snapshots of engines are called @ENGINE/KEY. When there are
more than 1000 snapshots, they are listed in the order of their keys instead, while
they are read.

For a damaged snapshot a word follows its kind. A snapshot that is not committed can be
torn (a kill in the middle of applying a layer, a failed write of the disk, or a stop
of the machine after a mount with --volatile), missing, unreadable, quarantined (a
repair could not mend it) or unknown (it could not be checked). 'snapctl info' says
more.
For a committed snapshot the list only shows that the directory of the layer is missing
(not with aufs); 'snapctl check' checks committed snapshots.`

const lsJSON = `{
  "snapshots": [
    {
      "key": "sha256:…",
      "kind": "committed",
      "state": "",
      "parent": "",
      "images": [
        "debian:12"
      ],
      "mounts": [
        "/mnt"
      ],
      "scope": "",
      "limit": 0,
      "created": "2026-01-02T03:04:05Z"
    }
  ]
}`

// snapshotJSON is one snapshot in JSON.
type snapshotJSON struct {
	Key     string   `json:"key"`
	Kind    string   `json:"kind"`
	State   string   `json:"state"`
	Parent  string   `json:"parent"`
	Images  []string `json:"images"`
	Mounts  []string `json:"mounts"`
	Scope   string   `json:"scope"`
	Limit   int64    `json:"limit"`
	Created string   `json:"created"`
}

func newLsCommand(a *app) *cobra.Command {
	var scope string
	cmd := &cobra.Command{
		Use:               "ls [--scope NAME]",
		Short:             "List the snapshots",
		Long:              jsonHelp(lsLong, lsJSON),
		Args:              exactArgs(0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return runLs(cmd.Context(), a, scope) },
	}
	addScopeFlag(a, cmd, &scope)
	return cmd
}

func runLs(ctx context.Context, a *app, scope string) error {
	return a.withStore(ctx, func(st *store) error {
		list := newListing(a)
		images, err := st.imagesByKey(ctx)
		if err != nil {
			return err
		}
		mounts, err := st.mountsByKey(ctx)
		if err != nil {
			return err
		}
		err = st.WalkStates(ctx, func(info snapshots.Info, state snapshotter.LayerState) error {
			if !wantsScope(info.Name, scope) {
				return nil
			}
			s := newSnapshotJSON(info, images, mounts)
			s.State = string(state)
			return list.add(info, s)
		})
		if err != nil {
			return doing(err, "listing the snapshots")
		}
		return list.end()
	})
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// describe lists the snapshots with their images and mounts.
func (st *store) describe(ctx context.Context) ([]snapshotJSON, error) {
	infos, err := st.list(ctx)
	if err != nil {
		return nil, err
	}
	images, err := st.imagesByKey(ctx)
	if err != nil {
		return nil, err
	}
	mounts, err := st.mountsByKey(ctx)
	if err != nil {
		return nil, err
	}
	all := []snapshotJSON{}
	for _, info := range infos {
		all = append(all, newSnapshotJSON(info, images, mounts))
	}
	return all, nil
}

func newSnapshotJSON(info snapshots.Info, images, mounts map[string][]string) snapshotJSON {
	scope, _ := snapshotter.ScopeOf(info.Name)
	return snapshotJSON{
		Key: info.Name, Kind: kindName(info.Kind), Parent: info.Parent,
		Images: append([]string{}, images[info.Name]...), Mounts: append([]string{}, mounts[info.Name]...),
		Scope: scope, Limit: limitOf(info.Labels), Created: stamp(info.Created),
	}
}

// mountsByKey maps each snapshot to the targets where it is mounted.
func (st *store) mountsByKey(ctx context.Context) (map[string][]string, error) {
	records, err := st.mounts(ctx)
	targets := map[string][]string{}
	for _, r := range records {
		targets[r.Key] = append(targets[r.Key], r.Target)
	}
	return targets, err
}
