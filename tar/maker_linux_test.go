package tar

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/attrs"
)

// An attribute that cannot be set is dropped only for a known reason.
func TestWhichAttributesAreLeftOut(t *testing.T) {
	acl := "\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff" // only of the owner, so no ID is missing
	for _, c := range []struct {
		what            string
		userNS, special bool
		name            string
		err             error
		leftOut         bool
	}{
		{"a user attribute of a fifo", false, true, "user.k", unix.EPERM, true},
		{"a name that is no more than its namespace", false, true, "user.", unix.EPERM, false},
		{"a user attribute of a file", false, false, "user.k", unix.EPERM, false},
		{"what a user namespace forbids", true, false, "trusted.k", unix.EPERM, true},
		{"what nobody forbids", false, false, "trusted.k", unix.EPERM, false},
		{"what is wrong in itself", true, false, "security.k", unix.EINVAL, false},
		{"a list of ids that are all there", true, false, "system.posix_acl_access", unix.EINVAL, false},
		{"a full disk", true, false, "security.k", unix.EDQUOT, false},
	} {
		var warned []string
		m := &maker{userNS: c.userNS, warnFunc: func(path, _ string) { warned = append(warned, path) }}
		x := &attrs.Xattr{Name: c.name, Value: acl}
		err := m.xattrError(func() string { return "file" }, &attributes{Attrs: attrs.Attrs{Xattrs: []attrs.Xattr{*x}}}, x, c.special, c.err)
		if c.leftOut {
			require.NoError(t, err, c.what)
			require.Equal(t, []string{"file"}, warned, c.what)
			continue
		}
		require.ErrorIs(t, err, c.err, c.what)
		require.Empty(t, warned, c.what)
	}
}
