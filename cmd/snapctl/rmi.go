package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/layerkeep/layerkeep/image"
)

const rmiLong = `Remove images by name, with the layers and blobs that nothing else uses. Layers below
your own snapshots stay until you remove these snapshots and run 'snapctl gc'.

The command prints the names of the removed images.`

const rmiJSON = `{
  "removed": [
    "debian:12"
  ],
  "snapshots": [
    "sha256:…"
  ],
  "blobs": 5,
  "bytes": 3145728
}`

type rmiResult struct {
	Removed   []string `json:"removed"`
	Snapshots []string `json:"snapshots"`
	Blobs     int      `json:"blobs"`
	Bytes     int64    `json:"bytes"`
}

func (r *rmiResult) add(name string, c image.Collected) {
	r.Removed = append(r.Removed, name)
	r.Snapshots = append(r.Snapshots, c.Snapshots...)
	r.Blobs += c.Blobs
	r.Bytes += c.Bytes
}

func newRmiCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "rmi REF...",
		Short:             "Remove images",
		Long:              jsonHelp(rmiLong, rmiJSON),
		Args:              minArgs(1),
		ValidArgsFunction: a.complete(imageNames, everyArg),
		RunE:              func(cmd *cobra.Command, args []string) error { return runRmi(cmd.Context(), a, args) },
	}
}

// runRmi removes what it can; the errors of the rest come joined.
func runRmi(ctx context.Context, a *app, names []string) error {
	return a.withStore(ctx, func(st *store) error {
		result := rmiResult{Removed: []string{}, Snapshots: []string{}}
		var errs []error
		for _, name := range names {
			img, err := st.Image(ctx, name)
			if err == nil {
				var c image.Collected
				c, err = st.RemoveImage(ctx, name)
				if err == nil {
					result.add(img.Name, c)
				}
			}
			errs = append(errs, doing(err, "removing the image %q", name))
		}
		errs = append(errs, a.result(result, func(w io.Writer) error { return lines(w, result.Removed) }))
		return someRemoved(ctx, result.Removed, errors.Join(errs...))
	})
}

// lines prints texts, escaped, one a line.
func lines(w io.Writer, texts []string) error {
	for _, t := range texts {
		if _, err := fmt.Fprintln(w, escape(t)); err != nil {
			return err
		}
	}
	return nil
}
