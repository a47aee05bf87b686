package main

import (
	"context"

	"github.com/spf13/cobra"
)

const renameLong = `Give the snapshot KEY the name NEW. No other snapshot may have this name. Snapshots that
were made on KEY stay on it. KEY must not be mounted. The snapshots of an image's layers
and of engines cannot be renamed. If other stores use this one with --additional, do not
rename what they use: they find it by its name.

The command prints NEW.`

const renameJSON = `{
  "key": "work",
  "name": "shop"
}`

type renameResult struct {
	Key  string `json:"key"`
	Name string `json:"name"`
}

func newRenameCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "rename KEY NEW",
		Short:             "Give a snapshot another name",
		Long:              jsonHelp(renameLong, renameJSON),
		Args:              exactArgs(2),
		ValidArgsFunction: a.complete(allKeys(), argAt(0)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runRename(cmd.Context(), a, renameResult{Key: args[0], Name: args[1]})
		},
	}
}

func runRename(ctx context.Context, a *app, r renameResult) error {
	return a.withStore(ctx, func(st *store) error {
		if err := st.rename(ctx, a, r); err != nil {
			return doing(err, "renaming the snapshot %q to %q", r.Key, r.Name)
		}
		return a.line(r, "%s", escape(r.Name))
	})
}

func (st *store) rename(ctx context.Context, a *app, r renameResult) error {
	if err := refuseMark(r.Name); err != nil {
		return err
	}
	if err := refuseEngines(r.Key); err != nil {
		return err
	}
	h, err := st.reserve(ctx, reservedMounts, reservedSnapshot(r.Key), reservedSnapshot(r.Name))
	if err != nil {
		return err
	}
	defer h.Release()
	if err := st.forgetGone(ctx, a); err != nil {
		return err
	}
	if err := st.refuseMounted(ctx, r.Key); err != nil {
		return err
	}
	err = st.refuseImage(ctx, r.Key, func(name string) string {
		return "import it again under another name, or 'snapctl prepare KEY " + name + "' makes a snapshot of your own on it"
	})
	if err != nil {
		return err
	}
	return explainTaken(st.Rename(ctx, r.Key, r.Name))
}
