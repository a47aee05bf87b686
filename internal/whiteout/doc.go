// Package whiteout has the ways to say "removed" in a union of trees: the names
// that a layer tar uses ([Parse]), and the encodings that backends use on disk
// ([Encoding]). It does not walk trees and does not resolve paths.
package whiteout
