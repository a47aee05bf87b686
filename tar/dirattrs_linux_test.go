package tar

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/attrs"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/whiteout"
)

func TestNoErrorOfSettingADirectorysAttributesVanishes(t *testing.T) {
	requireRoot(t)
	calls := fstest.NewCalls(t)
	wanted := attributes{Attrs: attrs.Attrs{Mode: 0o750, UID: 1, GID: 2, Mtime: time.Unix(3, 4), Xattrs: []attrs.Xattr{{Name: "user.new", Value: "n"}}}}
	same := attributes{Attrs: attrs.Attrs{Mode: 0o700, Mtime: time.Unix(5, 6)}}
	for name, a := range map[string]attributes{"all are new": wanted, "the time is new": same} {
		t.Run(name, func(t *testing.T) {
			set := func(n int) (made int, err error) {
				dir := open(t, t.TempDir())
				defer dir.Close()
				fd := int(dir.Fd())
				require.NoError(t, unix.Fchmod(fd, 0o700))
				if len(a.Xattrs) > 0 {
					require.NoError(t, unix.Fsetxattr(fd, "user.old", []byte("o"), 0))
				}
				g := &merger{enc: whiteout.Plain, maker: &maker{uid: ^uint32(0)}}
				made, _ = calls.Fail(t, n, unix.EIO, func() { err = g.setDirAttrs(fd, a, nil) })
				return made, err
			}
			made, err := set(0)
			require.NoError(t, err)
			require.Greater(t, made, 3)
			for n := range made {
				_, err := set(n + 1)
				require.ErrorIs(t, err, unix.EIO, "call %d of %d", n+1, made)
			}
		})
	}
}
