// Package rmtree removes directory trees that somebody hostile has written, or
// is writing at this moment.
//
// It goes through a tree by descriptors and never follows a symbolic link, so
// nothing outside of the tree is removed or changed, whatever is swapped
// meanwhile. It does not enter what is mounted in the tree. However deep a tree
// is, it holds a fixed number of descriptors open. The flags of chattr(1) +i
// and +a, which a container can set, do not keep anything.
package rmtree
