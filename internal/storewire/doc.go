// Package storewire turns the values of this module into the messages of
// package storev1 and back, for the client and the service alike, so that what
// goes in at one end comes out at the other. What comes in from the other end
// is checked no further than that it can be turned: the callers know what it
// may be.
package storewire
