// Package repair mends what a check of a store finds: the layer of an image is made anew
// from its blob, in place and under the children that it has, and a blob from its layer
// where that gives the same bytes. A record that does not agree with the database, in the
// name of the snapshot for example, is written again. What is beyond help is named, with
// all that stands on it, and put into quarantine: nothing new is made on it, and nothing of
// it is removed. A repair that finds nothing wrong with it any more lets it go.
//
// It goes from the lowest damaged layer up, and checks again what stands on a layer that
// was made anew. On btrfs and vfs a layer is a copy of its parent, so that a damaged file
// may be in all copies: those that have blobs are made anew, too; of the others nobody
// can tell, and they are named.
//
//	err := repair.Run(ctx, snaps, images, repair.Options{ReadData: true}, func(o repair.Outcome) {
//		fmt.Println(o.Name, o.Err)
//	})
//
// Nobody else should change the store meanwhile.
package repair
