package robustness

import "github.com/layerkeep/layerkeep/test/robustness/cutdisk"

// serveDisk does not return in a process that was started to serve a disk.
func serveDisk() { cutdisk.Main() }
