package fstest

import "github.com/layerkeep/layerkeep/internal/testrun"

// RemoveAll is os.RemoveAll, for directories that a test made unreadable and
// for read-only subvolumes too.
func RemoveAll(dir string) error { return testrun.RemoveAll(dir) }
