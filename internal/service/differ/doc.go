// Package differ is containerd's differ over a store: it applies layers to
// snapshots of the store, and makes layers of what changed in them, without
// mounting anything. Layers come from and go to the content store of the engine
// that asks, through the engine's socket and in the namespace of the call.
//
//	engine, err := differ.NewEngine(differ.DefaultEngine)
//	...
//	defer engine.Close()
//	d := differ.New(store, scope, engine, differ.Options{})
//	diffapi.RegisterDiffServer(server, diffservice.FromApplierAndComparer(d, d))
//
// What it is not made for it leaves to the next differ in the engine's list,
// with an error that matches errdefs.ErrNotImplemented: mounts of other
// snapshotters, and media types that it does not know, those of encrypted
// layers for instance.
package differ
