package aufs

import (
	"os"
	"path/filepath"

	"github.com/layerkeep/layerkeep/driver"
)

// Records is a directory below the driver's store directory. It has one
// directory with a record for each layer that this driver made.
const Records = ".layerkeep/layers"

// Found reports whether root looks like a store directory in which another
// engine stores layers in the layout of aufs: at least one layer has a file in
// layers/ and a branch, but no record of this driver. It does not check whether
// the layer is complete.
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
