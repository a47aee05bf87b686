// Package check finds damage in a store: in its database, in the records of layers, in
// the files of layers, in images and their blobs. It changes nothing.
//
// Without ReadData it reads what is said of things: every page of the database, every
// record, every directory and the attributes of every file of every layer, manifests and
// configs. With it, it reads every byte and compares it with what it must be: a blob with
// its digest, a layer that was imported with its blob, a layer that was committed with the
// digest that the commit has kept. Two things it does not see. Of a committed layer of
// vfs, which is a whole tree, it reads what differs from the parents by the times of
// files, not what is as below. And a store of a user namespace has to be checked in it:
// seen from elsewhere, all owners differ.
//
// Nobody else should change the store meanwhile.
package check
