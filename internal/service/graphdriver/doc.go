// Package graphdriver offers a store to Docker as a graph driver: the 16 calls
// of the plugin protocol, JSON over HTTP on a unix socket. Engines up to Docker
// 24 have graph drivers; newer ones use the snapshotter, through containerd.
//
//	d, err := graphdriver.New(ctx, store, graphdriver.Options{Name: "layerkeep"})
//	if err != nil {
//		return err
//	}
//	err = d.Server().Serve(listener) // on /run/docker/plugins/layerkeep.sock
//
// # Layers
//
// A layer of Docker's can be written to until something is made on it. Here it
// is an active snapshot, "ID/rw", that becomes the committed snapshot "ID" when
// a layer tar was applied to it, for it is an image's then and nobody writes to
// it any more, or when it first gets a child, as the layer "ID-init" of every
// container does. All names are in the scope "docker-NAME" of the store.
//
// # Mounts
//
// Get mounts a layer below the driver's own directory and Put unmounts it when
// it was called as often as Get. Mounts outlive the process, as containers do:
// the next one finds them again.
//
// # Calls that come twice
//
// Docker repeats a call for up to 30 seconds when it cannot reach the plugin,
// and when the connection breaks. Every call may come again after it was
// carried out, so repeating Create gives what is there as long as nothing was
// done with it. In the second case Docker sends only what it had not sent yet:
// nothing, and the call fails, or in ApplyDiff the rest of the stream, which
// may well be a valid layer. So a layer to which a stream was being applied
// cannot be applied to again. A pull or a build that meets this fails and can
// be repeated.
//
// See https://docs.docker.com/engine/extend/plugins_graphdriver/ for the
// protocol.
package graphdriver
