package tar

import (
	stdtar "archive/tar"
	"slices"
	"strings"
	"time"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/internal/attrs"
	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// attributes is the attributes of one file of a layer.
type attributes struct {
	attrs.Attrs
	// foreign is the names of extended attributes that no file system of Linux can
	// store, such as com.apple.quarantine.
	foreign []string
}

// impliedAttrs returns the attributes of a directory that no layer described
// (A2).
func impliedAttrs() *attributes {
	return &attributes{Attrs: attrs.Attrs{Mode: 0o755, Mtime: time.Unix(0, 0)}}
}

const (
	// maxID is the largest ID. The next value means "leave unchanged" to chown(2).
	maxID       = 1<<32 - 2
	schilyXattr = "SCHILY.xattr."
)

// headerAttrs reads the attributes from the header of an entry.
func headerAttrs(hdr *stdtar.Header, enc whiteout.Encoding) (attributes, error) {
	a := attributes{Attrs: attrs.Attrs{Mode: uint32(hdr.Mode) & diff.PermMask, Mtime: hdr.ModTime}}
	if hdr.Uid < 0 || hdr.Uid > maxID {
		return a, invalid("owner id %d is out of range", hdr.Uid)
	}
	if hdr.Gid < 0 || hdr.Gid > maxID {
		return a, invalid("group id %d is out of range", hdr.Gid)
	}
	a.UID, a.GID = uint32(hdr.Uid), uint32(hdr.Gid)
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
			a.Xattrs, names = append(a.Xattrs, attrs.Xattr{Name: disk, Value: value}), append(names, name)
		}
	}
	if err := a.checkXattrs(names); err != nil {
		return a, err
	}
	a.Sort()
	slices.Sort(a.foreign)
	return a, nil
}

// hasNamespace reports whether an extended attribute has one of the namespaces
// of xattr(7). The kernel refuses all others, on every file system that a store
// can be on.
func hasNamespace(name string) bool {
	return slices.ContainsFunc([]string{"user.", "trusted.", "security.", "system."}, func(space string) bool { return strings.HasPrefix(name, space) })
}

// nodeAttrs converts the attributes that a view returns.
func nodeAttrs(n diff.Node, xattrs map[string]string, enc whiteout.Encoding) attributes {
	return attributes{Attrs: attrs.New(n.Mode, n.UID, n.GID, n.Mtime, xattrs, enc)}
}
