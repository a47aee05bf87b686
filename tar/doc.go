// Package tar turns a layer stream into a tree and a tree's changes into a
// layer stream.
//
// # Reading
//
// A layer is applied in two steps, the same on every backend. [Unpack] reads
// the stream, plain or compressed, into an empty staging directory: the layer's
// own entries become real files there, its markers (whiteouts, opaque marks)
// are kept in memory as a [Delta]. [Delta.Merge] then moves the entries into
// the directory that holds the layer and carries out, or encodes, the removals.
// Nothing but the staging directory is touched until the whole stream has been
// read and its digest has been verified, and Merge takes back what it did when
// it fails, so a layer is applied whole or not at all.
//
//	delta, applied, err := tar.Unpack(ctx, staging, layer, tar.UnpackOptions{Parents: parents})
//	if err != nil {
//		return err // delete the staging directory
//	}
//	err = delta.Merge(ctx, tar.Target{Root: upper, Below: parents, Encoding: whiteout.Overlay})
//
// Streams are hostile: every path of a layer is resolved in user space, against
// what the layer itself made and what the view of its parents shows; the kernel
// is only ever asked for a single name below an open directory, without
// following symbolic links.
//
// # Verifying
//
// [Verify] reads a layer as Unpack does and compares it with the tree that
// applying it has given: what it finds says that the disk, or somebody, has
// changed the layer since.
//
//	v, err := tar.Verify(ctx, layer, parents, merged, tar.VerifyOptions{ReadData: true})
//	if err != nil {
//		return err // of the stream: nothing is known of the tree
//	}
//	for _, f := range v.Findings {
//		fmt.Println(f) // "/etc/passwd: mode is 0666; the tar: 0644"
//	}
//
// # Writing
//
// [Write] is the inverse: the changes of a tree as canonical bytes.
//
// The package does not know images, media types or how a backend lays out its
// directories.
package tar
