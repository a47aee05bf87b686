package aufs

import (
	"os"
	"path/filepath"

	"github.com/layerkeep/layerkeep/driver"
)

// Records is the directory, below the driver's, that has one with a record for
// each layer of ours.
const Records = ".layerkeep/layers"

// Found reports whether root looks like the directory in which another engine
// keeps layers in the layout of aufs: there is a layer with a file and a branch
// for which we have no record. It does not look whether the layer is whole.
func Found(root string) bool {
	entries, err := os.ReadDir(filepath.Join(root, "layers"))
	if err != nil {
		return false
	}
	for _, e := range entries {
		if driver.ID(e.Name()).Validate() != nil || !e.Type().IsRegular() {
			continue
		}
		if isDir(filepath.Join(root, "diff", e.Name())) && !isDir(filepath.Join(root, Records, e.Name())) {
			return true
		}
	}
	return false
}

func isDir(path string) bool {
	st, err := os.Lstat(path)
	return err == nil && st.IsDir()
}
