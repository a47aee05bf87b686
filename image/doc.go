// Package image brings container images into a snapshotter and out again.
//
// It reads OCI image layouts, tar archives of such layouts, the archives of
// `docker save` and the directories of skopeo's dir:, from a path or a stream, checks every digest on the way,
// unpacks the layers into committed snapshots named by their chainID, and keeps
// the manifest, config and layer blobs, so that an export of an OCI image gives
// the very same digests; a Docker manifest is rewritten in the OCI's terms. It
// writes OCI archives of images and of committed snapshots.
//
// It pulls nothing from the network and runs no containers.
//
//	store, err := image.Open(snapshotter)
//	src, err := image.ParseSource("oci-archive:debian.tar:12")
//	img, err := store.Import(ctx, src, image.ImportOptions{Name: "debian:12"})
//	_, err = snapshotter.View(ctx, "look", img.Snapshot)
package image
