// Package rmtree removes directory trees that a hostile program has written or
// is changing at this moment.
//
// It walks a tree through descriptors and never follows a symbolic link. So it
// removes and changes nothing outside of the tree, even if files are replaced
// meanwhile. It does not enter mounts inside the tree. It needs a fixed number
// of descriptors for a tree of any depth. The flags of chattr(1) +i and +a,
// which a container can set, do not stop it.
package rmtree
