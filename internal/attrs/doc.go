// Package attrs sets the attributes of a file, all of them, in the one order in which none
// undoes another: owner, extended attributes, mode, times.
//
// chown(2) takes the set-user-ID bit and the capabilities away, an access control list
// changes the mode, and a mode that is set before the owner would let the old owner in.
// Nothing else in this module sets the attributes of files in layers.
package attrs
