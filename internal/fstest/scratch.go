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

	// Ext4SmallInodes has inodes of 128 bytes, as mke2fs made them for small disks:
	// its times have 32 bits and no fractions.
	Ext4SmallInodes FS = "ext4 with small inodes"
	// XFSNoBigtime is made with bigtime=0, as by default before xfsprogs 5.15: its
	// times have 32 bits.
	XFSNoBigtime FS = "xfs without bigtime"
)

// kind is the name of the file system to the kernel and to mkfs.
func (fs FS) kind() FS {
	switch fs {
	case Ext4SmallInodes:
		return Ext4
	case XFSNoBigtime:
		return XFS
	default:
		return fs
	}
}

// All lists the scratch file systems that backends are tested on.
func All() []FS { return []FS{Tmpfs, Ext4, XFS, Btrfs} }

// Reflink reports whether files of this file system can share blocks.
func (fs FS) Reflink() bool { return fs == XFS || fs == Btrfs }

// defaultMiB is the size of a scratch file system; the image is sparse.
const defaultMiB = 1024
