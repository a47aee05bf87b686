package tar

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
)

// acl encodes an access control list with that version, as an attribute stores
// it.
func acl(version uint32, items ...aclItem) string {
	b := binary.LittleEndian.AppendUint32(nil, version)
	for _, i := range items {
		b = binary.LittleEndian.AppendUint16(b, i.tag)
		b = binary.LittleEndian.AppendUint16(b, i.perm)
		b = binary.LittleEndian.AppendUint32(b, i.id)
	}
	return string(b)
}

func TestAnACLIsReadFromItsAttribute(t *testing.T) {
	items := []aclItem{{aclUserObj, 7, 1}, {aclUser, 6, 1000}, {aclGroupObj, 5, 2}, {aclGroup, 4, 2000}, {aclMask, 7, 3}, {aclOther, 0, 4}}
	want := []aclItem{{aclUserObj, 7, 0}, {aclUser, 6, 1000}, {aclGroupObj, 5, 0}, {aclGroup, 4, 2000}, {aclMask, 7, 0}, {aclOther, 0, 0}}
	require.Equal(t, want, parseACL(acl(aclVersion, items...)), "only the entries of named users and groups have ids")
	require.Equal(t, []aclItem{}, parseACL(acl(aclVersion)))
	whole := acl(aclVersion, items...)
	for _, none := range []string{"", whole[:3], whole[:aclHeader+1], whole[:len(whole)-1], acl(1, items...), acl(3, items...)} {
		require.Nil(t, parseACL(none), "%q", none)
	}
}

func TestAnACLThatSaysNoMoreThanTheModeIsNotKept(t *testing.T) {
	classes := []aclItem{{aclUserObj, 7, 0}, {aclGroupObj, 5, 0}, {aclOther, 5, 0}}
	require.True(t, isNotKept(accessACL, acl(aclVersion, classes...)))
	require.True(t, isNotKept(accessACL, acl(aclVersion)))
	require.True(t, isNotKept(accessACL, ""))
	require.False(t, isNotKept(accessACL, "odd"))
	require.True(t, isNotKept(defaultACL, acl(aclVersion)))
	require.False(t, isNotKept(defaultACL, acl(aclVersion, classes...)))
	for _, tag := range []uint16{aclUser, aclGroup, aclMask} {
		require.False(t, isNotKept(accessACL, acl(aclVersion, append(classes, aclItem{tag, 7, 9})...)))
	}
}

func TestAnACLIsTheSameAfterAChangeOfMode(t *testing.T) {
	plain := []aclItem{{aclUserObj, 7, 0}, {aclUser, 6, 1000}, {aclGroupObj, 5, 0}, {aclOther, 0, 0}}
	with := func(mask uint16) []aclItem {
		return []aclItem{plain[0], plain[1], plain[2], {aclMask, mask, 0}, plain[3]}
	}
	of := func(items ...aclItem) string { return acl(aclVersion, items...) }
	require.True(t, sameACL(of(with(7)...), of(with(7)...), 0o770))
	require.True(t, sameACL(of(with(7)...), of(with(4)...), 0o740), "the mask is what the mode says of the group")
	require.False(t, sameACL(of(with(7)...), of(with(7)...), 0o740))
	require.False(t, sameACL(of(with(7)...), of(with(7)...), 0o670))
	require.False(t, sameACL(of(with(7)...), of(with(7)...), 0o771))
	require.True(t, sameACL(of(plain...), of(plain...), 0o750), "without a mask it is the group")
	require.False(t, sameACL(of(plain...), of(plain...), 0o740))
	require.False(t, sameACL(of(plain...), of(plain[:3]...), 0o750))
	other := append([]aclItem{}, plain...)
	other[1].id++
	require.False(t, sameACL(of(plain...), of(other...), 0o750))
	require.False(t, sameACL("odd", "odd", 0o750))
}
