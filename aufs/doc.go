// Package aufs keeps each layer as a branch directory in the classic layout of
// aufs (layers/, diff/, mnt/), as old engines did.
package aufs
