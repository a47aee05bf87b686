// Package fstest holds what the tests of this module share: scratch file
// systems, layers and edits of trees as values, and the comparison of trees.
//
// It is for tests only and decides nothing: what a layer means is said by the
// model in driver/drivertest/model.
//
//	dir := fstest.Scratch(t, fstest.XFS)
//	layer := fstest.Layer(t,
//		fstest.Dir("etc"),
//		fstest.File("etc/hostname", "box\n").WithMode(0o600),
//		fstest.Whiteout("etc/motd"),
//	)
//	got := fstest.FromPath(t, mounted)
//	fstest.RequireEqual(t, want, got)
package fstest
