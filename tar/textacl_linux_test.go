package tar

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/internal/fstest"
)

// There is one warning for all of them, even if the stream is read again from
// the middle.
func TestTextualListsAreCountedOnce(t *testing.T) {
	requireRoot(t)
	const record, list = "SCHILY.acl.access", "user::rw-,group::r--,other::r--"
	b := newPlainBed(t, t.TempDir())
	_, err := b.apply(t, fstest.Layer(t, fstest.Dir("usr"), fstest.Symlink("lib", "usr")), UnpackOptions{})
	require.NoError(t, err)
	var warned []string
	layer := fstest.Layer(t,
		fstest.File("a", "").WithPAX(record, list), fstest.File("lib/b", "").WithPAX(record, list), fstest.Whiteout("none"),
		fstest.File("lib/c", "").WithPAX("SCHILY.acl.default", list), fstest.Link("d", "a").WithPAX(record, list))
	_, err = b.apply(t, layer, UnpackOptions{Warn: func(p, message string) { warned = append(warned, p+": "+message) }})
	require.NoError(t, err)
	require.Equal(t, []string{"a: access control list written as text (SCHILY.acl.access) dropped, as for 2 more files; " +
		"a layer has them as SCHILY.xattr.system.posix_acl_access and _default"}, warned)
}
