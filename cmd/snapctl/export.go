package main

import (
	"context"
	"io"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/layerkeep/layerkeep/image"
)

type exportOptions struct {
	name, source, file string
}

const exportLong = `Write NAME, an image or a committed snapshot, as an OCI archive to FILE; - writes to
standard output. Layers that came with an image keep their digests. A layer without a
blob is made from the changes of its snapshot. So is a layer whose blob the store has
lost; the command then warns, because the layer and the image get other digests.

FILE appears when it is complete. The command refuses to write an archive to a terminal.
It prints the digest of the image, unless the archive goes to standard output.`

const exportJSON = `{
  "name": "debian:changed",
  "digest": "sha256:…",
  "file": "changed.tar",
  "layers": 4,
  "made": 1,
  "bytes": 3150336,
  "replaced": []
}`

type exportResult struct {
	Name   string        `json:"name"`
	Digest digest.Digest `json:"digest"`
	File   string        `json:"file"`
	Layers int           `json:"layers"`
	Made   int           `json:"made"`
	Bytes  int64         `json:"bytes"`
	// Replaced are the blobs in whose place others were written.
	Replaced []digest.Digest `json:"replaced"`
}

func newExportCommand(a *app) *cobra.Command {
	var opts exportOptions
	cmd := &cobra.Command{
		Use:               "export [--name REF] NAME FILE",
		Short:             "Write an image or a snapshot as an OCI archive",
		Long:              jsonHelp(exportLong, exportJSON),
		Args:              exactArgs(2),
		ValidArgsFunction: a.completeThenFiles(parents(), argAt(0), argAt(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.source, opts.file = args[0], args[1]
			return runExport(cmd.Context(), a, opts)
		},
	}
	cmd.Flags().StringVar(&opts.name, "name", "", "name the image `REF` in the archive")
	completeFlag(cmd, "name", cobra.NoFileCompletions)
	return cmd
}

// warnOfDamage says what is known to be damaged of what was exported: a
// snapshot in quarantine can be read, so that what is still good can be taken
// out.
func (a *app) warnOfDamage(ctx context.Context, st *store, source string) {
	key := source
	if img, err := st.Resolve(ctx, source); err == nil {
		key = img.Key
	}
	damage, err := st.Damage(ctx, key)
	if err != nil {
		return // which the export would have found, too
	}
	for _, d := range damage {
		a.log.Warn("what was exported may be damaged, as a snapshot in it is", "snapshot", d.Key, "damage", d.What)
	}
}

func runExport(ctx context.Context, a *app, opts exportOptions) error {
	if opts.name != "" {
		if _, err := image.ParseName(opts.name); err != nil {
			return badName(opts.name, err)
		}
	}
	toStdout := opts.file == "-"
	switch {
	case toStdout && a.global.json:
		return usagef("export: --json needs a FILE, because with - the archive goes to standard output")
	case toStdout && isTerminal(a.Out):
		return errTerminal()
	}
	latest, err := sourceDateEpoch()
	if err != nil {
		return err
	}
	return a.withStore(ctx, func(st *store) error {
		var exported image.Exported
		bars := newLayerBars(ctx, a)
		err := a.writeOut(ctx, opts.file, func(w io.Writer) (err error) {
			exported, err = st.Export(ctx, opts.source, w, image.ExportOptions{Name: opts.name, SourceDateEpoch: latest, Progress: bars})
			return err
		})
		bars.close()
		if err != nil {
			return doing(st.explainParent(ctx, opts.source, err), "writing %s", outputName(opts.file))
		}
		for _, d := range exported.Replaced {
			a.log.Warn("the blob of a layer is missing in the store: its layer was made anew, and the image has another digest than before; "+
				"importing the image again brings the blob back", "blob", d)
		}
		a.warnOfDamage(ctx, st, opts.source)
		if toStdout {
			return nil
		}
		result := exportResult{
			Name: exported.Name, Digest: exported.Target.Digest, File: opts.file,
			Layers: len(exported.Layers), Made: exported.Made, Bytes: exported.Bytes, Replaced: exported.Replaced,
		}
		return a.line(result, "%s", result.Digest)
	})
}
