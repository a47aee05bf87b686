// Package client uses a store through a service that has it open: snapctl does,
// and other programs can. A [Client] is a [layerkeep.Store].
//
//	c, err := client.Dial(ctx, "/run/layerkeep/layerkeep.sock")
//	if err != nil {
//		return err
//	}
//	defer c.Close()
//	img, err := c.Import(ctx, image.Source{Path: "image.tar"}, image.ImportOptions{})
//
// Files are opened, and mounts are made, by the caller's process, never by the
// service.
//
// When the context of a call that changes something ends, the service is told to
// give the call up, and its answer is waited for all the same: an error means that
// the call has changed nothing, as it does in a process that has the store open.
// Only when the connection is lost, with an error that matches ErrNoAnswer, can it
// not be known what became of the call.
package client
