// Package robustness proves that nothing that a command has acknowledged is
// lost: not in a power cut, and not when a process is killed. It has tests
// only.
//
// For power cuts, commands work on a disk that records what reaches it (package
// cutdisk). Each acknowledgement is noted with its place in the record. Then
// the disk is made as a cut at some place may leave it, is mounted, and is
// compared with what was acknowledged until then. LAYERKEEP_ROBUST_CUTS is the
// number of cuts for each file system and backend. LAYERKEEP_ROBUST_SEED
// repeats the choices of an earlier run; without it each day has its own.
// LAYERKEEP_ROBUST_KEEP names a directory that gets the images of failed cuts.
//
// "make test-robust" makes a thousand cuts for each, and writes the tables of
// docs/durability.md.
package robustness
