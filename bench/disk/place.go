package disk

// A Place is a directory that is measured on.
type Place struct {
	// Name is how results call it.
	Name string
	// Dir is empty in the beginning, and the place's own.
	Dir string
	// FileSystem and Options are as in the mount table.
	FileSystem, Options string
	// Device says in words what the file system lies on.
	Device string
	// Own: nobody else uses the device.
	Own bool
	// Reflink: files can share blocks.
	Reflink bool

	// number is the device of a block device, 0 if there is none: tmpfs, network.
	number uint64
}

// Tmpfs is a file system in memory, for comparison: there is no device.
const Tmpfs = "tmpfs"

// FileSystems are the kinds of file system that a disk can be made of.
func FileSystems() []string { return []string{"ext4", "xfs", "btrfs", Tmpfs} }
