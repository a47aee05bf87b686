package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/layerkeep/layerkeep/image"
	"github.com/layerkeep/layerkeep/repair"
	"github.com/layerkeep/layerkeep/snapshotter"
)

const repairLong = `Repair the store in two steps. The first step finds layers that have no snapshot, and
images that are not in the list of images: this happens after an older copy of meta.db
was put back. It restores the snapshots and names from the records beside the layers.

The second step checks the store, as 'snapctl check' does, and repairs what it can.
--read-data has the same meaning as there.

- The layer of an image, or a layer that was committed and exported, is unpacked again
  from its blob. It keeps its name, and snapshots on it continue to work. Existing
  mounts keep the old files until they are unmounted.
- A record is written again from the database, if only the record of a layer is lost.
- A blob is made again from its layer, if that gives the same bytes.
- On btrfs and vfs layers are copies. The command checks the copies above a repaired
  layer again. It repairs those that have blobs, and names the others.
- What cannot be repaired is named together with everything on it, and goes into
  quarantine. It stays as it is: it can be compared, exported and removed. But nothing
  new can be made on it, and it cannot be mounted, until it is made again or a later
  repair finds it sound. The exit code is then 8.

--rebuild is for a store whose meta.db is lost or damaged. The command makes a new one,
and keeps the old one beside it. Images whose names are lost too are then called
recovered:... Snapshots get the labels that they had when they were made or committed.
Records of mounts are lost: unmount with umount(8). Then run repair without --rebuild,
to look for further damage.

--dry-run says what would be done and changes nothing. Repair deletes no snapshot,
layer or blob, except leftovers of killed imports and what it has replaced.`

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
  "damage": [
    {
      "part": "snapshot",
      "name": "sha256:…",
      "layer": "7",
      "what": "usr/bin/true: /usr/bin/true: content is not that of the tar",
      "findings": 1,
      "problem": "",
      "quarantined": false,
      "unverified": false,
      "snapshots": [],
      "images": [],
      "doubtful": [
        "work"
      ]
    }
  ],
  "database": "/var/lib/layerkeep/meta.db.damaged-20260102T030405",
  "header": false
}`

type repairResult struct {
	Snapshots []restoredJSON      `json:"snapshots"`
	Images    []restoredImageJSON `json:"images"`
	Damage    []damageJSON        `json:"damage"`
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

// damageJSON is one damaged thing; Problem is empty where it is repaired.
type damageJSON struct {
	Part        string   `json:"part"`
	Name        string   `json:"name"`
	Layer       string   `json:"layer"`
	What        string   `json:"what"`
	Findings    int      `json:"findings"`
	Problem     string   `json:"problem"`
	Quarantined bool     `json:"quarantined"`
	Unverified  bool     `json:"unverified"`
	Snapshots   []string `json:"snapshots"`
	Images      []string `json:"images"`
	Doubtful    []string `json:"doubtful"`
}

func newRepairCommand(a *app) *cobra.Command {
	var rebuild, dryRun, readData bool
	cmd := &cobra.Command{
		Use:               "repair [--rebuild|--read-data] [--dry-run] [--limit LIMITS]",
		Short:             "Repair what is damaged or lost in the store",
		Long:              jsonHelp(repairLong, repairJSON),
		Args:              exactArgs(0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if rebuild && readData {
				return advise(usagef("repair: --rebuild and --read-data cannot be used together"), "run repair --rebuild first, then repair --read-data")
			}
			a.global.readOnly = a.global.readOnly || dryRun
			if rebuild {
				return runRebuild(cmd.Context(), a, dryRun)
			}
			return runRepair(cmd.Context(), a, repair.Options{ReadData: readData, DryRun: dryRun})
		},
	}
	a.addLimitFlag(cmd)
	cmd.Flags().BoolVar(&rebuild, "rebuild", false, "make a new meta.db to replace a lost or damaged one")
	cmd.Flags().BoolVar(&readData, "read-data", false, "read and compare every byte")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be done")
	return cmd
}

func runRepair(ctx context.Context, a *app, opts repair.Options) error {
	return a.withStore(ctx, func(st *store) error {
		o, ok := st.openHere()
		if !ok {
			return advise(as(errState, errors.New("a service has the store open, and repair must be the only user of the store")),
				"stop the service for the time of the repair")
		}
		layers, err := o.Snapshotter().Restore(ctx, opts.DryRun)
		if err != nil {
			return doing(err, "repairing the store %s", a.global.root)
		}
		result, err := a.restoreImages(ctx, o.ImageStore(), snapshotter.Rebuilt{Layers: layers}, nil, opts.DryRun)
		if err != nil {
			return err
		}
		opts.Step = newPace(a).step
		err = repair.Run(ctx, o.Snapshotter(), o.ImageStore(), opts, func(o repair.Outcome) {
			result.Damage = append(result.Damage, newDamageJSON(o))
		})
		if err != nil {
			return doing(err, "repairing the store %s", a.global.root)
		}
		return a.printRepair(result, opts.DryRun)
	})
}

func newDamageJSON(o repair.Outcome) damageJSON {
	return damageJSON{
		Part: string(o.Part), Name: o.Name, Layer: string(o.Layer), What: o.What, Findings: o.Findings, Problem: problem(o.Err), Quarantined: o.Quarantined, Unverified: o.Unverified,
		Snapshots: append([]string{}, o.Snapshots...), Images: append([]string{}, o.Images...), Doubtful: append([]string{}, o.Doubtful...),
	}
}

func runRebuild(ctx context.Context, a *app, dryRun bool) error {
	if !dryRun {
		if err := a.refuseReadOnly("repair --rebuild", "it makes files of the store again"); err != nil {
			return err
		}
	}
	var recovered []image.Restored
	snaps, done, err := snapshotter.Rebuild(ctx, a.global.root, snapshotter.RebuildOptions{
		Options: snapshotter.Options{
			Driver: a.global.driver, Additional: a.global.additional, LockTimeout: lockTimeout, Logger: a.log,
		},
		DryRun:  dryRun,
		Records: image.Recover(a.global.root, func(images []image.Restored) { recovered = images }),
	})
	if errors.Is(err, snapshotter.ErrSound) {
		return advise(as(errState, err), "run 'snapctl repair' without --rebuild to give layers without a snapshot their snapshots back")
	}
	if err != nil {
		return err
	}
	if dryRun {
		return a.printRepair(newRepairResult(done, recovered), dryRun)
	}
	images, err := image.Open(snaps)
	if err == nil {
		var result repairResult
		if result, err = a.restoreImages(ctx, images, done, recovered, false); err == nil {
			err = a.printRepair(result, false)
		}
	}
	return errors.Join(err, doing(snaps.Close(), "closing the store %s", a.global.root))
}

// restoreImages restores the images on the snapshots that are there again, but
// for those that were recovered with the database.
func (a *app) restoreImages(ctx context.Context, images *image.Store, done snapshotter.Rebuilt, recovered []image.Restored, dryRun bool) (repairResult, error) {
	coming := map[string]bool{}
	for _, l := range done.Layers {
		coming[l.Name] = dryRun && l.Err == nil
	}
	restored, err := images.Restore(ctx, dryRun, func(key string) bool { return coming[key] })
	if err != nil {
		return repairResult{}, doing(err, "repairing the images of the store %s", a.global.root)
	}
	return newRepairResult(done, append(recovered, restored...)), nil
}

func newRepairResult(done snapshotter.Rebuilt, images []image.Restored) repairResult {
	r := repairResult{Snapshots: []restoredJSON{}, Images: []restoredImageJSON{}, Damage: []damageJSON{}, Database: done.Old, Header: done.Header}
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

// printRepair prints the result, and returns an error when something could not
// be repaired.
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
		for _, d := range r.Damage {
			d.print(is, line)
		}
		if len(r.Snapshots)+len(r.Images)+len(r.Damage) == 0 && !r.Header && r.Database == "" {
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
	for _, d := range r.Damage {
		if d.Problem != "" {
			left++
		}
	}
	if err == nil && left > 0 {
		return fmt.Errorf("%w that could not be repaired in the store %s: %d %s", errDamage, a.global.root, left, plural(left, "thing", "things"))
	}
	return err
}

// print says what became of it, and what goes down with it.
func (d damageJSON) print(is string, line func(format string, args ...any)) {
	what := d.Part
	if d.Name != "" {
		what += " " + d.Name
	}
	if d.Layer != "" {
		what += " (layer " + d.Layer + ")"
	}
	if d.Problem != "" {
		line("%s is damaged and stays as it is: %s: %s", what, d.What, d.Problem)
		if d.Quarantined {
			line("  it %s in quarantine: nothing new is made on it, and it is not mounted", is)
		}
	} else {
		line("%s %s repaired: %s", what, is, d.What)
	}
	if d.Unverified {
		line("  its commit has kept nothing that tells whether its files are still the same, but how many they were")
	}
	if len(d.Images) > 0 && d.Problem != "" {
		line("  these images need it: %s", strings.Join(d.Images, ", "))
	}
	if len(d.Snapshots) > 0 && d.Problem != "" {
		line("  these snapshots stand on it: %s", strings.Join(d.Snapshots, ", "))
	}
	if len(d.Doubtful) > 0 {
		line("  these snapshots are copies of it and may have the same damage: %s", strings.Join(d.Doubtful, ", "))
	}
}
