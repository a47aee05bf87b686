// Package image reads container images into a store and writes them out again.
//
// It reads OCI image layouts, tar archives of such layouts, the archives of
// `docker save`, and the directories of skopeo's dir:, from a path or a stream.
// It checks every digest, and unpacks the layers into committed snapshots that
// are named by their chainID. It keeps the manifest, config and layer blobs. So
// an export of an OCI image has exactly the digests of the imported image; a
// Docker manifest is rewritten as an OCI manifest. It writes OCI archives of
// images and of committed snapshots.
//
// It never uses the network, and runs no containers.
//
//	store, err := image.Open(snapshotter)
//	src, err := image.ParseSource("oci-archive:debian.tar:12", os.Stdin)
//	img, err := store.Import(ctx, src, image.ImportOptions{Name: "debian:12"})
//	_, err = snapshotter.View(ctx, "look", img.Snapshot)
package image
