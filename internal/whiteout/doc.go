// Package whiteout knows the ways to say "removed" in a union of trees: the
// names that a layer tar uses ([Parse]), and the encodings that backends keep
// on disk ([Encoding]). It does not walk trees and resolves no paths.
package whiteout
