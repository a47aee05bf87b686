// Package model is what a layer means (docs/semantics.md), in memory: the
// reference that every backend is compared with.
//
// It is written to be obviously right rather than fast, and shares no code with
// the packages that it judges. A [Tree] is applied layers ([Tree.Apply]) and
// edits ([Tree.Edit]); [Diff] says the changes between two trees.
//
// A layer is read as a set of removals from the parents and a sequence of
// entries. All removals happen first, wherever their markers stand in the
// stream, and only to what the parents hold; then the entries apply in order.
package model
