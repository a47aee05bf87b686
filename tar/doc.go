// Package tar turns a layer tar into a tree, and the changes of a tree into a
// layer tar. The glossary of package driver explains the terms.
//
// # Reading
//
// A layer is applied in two steps, the same on every backend. First [Unpack]
// reads the stream, compressed or not, into an empty staging directory. It
// makes the entries of the layer as real files there, and keeps whiteouts and
// opaque marks in memory as a [Delta]. Then [Delta.Merge] moves the files into
// the directory that holds the layer, and writes the removals in the encoding
// of the backend.
//
// A layer is applied whole or not at all. Unpack touches nothing outside the
// staging directory, and it verifies the digest at the end of the stream. Merge
// undoes its own steps when one fails.
//
//	delta, applied, err := tar.Unpack(ctx, staging, layer, tar.UnpackOptions{Parents: parents})
//	if err != nil {
//		return err // delete the staging directory
//	}
//	err = delta.Merge(ctx, tar.Target{Root: upper, Below: parents, Encoding: whiteout.Overlay})
//
// Streams are hostile. The package resolves every path of a layer in user
// space, with what the layer has made and what its parents show. It asks the
// kernel only for one name below an open directory, and never lets it follow a
// symbolic link.
//
// # Verifying
//
// [Verify] reads a layer as Unpack does and compares it with the tree that the
// layer was applied to. A finding says that something has changed the layer
// since: a program or the disk.
//
//	v, err := tar.Verify(ctx, layer, parents, merged, tar.VerifyOptions{ReadData: true})
//	if err != nil {
//		return err // the stream is wrong; this says nothing about the tree
//	}
//	for _, f := range v.Findings {
//		fmt.Println(f) // "/etc/passwd: mode is 0666; the tar: 0644"
//	}
//
// # Writing
//
// [Write] is the inverse: it writes the changes of a tree as canonical bytes.
//
// The package knows nothing of images, of media types, and of the directories
// of a backend.
package tar
