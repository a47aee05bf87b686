// Package check finds damage in a store: in its database, in the records of layers, in
// the files of layers, in images and their blobs. It changes nothing.
//
// Without ReadData it reads what is said of things: every page of the database, every
// record, every directory and the attributes of every file of every layer, manifests and
// configs. With it, it reads every byte and compares it with what it must be: a blob with
// its digest, a layer that was imported with its blob, a layer that was committed with the
// digest that the commit has kept. A layer of vfs is a whole tree, and all of it is
// compared with its parent. A store of a user namespace has to be checked in it: seen
// from elsewhere, all owners differ.
//
// Nobody else should change the store meanwhile, unless Shared says so. Then what is being
// changed is no damage: each finding is looked at once more, with fresh rows and with the
// snapshot locked, and is reported if it is there again. Nobody waits for the check: one
// who wants to change a snapshot goes first, and the check begins with it again. What was
// removed since the beginning, or is changed again and again, is counted and left out, and
// what was made since is not looked at. While the pages of the database are compared,
// nothing is written to it.
//
// Programs may write to mounted snapshots at any time: what is gone of these in the middle
// of reading is no damage either.
package check
