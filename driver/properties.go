package driver

import (
	"time"

	"github.com/layerkeep/layerkeep/mount"
)

// Properties are facts about a driver on this kernel and file system. Callers
// and tests decide by them, and never by the name of a driver.
type Properties struct {
	// Rebase: the driver is a [Rebaser], so layers can be unpacked at the same
	// time.
	Rebase bool
	// Explain: the driver is an [Explainer].
	Explain bool
	// NativeDiff: the cost of a diff depends on the size of the changes, not on
	// the size of the parents.
	NativeDiff bool
	// SharesPages: containers over the same layer share its files in the page
	// cache.
	SharesPages bool
	// Reflink: copies share blocks on disk until one is written.
	Reflink bool
	// BreaksHardlinks: a write to a file of a parent that has several names
	// gives the written name an inode of its own (copy-up). The other names
	// keep the old content.
	BreaksHardlinks bool
	// RenameDir: rename(2) of a directory of a parent works in a mount. Without
	// it rename(2) returns EXDEV.
	RenameDir bool
	// MountsWritable: writable layers can be mounted here. Without it Mount of
	// a writable layer returns ErrUnsupported; sealed layers and views can be
	// mounted.
	MountsWritable bool
	// Quota: a layer can have a size limit, see CreateOptions.Size.
	Quota bool
	// Idmap: a layer can be mounted with mapped IDs, see CreateOptions.IDMap.
	Idmap bool
	// Rootless: the driver works in a user namespace.
	Rootless bool
	// MountWay is the system interface that mounts overlays here; zero for a
	// backend that mounts no overlays.
	MountWay mount.Way
	// MountTimes is the precision of a modification time that a program sets
	// through a writable mount: the mount cuts the time to a multiple of it. 0
	// means that the file system decides. Times of applied layers are not cut.
	MountTimes time.Duration
	// Volatile: MountOptions.Volatile has an effect.
	Volatile bool
	// KeepsXattrs: an extended attribute that is removed through a writable
	// mount stays with an empty value, and an attribute with an empty value is
	// lost when its file is copied up.
	KeepsXattrs bool
	// MaxName is the longest file name, in bytes. 0 means that the file system
	// decides.
	MaxName int
	// MaxParents is the largest number of parents; 0 means no limit. Create
	// returns ErrTooManyLayers for more parents. Seal returns it for a layer
	// that has exactly this number: no layer could have it as a parent, and a
	// mount that takes no more layers could not show it.
	MaxParents int
	// RefusedXattr is the prefix of attributes that a layer cannot have here;
	// empty for none. It is "trusted.overlay." where the kernel's overlay
	// cannot show such attributes (before Linux 6.7). ApplyDiff returns
	// ErrUnsupported for a layer with such an attribute.
	RefusedXattr string
	// XattrNamespaces are the attribute prefixes that this driver can store,
	// each with its dot, for example "user.".
	XattrNamespaces []string
}
