package tar

import "encoding/binary"

const (
	accessACL  = "system.posix_acl_access"
	defaultACL = "system.posix_acl_default"
)

func isACL(name string) bool { return name == accessACL || name == defaultACL }

// The form of an ACL in an extended attribute (linux/posix_acl_xattr.h): a
// version, then for each entry a tag, permissions and an ID, all little-endian.
const (
	aclVersion = 2
	aclHeader  = 4
	aclEntry   = 8

	aclUserObj  = 0x01
	aclUser     = 0x02
	aclGroupObj = 0x04
	aclGroup    = 0x08
	aclMask     = 0x10
	aclOther    = 0x20
)

type aclItem struct {
	tag, perm uint16
	id        uint32
}

// parseACL returns nil if value is not an ACL.
func parseACL(value string) []aclItem {
	b := []byte(value)
	if len(b) < aclHeader || (len(b)-aclHeader)%aclEntry != 0 || binary.LittleEndian.Uint32(b) != aclVersion {
		return nil
	}
	items := []aclItem{}
	for b = b[aclHeader:]; len(b) > 0; b = b[aclEntry:] {
		item := aclItem{tag: binary.LittleEndian.Uint16(b), perm: binary.LittleEndian.Uint16(b[2:]), id: binary.LittleEndian.Uint32(b[4:])}
		if item.tag != aclUser && item.tag != aclGroup {
			item.id = 0 // it has no meaning for the other tags
		}
		items = append(items, item)
	}
	return items
}

// isNotKept reports whether the kernel does not store an ACL: an empty one, or
// an access ACL that has only the three classes of the mode.
func isNotKept(name, value string) bool {
	items := parseACL(value)
	for _, i := range items {
		if name == defaultACL || i.tag == aclUser || i.tag == aclGroup || i.tag == aclMask {
			return false
		}
	}
	return items != nil || value == ""
}

// sameACL reports whether an access ACL is the wanted one after a chmod(2).
// Applying a layer calls chmod(2) after it sets the ACL. That sets the
// permissions of the owner, of others, and of the mask, or of the group if
// there is no mask.
func sameACL(want, got string, mode uint32) bool {
	a, b := parseACL(want), parseACL(got)
	if a == nil || len(a) != len(b) {
		return false
	}
	masked := false
	for _, i := range a {
		masked = masked || i.tag == aclMask
	}
	for n, i := range a {
		switch {
		case i.tag == aclUserObj:
			i.perm = uint16(mode >> 6 & 7)
		case i.tag == aclMask, i.tag == aclGroupObj && !masked:
			i.perm = uint16(mode >> 3 & 7)
		case i.tag == aclOther:
			i.perm = uint16(mode & 7)
		}
		if i != b[n] {
			return false
		}
	}
	return true
}
