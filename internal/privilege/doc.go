// Package privilege gives up what a process of this module never needs, so that
// a fault in it has less to reach: capabilities, and the way to more of them.
package privilege
