// Package client uses a store that a service has open. The snapctl command uses
// it, and so can other programs. A [Client] is a [layerkeep.Store].
//
//	c, err := client.Dial(ctx, "/run/layerkeep/layerkeep.sock")
//	if err != nil {
//		return err
//	}
//	defer c.Close()
//	img, err := c.Import(ctx, image.Source{Path: "image.tar"}, image.ImportOptions{})
//
// The process of the caller opens all files and makes all mounts. The service
// never does that for a client.
//
// # Cancelled calls
//
// An error means that the call has changed nothing, as in a process that has
// the store open itself. So a cancelled context does not end a changing call at
// once: the client tells the service to stop the call, and waits for its
// answer. Only when the connection is lost is the result unknown; the error
// then matches [ErrNoAnswer].
package client
