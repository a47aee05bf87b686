package check

import (
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/layerkeep/layerkeep/driver"
)

// A Part says which part of a store a finding is about. The words are stable,
// so scripts may use them.
type Part string

// The parts.
const (
	Database Part = "database"
	Snapshot Part = "snapshot"
	Layer    Part = "layer" // a layer that has no snapshot
	Image    Part = "image"
	Blob     Part = "blob"
)

// A Finding is one damaged thing.
type Finding struct {
	Part Part
	// Name is the key of the snapshot, the name of the image or the digest of the
	// blob.
	Name string
	// Layer is the driver's ID of the layer, empty when the finding is not
	// about a layer.
	Layer driver.ID
	// Path is the file in the layer, as in [diff.Change]; empty for none.
	Path string
	// What is wrong, in one line.
	What string
	// Images are the names of the images that are damaged by it.
	Images []string
	// Broken: the layer itself, or a file of the driver in its directory, is
	// damaged, and not only data about it elsewhere.
	Broken bool
	// Blob is the damaged or missing blob, if the finding is about a blob.
	Blob digest.Digest
}

// String returns the finding in one line for people.
func (f Finding) String() string {
	s := string(f.Part)
	if f.Name != "" {
		s += " " + f.Name
	}
	if f.Layer != "" {
		s += fmt.Sprintf(" (layer %s)", f.Layer)
	}
	if f.Path != "" {
		s += ": " + f.Path
	}
	return s + ": " + f.What
}

// A Summary counts what was checked.
type Summary struct {
	Snapshots, Images, Blobs int
	// Unread is, with ReadData, the number of snapshots whose content could not
	// be compared, because nothing was recorded to compare it with.
	Unread int
	// Changed is the number of snapshots, images and blobs that were being
	// changed each time the check looked, or that were removed. The check knows
	// little or nothing about them.
	Changed int
	// Bytes is the number of bytes read from files, blobs and layers, as far as
	// they were counted.
	Bytes int64
	// Findings is the number of findings.
	Findings int
}

// Plus adds the summaries of a check that was interrupted and of the check that
// continued it.
func (s Summary) Plus(o Summary) Summary {
	return Summary{
		Snapshots: s.Snapshots + o.Snapshots, Images: s.Images + o.Images, Blobs: s.Blobs + o.Blobs,
		Unread: s.Unread + o.Unread, Changed: s.Changed + o.Changed, Bytes: s.Bytes + o.Bytes, Findings: s.Findings + o.Findings,
	}
}
