package tar

import (
	stdtar "archive/tar"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// attrs are the attributes of one file as they go to disk.
type attrs struct {
	mode     uint32 // the twelve permission bits
	uid, gid uint32
	mtime    time.Time
	xattrs   []xattr // names as on disk, sorted
	// foreign are the names of extended attributes that no file system of Linux can
	// hold, such as com.apple.quarantine.
	foreign []string
}

type xattr struct{ name, value string }

// impliedAttrs are those of a directory that no layer described (A2).
func impliedAttrs() *attrs { return &attrs{mode: 0o755, mtime: time.Unix(0, 0)} }

const (
	// maxID is the largest id: the one after it means "leave as it is" to
	// chown(2).
	maxID       = 1<<32 - 2
	schilyXattr = "SCHILY.xattr."
)

// headerAttrs takes the attributes from the header of an entry.
func headerAttrs(hdr *stdtar.Header, enc whiteout.Encoding) (attrs, error) {
	a := attrs{mode: uint32(hdr.Mode) & diff.PermMask, mtime: hdr.ModTime}
	if hdr.Uid < 0 || hdr.Uid > maxID {
		return a, invalid("owner id %d is out of range", hdr.Uid)
	}
	if hdr.Gid < 0 || hdr.Gid > maxID {
		return a, invalid("group id %d is out of range", hdr.Gid)
	}
	a.uid, a.gid = uint32(hdr.Uid), uint32(hdr.Gid)
	var names []string
	for key, value := range hdr.PAXRecords {
		name, ok := strings.CutPrefix(key, schilyXattr)
		if !ok {
			continue
		}
		if name == "" || strings.IndexByte(name, 0) >= 0 {
			return a, invalid("extended attribute without a proper name: %q", name)
		}
		disk, ok := enc.XattrToDisk(name)
		switch {
		case !ok:
		case !hasNamespace(name):
			a.foreign = append(a.foreign, name)
		default:
			a.xattrs, names = append(a.xattrs, xattr{disk, value}), append(names, name)
		}
	}
	if err := a.checkXattrs(names); err != nil {
		return a, err
	}
	a.sortXattrs()
	slices.Sort(a.foreign)
	return a, nil
}

// hasNamespace reports whether an extended attribute has one of the namespaces of
// xattr(7). The kernel refuses all others, on every file system that a store can be on.
func hasNamespace(name string) bool {
	return slices.ContainsFunc([]string{"user.", "trusted.", "security.", "system."}, func(space string) bool { return strings.HasPrefix(name, space) })
}

// nodeAttrs takes the attributes from a view.
func nodeAttrs(n diff.Node, xattrs map[string]string, enc whiteout.Encoding) attrs {
	a := attrs{mode: n.Perm(), uid: n.UID, gid: n.GID, mtime: n.Mtime}
	for name, value := range xattrs {
		if name, ok := enc.XattrToDisk(name); ok {
			a.xattrs = append(a.xattrs, xattr{name, value})
		}
	}
	a.sortXattrs()
	return a
}

func (a *attrs) sortXattrs() {
	sort.Slice(a.xattrs, func(i, j int) bool { return a.xattrs[i].name < a.xattrs[j].name })
}

// hasACL reports whether setting the extended attributes changes the mode.
func (a *attrs) hasACL() bool {
	for _, x := range a.xattrs {
		if x.name == "system.posix_acl_access" {
			return true
		}
	}
	return false
}

func (a *attrs) hasXattr(name string) bool {
	return slices.ContainsFunc(a.xattrs, func(x xattr) bool { return x.name == name })
}

// sameMeta reports whether everything but the time is equal.
func (a *attrs) sameMeta(b *attrs) bool {
	return a.mode == b.mode && a.uid == b.uid && a.gid == b.gid && slices.Equal(a.xattrs, b.xattrs)
}
