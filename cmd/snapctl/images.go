package main

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/layerkeep/layerkeep/image"
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
      "imported": "2026-01-02T03:04:05Z",
      "store": ""
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
		Long:              jsonHelp("List the images, each with the stored size of its blobs. For an image of an additional\nstore the list also shows the ID of that store.", imagesJSON),
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
		header := []string{"NAME", "DIGEST", "PLATFORM", "LAYERS", "SIZE", "IMPORTED"}
		additional := slices.ContainsFunc(images, func(i image.Image) bool { return i.Store != "" })
		if additional {
			header = append(header, "STORE")
		}
		var rows [][]string
		for _, i := range images {
			j := newImageJSON(i)
			result.Images = append(result.Images, j)
			row := []string{j.Name, short(j.Digest.String()), j.Platform, fmt.Sprint(j.Layers), size(j.Size), j.Imported}
			if additional {
				row = append(row, orDash(j.Store))
			}
			rows = append(rows, row)
		}
		return a.result(result, func(w io.Writer) error {
			return table(w, header, rows)
		})
	})
}
