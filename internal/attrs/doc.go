// Package attrs sets the attributes of a file, all of them, in the one order in
// which none undoes another: owner, extended attributes, mode, times.
//
// chown(2) takes the set-user-ID bit and the capabilities away, an access
// control list changes the mode, and a mode that is set before the owner would
// let the old owner in. What makes or copies files of layers uses this package.
// What changes one attribute of a file that is there, its time for instance,
// does that by itself.
package attrs
