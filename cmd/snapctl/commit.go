package main

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/spf13/cobra"
)

type commitOptions struct {
	name, key string
}

const commitLong = `Turn the active snapshot KEY into the committed snapshot NAME. A committed snapshot
never changes, and other snapshots can be made on it. KEY no longer exists afterwards.
KEY must not be mounted.

When the command returns, the whole snapshot is on the disk and survives a power cut.
The command prints NAME.`

const commitJSON = `{
  "name": "changed",
  "key": "work",
  "parent": "sha256:…",
  "bytes": 4096,
  "inodes": 2
}`

type commitResult struct {
	Name   string `json:"name"`
	Key    string `json:"key"`
	Parent string `json:"parent"`
	Bytes  int64  `json:"bytes"`
	Inodes int64  `json:"inodes"`
}

func newCommitCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "commit NAME KEY",
		Short:             "Turn a writable snapshot into a committed one",
		Long:              jsonHelp(commitLong, commitJSON),
		Args:              exactArgs(2),
		ValidArgsFunction: a.complete(keys(snapshots.KindActive), argAt(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runCommit(cmd.Context(), a, commitOptions{name: args[0], key: args[1]})
		},
	}
}

func runCommit(ctx context.Context, a *app, opts commitOptions) error {
	return a.withStore(ctx, func(st *store) error {
		result, err := st.commit(ctx, a, opts)
		if err != nil {
			return doing(err, "committing the snapshot %q as %q", opts.key, opts.name)
		}
		return a.line(result, "%s", escape(result.Name))
	})
}

func (st *store) commit(ctx context.Context, a *app, opts commitOptions) (commitResult, error) {
	if err := refuseMark(opts.name); err != nil {
		return commitResult{}, err
	}
	info, release, err := st.activeInfo(ctx, a, opts.key)
	if err != nil {
		return commitResult{}, err
	}
	defer release()
	if err := st.Commit(ctx, opts.name, opts.key, info.Labels); err != nil {
		return commitResult{}, explainTaken(err)
	}
	// It is committed: whoever interrupts us now must not be told that it is not.
	usage, err := st.Usage(context.WithoutCancel(ctx), opts.name)
	return commitResult{
		Name: opts.name, Key: opts.key, Parent: info.Parent, Bytes: usage.Size, Inodes: usage.Inodes,
	}, err
}

// activeInfo returns an active snapshot that is not mounted, so that it can be
// committed or applied to. No other command mounts it until release.
func (st *store) activeInfo(ctx context.Context, a *app, key string) (_ snapshots.Info, release func(), err error) {
	h, err := st.reserve(ctx, reservedMounts, reservedSnapshot(key))
	if err != nil {
		return snapshots.Info{}, nil, err
	}
	info, err := st.unmountedInfo(ctx, a, key)
	if err == nil {
		err = h.ReleaseOthers(reservedSnapshot(key))
	}
	if err != nil {
		h.Release()
		return snapshots.Info{}, nil, err
	}
	return info, h.Release, nil
}

func (st *store) unmountedInfo(ctx context.Context, a *app, key string) (snapshots.Info, error) {
	if err := refuseEngines(key); err != nil {
		return snapshots.Info{}, err
	}
	info, err := st.Stat(ctx, key)
	if err != nil {
		return info, err
	}
	if info.Kind != snapshots.KindActive {
		return info, advise(
			fmt.Errorf("%w: it is a %s snapshot, not an active one", errState, kindName(info.Kind)),
			"'snapctl prepare KEY PARENT' makes an active snapshot",
		)
	}
	if err := st.forgetGone(ctx, a); err != nil {
		return info, err
	}
	return info, st.refuseMounted(ctx, key)
}
