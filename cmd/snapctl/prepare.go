package main

import (
	"context"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/spf13/cobra"
)

type prepareOptions struct {
	key, parent string
	view        bool
	size        sizeFlag
	ids         idMapFlags
}

const prepareJSON = `{
  "key": "work",
  "kind": "active",
  "parent": "sha256:…",
  "image": "debian:12",
  "limit": 536870912
}`

// A prepared is the result of prepare and view.
type prepared struct {
	Key    string `json:"key"`
	Kind   string `json:"kind"`
	Parent string `json:"parent"`
	Image  string `json:"image"`
	Limit  int64  `json:"limit"`
}

const prepareLong = `Make the active snapshot KEY on PARENT, an image or a committed snapshot. Without
PARENT the snapshot is empty. The command prints KEY.

--size limits what the snapshot takes on the disk, without what it shares with its
parent. A program that writes more gets the error EDQUOT ("disk quota exceeded") or
ENOSPC. SIZE is in bytes, or with K, M, G, T, P or E in powers of 1024. Not every
backend can limit sizes; 'snapctl version' says which can.

` + idMapLong

func newPrepareCommand(a *app) *cobra.Command {
	var opts prepareOptions
	cmd := &cobra.Command{
		Use:               "prepare [--size SIZE] [--uidmap MAP --gidmap MAP] KEY [PARENT]",
		Short:             "Make a writable snapshot on a parent, or an empty one",
		Long:              jsonHelp(prepareLong, prepareJSON),
		Args:              rangeArgs(1, 2),
		ValidArgsFunction: a.complete(parents(), argAt(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.key = args[0]
			if len(args) > 1 {
				opts.parent = args[1]
			}
			if err := opts.ids.check("prepare"); err != nil {
				return err
			}
			return runPrepare(cmd.Context(), a, opts)
		},
	}
	addSizeFlag(cmd, &opts.size)
	addIDMapFlags(cmd, &opts.ids)
	return cmd
}

func runPrepare(ctx context.Context, a *app, opts prepareOptions) error {
	return a.withStore(ctx, func(st *store) error {
		if err := st.checkQuota(ctx, a, opts.size); err != nil {
			return doing(err, "preparing the snapshot %q", opts.key)
		}
		if err := st.checkIDMap(opts.ids); err != nil {
			return doing(err, "preparing the snapshot %q", opts.key)
		}
		result, err := st.prepare(ctx, opts)
		if err != nil {
			return err
		}
		return a.line(result, "%s", escape(result.Key))
	})
}

// prepare makes an active snapshot or a view.
func (st *store) prepare(ctx context.Context, opts prepareOptions) (prepared, error) {
	if err := refuseMark(opts.key); err != nil {
		return prepared{}, doing(err, "preparing the snapshot %q", opts.key)
	}
	kind, create := snapshots.KindActive, st.Create
	if opts.view {
		kind, create = snapshots.KindView, st.View
	}
	var p parent
	if opts.parent != "" {
		var err error
		if p, err = st.parent(ctx, opts.parent); err != nil {
			return prepared{}, doing(err, "preparing the snapshot %q on %q", opts.key, opts.parent)
		}
	}
	if err := create(ctx, opts.key, p.key, opts.ids.label(opts.size.limit(p.labels))); err != nil {
		return prepared{}, explainTaken(doing(err, "preparing the snapshot %q", opts.key))
	}
	return prepared{Key: opts.key, Kind: kindName(kind), Parent: p.key, Image: p.image, Limit: int64(opts.size)}, nil
}

// explainTaken says what to do about a key that is taken.
func explainTaken(err error) error {
	if exitCode(err) != exitExists {
		return err
	}
	return advise(err, "choose another key; 'snapctl ls' lists those that are taken")
}
