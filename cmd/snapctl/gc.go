package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

const gcLong = `Delete everything that nothing uses any more: the layers of removed images, their
blobs, the records of mounts that no longer exist, and what interrupted commands left
on the disk.`

const gcJSON = `{
  "snapshots": [
    "sha256:…"
  ],
  "mounts": [
    "/mnt"
  ],
  "blobs": 5,
  "bytes": 3145728
}`

type gcResult struct {
	Snapshots []string `json:"snapshots"`
	Mounts    []string `json:"mounts"`
	Blobs     int      `json:"blobs"`
	Bytes     int64    `json:"bytes"`
}

func newGCCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "gc",
		Short: "Delete what nothing uses any more",
		Long:  jsonHelp(gcLong, gcJSON),
		Args:  exactArgs(0),
		RunE:  func(cmd *cobra.Command, _ []string) error { return runGC(cmd.Context(), a) },
	}
}

func runGC(ctx context.Context, a *app) error {
	return a.withStore(ctx, func(st *store) error {
		result, err := st.gc(ctx)
		if err != nil {
			if ctx.Err() != nil {
				err = advise(err, "what was removed before stays removed; run this again for the rest")
			}
			return doing(err, "collecting garbage in the store %s", a.global.root)
		}
		return a.result(result, func(w io.Writer) error {
			_, err := fmt.Fprintf(w, "removed %d %s and %d %s, %s; forgot %d %s\n",
				len(result.Snapshots), plural(len(result.Snapshots), "snapshot", "snapshots"),
				result.Blobs, plural(result.Blobs, "blob", "blobs"), size(result.Bytes),
				len(result.Mounts), plural(len(result.Mounts), "mount", "mounts"))
			return err
		})
	})
}

func (st *store) gc(ctx context.Context) (gcResult, error) {
	result := gcResult{Snapshots: []string{}, Mounts: []string{}}
	gone, err := st.dropGoneMountsAlone(ctx)
	if err != nil {
		return result, err
	}
	result.Mounts = append(result.Mounts, gone...)
	collected, err := st.Collect(ctx)
	if err != nil {
		return result, err
	}
	result.Snapshots = append(result.Snapshots, collected.Snapshots...)
	result.Blobs, result.Bytes = collected.Blobs, collected.Bytes
	return result, nil
}
