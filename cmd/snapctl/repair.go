package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/layerkeep/layerkeep/image"
	"github.com/layerkeep/layerkeep/snapshotter"
)

const repairLong = `Give layers that no snapshot has their snapshots again, and images that are not in the
list of images their names, as the records that are kept beside them tell. Layers
have none after an older copy of meta.db was put back.

With --rebuild it does so for a store whose meta.db is lost or damaged: it makes a new
one. The old one stays beside it. Labels are those of when a snapshot was made or
committed, and records of mounts are lost: unmount with umount(8).

--dry-run says what would be done and does nothing. No snapshot,
layer or blob is deleted, but for what killed imports have left.`

const repairJSON = `{
  "snapshots": [
    {
      "layer": "7",
      "key": "work",
      "kind": "active",
      "renamed": false,
      "problem": ""
    }
  ],
  "images": [
    {
      "name": "debian:12",
      "problem": ""
    }
  ],
  "database": "/var/lib/layerkeep/meta.db.damaged-20260102T030405",
  "header": false
}`

type repairResult struct {
	Snapshots []restoredJSON      `json:"snapshots"`
	Images    []restoredImageJSON `json:"images"`
	Database  string              `json:"database"`
	Header    bool                `json:"header"`
}

type restoredJSON struct {
	Layer   string `json:"layer"`
	Key     string `json:"key"`
	Kind    string `json:"kind"`
	Renamed bool   `json:"renamed"`
	Problem string `json:"problem"`
}

type restoredImageJSON struct {
	Name    string `json:"name"`
	Problem string `json:"problem"`
}

func newRepairCommand(a *app) *cobra.Command {
	var rebuild, dryRun bool
	cmd := &cobra.Command{
		Use:               "repair [--rebuild] [--dry-run]",
		Short:             "Give lost layers their snapshots again",
		Long:              jsonHelp(repairLong, repairJSON),
		Args:              exactArgs(0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if rebuild {
				return runRebuild(cmd.Context(), a, dryRun)
			}
			return runRepair(cmd.Context(), a, dryRun)
		},
	}
	cmd.Flags().BoolVar(&rebuild, "rebuild", false, "make a new meta.db in the place of one that is lost or damaged")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be done")
	return cmd
}

func runRepair(ctx context.Context, a *app, dryRun bool) error {
	return a.withStore(ctx, func(st *store) error {
		o, ok := st.openHere()
		if !ok {
			return advise(as(errState, errors.New("a service has the store open, and a repair needs it alone")),
				"stop the service for the time of the repair")
		}
		layers, err := o.snaps.Restore(ctx, dryRun)
		if err != nil {
			return doing(err, "repairing the store %s", a.global.root)
		}
		return a.finishRepair(ctx, o.images, snapshotter.Rebuilt{Layers: layers}, dryRun)
	})
}

func runRebuild(ctx context.Context, a *app, dryRun bool) error {
	if err := a.refuseReadOnly("repair --rebuild", "it makes files of the store again"); err != nil {
		return err
	}
	snaps, done, err := snapshotter.Rebuild(ctx, a.global.root, snapshotter.Options{
		Driver: a.global.driver, LockTimeout: lockTimeout, Logger: a.log,
	}, dryRun)
	if errors.Is(err, snapshotter.ErrSound) {
		return advise(as(errState, err), "'snapctl repair' without --rebuild is for layers that it does not name")
	}
	if err != nil {
		return err
	}
	if dryRun {
		a.note("which images would be there again is not known before the database is made")
		return a.printRepair(newRepairResult(done, nil), dryRun)
	}
	images, err := image.Open(snaps)
	if err == nil {
		err = a.finishRepair(ctx, images, done, false)
	}
	return errors.Join(err, doing(snaps.Close(), "closing the store %s", a.global.root))
}

// finishRepair restores the images on the snapshots that are there again.
func (a *app) finishRepair(ctx context.Context, images *image.Store, done snapshotter.Rebuilt, dryRun bool) error {
	coming := map[string]bool{}
	for _, l := range done.Layers {
		coming[l.Name] = dryRun && l.Err == nil
	}
	restored, err := images.Restore(ctx, dryRun, func(key string) bool { return coming[key] })
	if err != nil {
		return doing(err, "repairing the images of the store %s", a.global.root)
	}
	return a.printRepair(newRepairResult(done, restored), dryRun)
}

func newRepairResult(done snapshotter.Rebuilt, images []image.Restored) repairResult {
	r := repairResult{Snapshots: []restoredJSON{}, Images: []restoredImageJSON{}, Database: done.Old, Header: done.Header}
	for _, l := range done.Layers {
		r.Snapshots = append(r.Snapshots, restoredJSON{
			Layer: string(l.Layer), Key: l.Name, Kind: string(l.Kind), Renamed: l.Renamed, Problem: problem(l.Err),
		})
	}
	for _, i := range images {
		r.Images = append(r.Images, restoredImageJSON{Name: i.Name, Problem: problem(i.Err)})
	}
	return r
}

func problem(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// printRepair prints the result, and returns an error when something could not be
// repaired.
func (a *app) printRepair(r repairResult, dryRun bool) error {
	left := 0
	err := a.result(r, func(w io.Writer) error {
		is := "is"
		if dryRun {
			is = "would be"
		}
		var err error
		line := func(format string, args ...any) {
			if err == nil {
				_, err = fmt.Fprintln(w, escapeLine(fmt.Sprintf(format, args...)))
			}
		}
		if r.Header {
			line("layerkeep.json %s made again", is)
		}
		if r.Database != "" {
			line("the old database is %s", r.Database)
		}
		for _, s := range r.Snapshots {
			if s.Problem != "" {
				line("layer %s is left as it is: %s", s.Layer, s.Problem)
				continue
			}
			line("layer %s %s the %s snapshot %s again", s.Layer, is, s.Kind, s.Key)
		}
		for _, i := range r.Images {
			if i.Problem != "" {
				line("image %s is left out: %s", i.Name, i.Problem)
				continue
			}
			line("image %s %s there again", i.Name, is)
		}
		if len(r.Snapshots)+len(r.Images) == 0 && !r.Header && r.Database == "" {
			line("nothing to repair")
		}
		return err
	})
	for _, s := range r.Snapshots {
		if s.Problem != "" {
			left++
		}
	}
	for _, i := range r.Images {
		if i.Problem != "" {
			left++
		}
	}
	if err == nil && left > 0 {
		return fmt.Errorf("%w that could not be repaired in the store %s: %d %s", errDamage, a.global.root, left, plural(left, "thing", "things"))
	}
	return err
}
