// Package driver is the contract between the life cycle of layers and the
// backends that keep them on disk.
//
// # Vocabulary
//
// A layer is what one backend keeps under one [ID]: the changes of that layer
// against its parents, in whatever encoding the backend has. It is writable
// until it is sealed; a sealed layer never changes again and may be a parent.
// The parents of a layer are a chain, nearest first. The view of a layer is the
// merged tree that a container sees.
//
// # Life cycle
//
//	Create ──► writable ──ApplyDiff / writes through Mount──► Seal ──► sealed ──► Remove
//
// A driver keeps no names, labels or states beyond that: package snapshotter
// does. A driver is safe for concurrent use on different layers; for one layer
// the caller orders the calls.
//
//	d, err := overlay2.New(ctx, "/var/lib/layerkeep/overlay2", driver.Options{})
//	err = d.Create(ctx, "1", nil, driver.CreateOptions{})
//	_, err = d.ApplyDiff(ctx, "1", layerTar, driver.ApplyOptions{})
//	err = d.Seal(ctx, "1")
//	err = d.Create(ctx, "2", []driver.ID{"1"}, driver.CreateOptions{})
//	mounts, err := d.Mount(ctx, "2", driver.MountOptions{})
package driver
