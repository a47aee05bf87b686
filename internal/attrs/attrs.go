package attrs

import (
	"slices"
	"strings"
	"time"

	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// Attrs are the attributes of one file as they go to disk.
type Attrs struct {
	UID, GID uint32
	// Mode is the twelve permission bits.
	Mode uint32
	// Mtime becomes the access time, too: layers have no access times.
	Mtime time.Time
	// Xattrs are sorted by name.
	Xattrs []Xattr
}

// An Xattr is an extended attribute under the name that it has on disk.
type Xattr struct{ Name, Value string }

const permissions = 0o7777

// New returns the attributes of a file with that mode, of which the type is
// left out. The names of xattrs are those in a layer; what the encoding cannot
// store is left out.
func New(mode, uid, gid uint32, mtime time.Time, xattrs map[string]string, enc whiteout.Encoding) Attrs {
	a := Attrs{UID: uid, GID: gid, Mode: mode & permissions, Mtime: mtime}
	for name, value := range xattrs {
		if onDisk, ok := enc.XattrToDisk(name); ok {
			a.Xattrs = append(a.Xattrs, Xattr{onDisk, value})
		}
	}
	a.Sort()
	return a
}

// Sort brings the extended attributes into their order.
func (a *Attrs) Sort() {
	slices.SortFunc(a.Xattrs, func(x, y Xattr) int { return strings.Compare(x.Name, y.Name) })
}

// HasACL reports whether setting the extended attributes changes the mode.
func (a *Attrs) HasACL() bool { return a.HasXattr("system.posix_acl_access") }

// HasXattr reports whether there is an extended attribute of that name.
func (a *Attrs) HasXattr(name string) bool {
	return slices.ContainsFunc(a.Xattrs, func(x Xattr) bool { return x.Name == name })
}

// SameMeta reports whether everything but the time is equal.
func (a *Attrs) SameMeta(b *Attrs) bool {
	return a.Mode == b.Mode && a.UID == b.UID && a.GID == b.GID && slices.Equal(a.Xattrs, b.Xattrs)
}
