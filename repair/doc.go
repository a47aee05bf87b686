// Package repair repairs what a check of a store finds.
//
//	err := repair.Run(ctx, snaps, images, repair.Options{ReadData: true}, func(o repair.Outcome) {
//		fmt.Println(o.Name, o.Err)
//	})
//
// It makes the layer of an image again from its blob, in place and below the
// children that it has. It makes a blob again from its layer where that gives
// the same bytes. It writes a record again that contradicts the database, for
// example in the name of the snapshot.
//
// It names what it cannot repair, together with everything above it, and puts
// it into quarantine: no new snapshot can be made over it, and nothing of it is
// removed. A later repair that finds it sound ends the quarantine.
//
// A repair starts with the lowest damaged layer, and checks again what is above
// a layer that it has made again. On btrfs and vfs a layer is a copy of its
// parent, so a damaged file may be in all copies. Copies that have blobs are
// made again too. The others cannot be compared with anything, and the repair
// only names them.
//
// Nothing else may change the store during a repair.
package repair
