//go:build !linux

package rmtree

import "os"

// Remove calls [os.RemoveAll].
func Remove(path string) error { return os.RemoveAll(path) }
