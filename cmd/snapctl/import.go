package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/layerkeep/layerkeep/image"
)

type importOptions struct {
	source, name, image, platform string
	recipes                       bool
}

const importLong = `Import an image into the store: verify its layers, unpack them into committed
snapshots, and give the image a name. The command skips layers that the store already
has. For these it checks the record and the root directory, and reads the blob. It
unpacks a damaged layer again in place, and replaces a damaged blob.

SOURCE is an OCI layout directory, a directory of skopeo's dir:, an OCI archive, or the
archive of 'docker save'. An archive may be compressed; - reads standard input. SOURCE
can name its format, and can choose an image by its name:

  oci:DIR[:REF]
  dir:DIR
  oci-archive:FILE[:REF]
  docker-archive:FILE[:REF]

When a source has several images, you must choose one: by its name as above, or with
--image. --image takes the digest of the manifest, the index or the config, or the
first digits of it, or the number of the image in the source. If you choose none, the
error lists all images of the source.

With --recipes the command stores a recipe for each layer: the headers of its tar, which
take some percent of the blob. With the recipe and the files of the layer a lost blob
can be made again. The command then reads and packs each layer once more. It warns about
blobs of programs that compress in another way: for these only the tar can be made
again.

The command prints the name of the image.`

const importJSON = `{
  "name": "debian:12",
  "digest": "sha256:…",
  "platform": "linux/amd64",
  "snapshot": "sha256:…",
  "layers": 3,
  "size": 3145728,
  "imported": "2026-01-02T03:04:05Z",
  "store": ""
}`

// imageJSON is one image in JSON.
type imageJSON struct {
	Name     string        `json:"name"`
	Digest   digest.Digest `json:"digest"`
	Platform string        `json:"platform"`
	Snapshot string        `json:"snapshot"`
	Layers   int           `json:"layers"`
	Size     int64         `json:"size"`
	Imported string        `json:"imported"`
	Store    string        `json:"store"`
}

func newImageJSON(i image.Image) imageJSON {
	return imageJSON{
		Name: i.Name, Digest: i.Target.Digest, Platform: platformName(i), Snapshot: i.Snapshot,
		Layers: len(i.Layers), Size: i.Size(), Imported: stamp(i.Imported), Store: i.Store,
	}
}

func platformName(i image.Image) string {
	p := i.Platform
	name := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		name += "/" + p.Variant
	}
	return name
}

func newImportCommand(a *app) *cobra.Command {
	var opts importOptions
	cmd := &cobra.Command{
		Use:   "import [--name REF] [--image DIGEST|NUMBER] [--platform P] [--recipes] [--limit LIMITS] SOURCE|-",
		Short: "Import an image from an OCI layout or an archive",
		Long:  jsonHelp(importLong, importJSON),
		Args:  exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.source = args[0]
			return runImport(cmd.Context(), a, opts)
		},
	}
	cmd.Flags().StringVar(&opts.name, "name", "", "name the image `REF` (default: its name in the source)")
	cmd.Flags().StringVar(&opts.image, "image", "", "choose one of several images by its `DIGEST` or number (1, 2, ...)")
	cmd.Flags().StringVar(&opts.platform, "platform", "", "choose the image for platform `P`, os/arch[/variant] (default: of this machine)")
	cmd.Flags().BoolVar(&opts.recipes, "recipes", false, "store recipes, to make lost blobs of layers again")
	a.addLimitFlag(cmd)
	completeFlag(cmd, "name", cobra.NoFileCompletions)
	completeFlag(cmd, "image", cobra.NoFileCompletions)
	completeFlag(cmd, "platform", cobra.FixedCompletions([]string{"linux/amd64", "linux/arm64", "linux/arm/v7"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func runImport(ctx context.Context, a *app, opts importOptions) error {
	src, err := image.ParseSource(opts.source, a.In)
	if err != nil {
		return as(errUsage, err)
	}
	if src.Reader != nil && isTerminal(a.In) {
		return advise(usagef("import: standard input is a terminal, not an archive"), "name a file, or pipe an archive in")
	}
	if src.Reader != nil {
		src.Reader = interruptible(ctx, src.Reader)
	}
	if opts.name != "" {
		if _, err := image.ParseName(opts.name); err != nil {
			return badName(opts.name, err)
		}
	}
	if err := image.CheckChoice(opts.image); err != nil {
		return advise(as(errUsage, doing(err, "--image")), "give a digest such as sha256:4bcff63911fc, or a number such as 2")
	}
	if err := image.CheckPlatform(opts.platform); err != nil {
		return advise(as(errUsage, doing(err, "--platform")), "give os/arch or os/arch/variant, such as linux/arm64")
	}
	return a.withStore(ctx, func(st *store) error {
		bars := newLayerBars(ctx, a)
		img, err := st.Import(ctx, src, image.ImportOptions{
			Name: opts.name, Image: opts.image, Platform: opts.platform, Recipes: opts.recipes, Progress: bars,
			Warn: func(layer int, path, message string) {
				if layer == image.WholeImage {
					a.log.Warn(message)
					return
				}
				a.log.Warn(message, "path", "/"+path, "layer", layer+1)
			},
		})
		bars.close()
		if errors.Is(err, image.ErrAmbiguous) {
			return advise(err, "choose one with --image, by its digest or its number")
		}
		if err != nil {
			return err // it names the source
		}
		return a.line(newImageJSON(img), "%s", escape(img.Name))
	})
}

func badName(name string, err error) error {
	return advise(as(errUsage, doing(err, "--name %q", name)), "a valid name is example.com/team/app:1.0, for example")
}

func sourceName(source string) string {
	if source == "-" {
		return "standard input"
	}
	return fmt.Sprintf("%q", source)
}
