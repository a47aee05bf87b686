//go:build !linux

package robustness

// serveDisk does nothing: disks are recorded on Linux only.
func serveDisk() {}

func removeBuilt() {}
