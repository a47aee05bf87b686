package layerkeep_test

import (
	"context"
	"fmt"
	"os"

	"github.com/layerkeep/layerkeep"
	"github.com/layerkeep/layerkeep/client"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/image"
	"github.com/layerkeep/layerkeep/snapshotter"
)

// This imports an image, changes nothing in a snapshot on it, and writes what
// that changed.
func Example() {
	ctx := context.Background()
	store, err := layerkeep.Open(ctx, "/var/lib/layerkeep", snapshotter.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()
	img, err := store.Import(ctx, image.Source{Path: "debian.tar"}, image.ImportOptions{})
	if err == nil {
		err = store.Prepare(ctx, "work", img.Snapshot, nil)
	}
	if err == nil {
		_, err = store.Diff(ctx, "work", os.Stdout, driver.DiffOptions{})
	}
	if err != nil {
		fmt.Println(err)
	}
}

// A program that is given a Store works with one that it has opened, and with
// one that a service has open.
func ExampleStore() {
	names := func(ctx context.Context, store layerkeep.Store) error {
		images, err := store.Images(ctx)
		for _, img := range images {
			fmt.Println(img.Name)
		}
		return err
	}
	ctx := context.Background()
	service, err := client.Dial(ctx, "/run/layerkeep/layerkeep.sock")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer service.Close()
	if err := names(ctx, service); err != nil {
		fmt.Println(err)
	}
}
