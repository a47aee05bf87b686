package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/mount"
)

const rmLong = `Remove snapshots: active snapshots, views and committed snapshots. The command refuses a
snapshot that is mounted, that has snapshots on it, or that belongs to an image. When
you name several snapshots, it removes upper ones before lower ones, in whatever order
you name them.

A snapshot of an engine (@ENGINE/...) needs --force. Use it only for an engine that no
longer exists: a running engine fails when its snapshots disappear.

The command prints the keys of the removed snapshots.`

const rmJSON = `{
  "removed": [
    "work"
  ]
}`

type rmResult struct {
	Removed []string `json:"removed"`
}

func newRmCommand(a *app) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:               "rm [--force] KEY...",
		Short:             "Remove snapshots",
		Long:              jsonHelp(rmLong, rmJSON),
		Args:              minArgs(1),
		ValidArgsFunction: a.complete(allKeys(), everyArg),
		RunE:              func(cmd *cobra.Command, args []string) error { return runRm(cmd.Context(), a, args, force) },
	}
	cmd.Flags().BoolVar(&force, "force", false, "also remove snapshots of engines")
	return cmd
}

// runRm removes what it can; the errors of the rest come joined.
func runRm(ctx context.Context, a *app, keys []string, force bool) error {
	return a.withStore(ctx, func(st *store) error {
		h, err := st.reserve(ctx, reservedKeys(keys)...)
		if err != nil {
			return err
		}
		defer h.Release()
		if err := st.forgetGone(ctx, a); err != nil {
			return err
		}
		ordered, err := st.childrenFirst(ctx, keys)
		if err != nil {
			return err
		}
		result := rmResult{Removed: []string{}}
		var errs []error
		for _, key := range ordered {
			err := st.remove(ctx, key, force)
			if err == nil {
				result.Removed = append(result.Removed, key)
			}
			errs = append(errs, doing(err, "removing the snapshot %q", key))
		}
		errs = append(errs, a.result(result, func(w io.Writer) error { return lines(w, result.Removed) }))
		return someRemoved(ctx, result.Removed, errors.Join(errs...))
	})
}

// someRemoved says of an interrupted removal that a part of it is done.
func someRemoved(ctx context.Context, removed []string, err error) error {
	if len(removed) == 0 || ctx.Err() == nil {
		return err
	}
	return advise(err, "the listed ones are removed; run this again to remove the others")
}

// childrenFirst sorts keys so that no snapshot comes before one built on it.
// Twice the same key is one.
func (st *store) childrenFirst(ctx context.Context, keys []string) ([]string, error) {
	infos, err := st.list(ctx)
	if err != nil {
		return nil, err
	}
	parents := map[string]string{}
	for _, info := range infos {
		parents[info.Name] = info.Parent
	}
	depth := func(key string) int {
		n := 0
		for key != "" && n <= len(infos) {
			key = parents[key]
			n++
		}
		return n
	}
	var ordered []string
	for _, k := range keys {
		if !slices.Contains(ordered, k) {
			ordered = append(ordered, k)
		}
	}
	slices.SortStableFunc(ordered, func(a, b string) int { return depth(b) - depth(a) })
	return ordered, nil
}

func (st *store) remove(ctx context.Context, key string, force bool) error {
	if !force {
		if err := refuseEngines(key); err != nil {
			return err
		}
	}
	if err := st.refuseMounted(ctx, key); err != nil {
		return err
	}
	err := st.refuseImage(ctx, key, func(name string) string { return "'snapctl rmi " + name + "' removes the image" })
	if err != nil {
		return err
	}
	err = st.Remove(ctx, key, force)
	if exitCode(err) == exitState && !errors.Is(err, driver.ErrBusy) && !errors.Is(err, driver.ErrReadOnly) {
		return advise(err, "remove what is built on it first; 'snapctl tree' shows it")
	}
	return err
}

// refuseImage refuses a snapshot that is an image; advice says what to do with
// the image, whose name it gets quoted.
func (st *store) refuseImage(ctx context.Context, key string, advice func(name string) string) error {
	images, err := st.imagesByKey(ctx)
	if err != nil || len(images[key]) == 0 {
		return err
	}
	name := images[key][0]
	return advise(fmt.Errorf("%w: it is the image %q", errState, name), advice(mount.Quote(name)))
}
