// Package large proves that the largest trees that a container can make can be
// committed, compared, written as a layer, unpacked again and removed, in
// little memory. It has tests only. With -large the trees are as large as
// docs/limits.md says, which takes an hour and 10 GB in TMPDIR; without, they
// are small.
package large
