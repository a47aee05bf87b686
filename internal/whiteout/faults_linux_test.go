package whiteout_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/internal/whiteout"
)

// markOps has all functions that use a directory. Each returns its result.
var markOps = map[string]func(e whiteout.Encoding, fd int) (any, error){
	"whiteout":     func(e whiteout.Encoding, fd int) (any, error) { return nil, e.Whiteout(fd, "new") },
	"clear":        func(e whiteout.Encoding, fd int) (any, error) { return nil, e.ClearWhiteout(fd, "gone") },
	"removed":      func(e whiteout.Encoding, fd int) (any, error) { return e.IsRemoved(fd, "gone") },
	"not removed":  func(e whiteout.Encoding, fd int) (any, error) { return e.IsRemoved(fd, "there") },
	"opaque":       func(e whiteout.Encoding, fd int) (any, error) { return nil, e.SetOpaque(fd) },
	"clear opaque": func(e whiteout.Encoding, fd int) (any, error) { return nil, e.ClearOpaque(fd) },
	"opacity":      func(e whiteout.Encoding, fd int) (any, error) { return e.Opacity(fd) },
	"redirect":     func(e whiteout.Encoding, fd int) (any, error) { return e.Redirect(fd) },
	"is whiteout": func(e whiteout.Encoding, fd int) (any, error) {
		return e.IsWhiteout(fd, "there", unix.S_IFREG|0o600, 0, 0, whiteout.HasXattrWhiteouts)
	},
}

func TestNoErrorOfReadingOrWritingMarksVanishes(t *testing.T) {
	calls := fstest.NewCalls(t)
	for _, e := range []whiteout.Encoding{whiteout.Overlay, whiteout.OverlayUser, whiteout.AUFS} {
		for _, opaque := range []bool{false, true} {
			for name, op := range markOps {
				if name == "is whiteout" && e == whiteout.AUFS {
					continue // no directory of this encoding is HasXattrWhiteouts
				}
				run := func(n int) (got any, err error, made int, failed string) {
					dir := fstest.Quick(t)
					f, err := os.Open(dir)
					require.NoError(t, err)
					defer f.Close()
					fd := int(f.Fd())
					require.NoError(t, e.Whiteout(fd, "gone"))
					require.NoError(t, os.WriteFile(dir+"/there", nil, 0o600))
					if opaque {
						require.NoError(t, e.SetOpaque(fd))
					}
					made, failed = calls.Fail(t, n, unix.EIO, func() { got, err = op(e, fd) })
					return got, err, made, failed
				}
				_, err, made, _ := run(0)
				require.NoError(t, err, "%s: %s", e, name)
				for n := 1; n <= made; n++ {
					_, err, _, failed := run(n)
					require.ErrorIs(t, err, unix.EIO, "%s: %s, %s", e, name, failed)
				}
			}
		}
	}
}

func TestANameOfTheGreatestLengthIsAMark(t *testing.T) {
	f, err := os.Open(t.TempDir())
	require.NoError(t, err)
	defer f.Close()
	fd := int(f.Fd())
	name := strings.Repeat("n", unix.NAME_MAX-len(whiteout.Prefix))
	require.NoError(t, whiteout.AUFS.Whiteout(fd, name))
	gone, err := whiteout.AUFS.IsRemoved(fd, name)
	require.NoError(t, err)
	require.True(t, gone)
	require.NoError(t, whiteout.AUFS.ClearWhiteout(fd, name))
}

func TestAViewShowsNoAttributesOfTheEncoding(t *testing.T) {
	attrs := map[string]string{"user.x": "1", "trusted.overlay.opaque": "y", "trusted.overlay.overlay.opaque": "z", "security.selinux": "l"}
	require.Equal(t, map[string]string{"user.x": "1", "trusted.overlay.opaque": "z"}, whiteout.Overlay.Shown(attrs))
	require.Empty(t, whiteout.Overlay.Shown(nil))
	require.Len(t, whiteout.Plain.Shown(attrs), 3)
	for name, want := range map[string]string{"trusted.overlay.opaque": "trusted.overlay.overlay.opaque", "user.x": "user.x"} {
		disk, ok := whiteout.Overlay.XattrToDisk(name)
		require.True(t, ok)
		require.Equal(t, want, disk)
	}
}

func TestOnlyAUFSMergesPastFiles(t *testing.T) {
	require.True(t, whiteout.AUFS.MergesPastFiles())
	for _, e := range []whiteout.Encoding{whiteout.Plain, whiteout.Overlay, whiteout.OverlayUser} {
		require.False(t, e.MergesPastFiles(), e)
	}
}
