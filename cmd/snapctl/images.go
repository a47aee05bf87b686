package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

const imagesJSON = `{
  "images": [
    {
      "name": "debian:12",
      "digest": "sha256:…",
      "platform": "linux/amd64",
      "snapshot": "sha256:…",
      "layers": 3,
      "size": 3145728,
      "imported": "2026-01-02T03:04:05Z"
    }
  ]
}`

type imagesResult struct {
	Images []imageJSON `json:"images"`
}

func newImagesCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "images",
		Short:             "List the images",
		Long:              jsonHelp("List the images with the size of their blobs as they are stored.", imagesJSON),
		Args:              exactArgs(0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return runImages(cmd.Context(), a) },
	}
}

func runImages(ctx context.Context, a *app) error {
	return a.withStore(ctx, func(st *store) error {
		images, err := st.Images(ctx)
		if err != nil {
			return doing(err, "listing the images")
		}
		result := imagesResult{Images: []imageJSON{}}
		var rows [][]string
		for _, i := range images {
			j := newImageJSON(i)
			result.Images = append(result.Images, j)
			rows = append(rows, []string{
				j.Name, short(j.Digest.String()), j.Platform, fmt.Sprint(j.Layers), size(j.Size), j.Imported,
			})
		}
		return a.result(result, func(w io.Writer) error {
			return table(w, []string{"NAME", "DIGEST", "PLATFORM", "LAYERS", "SIZE", "IMPORTED"}, rows)
		})
	})
}
