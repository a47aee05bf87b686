package check

import (
	"fmt"

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
	// Bytes were read of files, blobs and layers, as far as they were counted.
	Bytes int64
	// Findings are how many there were.
	Findings int
}
