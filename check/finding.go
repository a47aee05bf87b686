package check

import (
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/layerkeep/layerkeep/driver"
)

// A Part is what of a store a finding is about. Scripts may rely on the words.
type Part string

// The parts.
const (
	Database Part = "database"
	Snapshot Part = "snapshot"
	Layer    Part = "layer" // one that no snapshot has
	Image    Part = "image"
	Blob     Part = "blob"
)

// A Finding is one thing that is wrong.
type Finding struct {
	Part Part
	// Name is the key of the snapshot, the name of the image or the digest of the blob.
	Name string
	// Layer is the driver's ID of the layer, empty where it is about none.
	Layer driver.ID
	// Path is the file in the layer, as in [diff.Change]; empty for none.
	Path string
	// What says what is wrong, in one line.
	What string
	// Images are the names of the images that it takes down.
	Images []string
	// Broken: the layer itself is damaged, or what its driver keeps in its directory; not only
	// what is kept elsewhere.
	Broken bool
	// Blob is the blob that is damaged or missing, if that is what is wrong.
	Blob digest.Digest
}

// String is a line for people.
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

// A Summary says what was looked at.
type Summary struct {
	Snapshots, Images, Blobs int
	// Unread are snapshots whose content could not be compared with anything, with
	// ReadData: nobody has kept what it must be.
	Unread int
	// Changed are snapshots, images and blobs that somebody was changing whenever they were
	// looked at, or has removed, and of which little or nothing is known therefore.
	Changed int
	// Bytes were read of files, blobs and layers, as far as they were counted.
	Bytes int64
	// Findings are how many there were.
	Findings int
}

// Plus is the summary of two checks together: of one that was cut short and of the one that
// went on.
func (s Summary) Plus(o Summary) Summary {
	return Summary{
		Snapshots: s.Snapshots + o.Snapshots, Images: s.Images + o.Images, Blobs: s.Blobs + o.Blobs,
		Unread: s.Unread + o.Unread, Changed: s.Changed + o.Changed, Bytes: s.Bytes + o.Bytes, Findings: s.Findings + o.Findings,
	}
}
