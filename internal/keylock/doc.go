// Package keylock has locks by name: for layers, snapshots and images, of which
// there are more than anybody keeps locks for. Waiting ends with a context. A
// name that nobody uses takes nothing.
package keylock
