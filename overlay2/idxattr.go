package overlay2

import (
	"encoding/binary"
	"fmt"

	"github.com/layerkeep/layerkeep/mount"
)

// Extended attributes that contain IDs, by the names that getxattr(2) uses.
const (
	xattrCapability = "security.capability"
	xattrACL        = "system.posix_acl_access"
	xattrDefaultACL = "system.posix_acl_default"
)

// Values of struct posix_acl_xattr_header and posix_acl_xattr_entry in
// linux/posix_acl_xattr.h, little-endian.
const (
	aclHeader = 4
	aclEntry  = 8
	aclUser   = 2 // a tag with an ID
	aclGroup  = 8
)

// Values of struct vfs_ns_cap_data in linux/capability.h, little-endian.
// Revision 2 has no root ID; it is for capabilities of the initial user
// namespace.
const (
	capRevision  = 0xff000000
	capRevision2 = 0x02000000
	capRevision3 = 0x03000000
	capLength2   = 20
	capLength3   = 24
)

// A shift translates the IDs in a layer's own directory with an ID map.
type shift struct {
	*mount.IDMap
	// mixedACLs: access control lists can also have the container's IDs. On XFS,
	// copy-up copies them as they are on disk, because they are also the attributes
	// trusted.SGI_ACL_FILE and _DEFAULT there.
	mixedACLs bool
}

// xattr translates the host's IDs in an attribute to the container's IDs. A
// capability that root of the container set becomes a revision 2 capability, as
// if no user namespace was involved. A malformed value stays as it is. The
// error matches [mount.ErrUnmapped].
func (s *shift) xattr(name, value string) (string, error) {
	switch name {
	case xattrACL, xattrDefaultACL:
		if s.mixedACLs {
			return mapACL(value, orSame(s.ContainerUID), orSame(s.ContainerGID))
		}
		return mapACL(value, s.ContainerUID, s.ContainerGID)
	case xattrCapability:
		return containerCapability(s.IDMap, value)
	}
	return value, nil
}

func orSame(mapID func(uint32) (uint32, bool)) func(uint32) (uint32, bool) {
	return func(id uint32) (uint32, bool) {
		if mapped, ok := mapID(id); ok {
			return mapped, true
		}
		return id, true
	}
}

// hostACL translates the container's IDs in an ACL to the host's IDs.
func hostACL(m *mount.IDMap, value string) (string, error) {
	return mapACL(value, m.HostUID, m.HostGID)
}

func mapACL(value string, mapUID, mapGID func(uint32) (uint32, bool)) (string, error) {
	if len(value) < aclHeader || (len(value)-aclHeader)%aclEntry != 0 {
		return value, nil
	}
	b := []byte(value)
	for at := aclHeader; at < len(b); at += aclEntry {
		mapID, what := mapUID, "user"
		switch binary.LittleEndian.Uint16(b[at:]) {
		case aclUser:
		case aclGroup:
			mapID, what = mapGID, "group"
		default:
			continue
		}
		id := binary.LittleEndian.Uint32(b[at+4:])
		mapped, ok := mapID(id)
		if !ok {
			return "", fmt.Errorf("access control list: %w: %s %d", mount.ErrUnmapped, what, id)
		}
		binary.LittleEndian.PutUint32(b[at+4:], mapped)
	}
	return string(b), nil
}

func containerCapability(m *mount.IDMap, value string) (string, error) {
	if len(value) != capLength3 {
		return value, nil
	}
	b := []byte(value)
	magic := binary.LittleEndian.Uint32(b)
	if magic&capRevision != capRevision3 {
		return value, nil
	}
	id := binary.LittleEndian.Uint32(b[capLength2:])
	root, ok := m.ContainerUID(id)
	if !ok {
		return "", fmt.Errorf("%s: %w: user %d", xattrCapability, mount.ErrUnmapped, id)
	}
	if root == 0 {
		binary.LittleEndian.PutUint32(b, magic&^capRevision|capRevision2)
		return string(b[:capLength2]), nil
	}
	binary.LittleEndian.PutUint32(b[capLength2:], root)
	return string(b), nil
}
