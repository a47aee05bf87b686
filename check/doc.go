// Package check finds damage in a store: in its database, in the records of
// layers, in the files of layers, and in images and their blobs. It changes
// nothing.
//
//	sum, err := check.Run(ctx, snaps, images, check.Options{}, func(f check.Finding) {
//		fmt.Println(f)
//	})
//
// # What is read
//
// Without ReadData a check reads every page of the database, every record,
// every directory and the attributes of every file of every layer, and
// manifests and configs.
//
// With ReadData it also reads every byte and compares it: a blob with its
// digest, an imported layer with its blob, and a committed layer with the
// digest that the commit recorded. A layer of vfs is a whole tree, and all of
// it is compared with its parent.
//
// Check a store of a user namespace inside that namespace: from outside all
// owners differ.
//
// # A store in use
//
// Without Shared nothing else may change the store during the check. With
// Shared other calls may change it, and a change in progress is no damage. The
// check looks again at everything that seems damaged, with fresh rows and with
// the snapshot locked, and reports it only if it is still damaged.
//
// No other call waits for the check. When a call wants to change a snapshot,
// the check stops examining it and starts with it again later. Things that were
// removed since the beginning, or that change again and again, are counted and
// left out. Things that were made since the beginning are not checked. While
// the check compares the pages of the database, nothing can be written to the
// database.
//
// Programs may write to mounted snapshots at any time. A file that disappears
// from such a snapshot while it is read is no damage either.
package check
