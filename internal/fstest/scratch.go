package fstest

// FS is a kind of scratch file system.
type FS string

// The scratch file systems.
const (
	Tmpfs FS = "tmpfs"
	Ext4  FS = "ext4"
	// XFS is made with reflink=1.
	XFS   FS = "xfs"
	Btrfs FS = "btrfs"
)

// All lists the scratch file systems.
func All() []FS { return []FS{Tmpfs, Ext4, XFS, Btrfs} }

// Reflink reports whether files of this file system can share blocks.
func (fs FS) Reflink() bool { return fs == XFS || fs == Btrfs }

// defaultMiB is the size of a scratch file system; the image is sparse.
const defaultMiB = 1024
