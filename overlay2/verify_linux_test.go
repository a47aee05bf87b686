package overlay2

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/fstest"
	"github.com/layerkeep/layerkeep/tar"
)

// TestDamageOfOverlaysOwnMarksIsFound damages attributes that only overlayfs
// reads. The hints of such a layer do not name files that now show through, or
// that no longer do.
func TestDamageOfOverlaysOwnMarksIsFound(t *testing.T) {
	base := []fstest.Entry{
		fstest.Dir("o"), fstest.File("o/a", "a"), fstest.Dir("o/sub"), fstest.File("gone", "g"), fstest.Dir("d"), fstest.File("d/f", "f"),
		fstest.Dir("r"), fstest.File("r/deep", "x"),
	}
	layer := []fstest.Entry{
		fstest.Opaque("o"), fstest.File("o/b", "b"), fstest.Whiteout("gone"), fstest.Dir("d"), fstest.Whiteout("r"), fstest.Dir("r"),
	}
	for name, c := range map[string]struct {
		damage func(t *testing.T, upper string)
		want   []string
	}{
		"none": {func(*testing.T, string) {}, nil},
		"an opaque mark is gone": {func(t *testing.T, upper string) {
			require.NoError(t, unix.Lremovexattr(upper+"/o", "trusted.overlay.opaque"))
		}, []string{"/o/a: is a regular file that the tar does not have", "/o/sub: is a directory that the tar does not have"}},
		"the mark of a directory that was made again is gone": {func(t *testing.T, upper string) {
			require.NoError(t, unix.Lremovexattr(upper+"/r", "trusted.overlay.opaque"))
		}, []string{"/r/deep: is a regular file that the tar does not have"}},
		"a whiteout is gone": {func(t *testing.T, upper string) {
			require.NoError(t, os.Remove(upper+"/gone"))
			require.NoError(t, unix.UtimesNanoAt(unix.AT_FDCWD, upper, make([]unix.Timespec, 2), 0))
		}, []string{"/gone: is a regular file; the tar: removes it"}},
		"an opaque mark too many": {func(t *testing.T, upper string) {
			mark(t, upper+"/d", "opaque", "y")
		}, []string{"/d/f: is missing; the layers below: regular file"}},
		"a whiteout too many": {func(t *testing.T, upper string) {
			whiteout00(t, upper+"/d/f")
			require.NoError(t, unix.UtimesNanoAt(unix.AT_FDCWD, upper+"/d", []unix.Timespec{
				unix.NsecToTimespec(fstest.Epoch.UnixNano()), unix.NsecToTimespec(fstest.Epoch.UnixNano()),
			}, 0))
		}, []string{"/d/f: is missing; the layers below: regular file"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := fstest.Quick(t)
			d, err := New(t.Context(), filepath.Join(dir, "store"), driver.Options{})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, d.Close()) })
			applyLayer(t, d, "base", nil, base)
			stream := applyLayer(t, d, "top", []driver.ID{"base"}, layer)
			o, ok := d.(*overlay)
			require.True(t, ok)
			c.damage(t, filepath.Join(o.store.Path("top"), fsDir))

			parents, err := d.View(t.Context(), "base")
			require.NoError(t, err)
			defer parents.Close()
			merged, err := d.View(t.Context(), "top")
			require.NoError(t, err)
			defer merged.Close()
			v, err := tar.Verify(t.Context(), bytes.NewReader(stream), parents, merged, tar.VerifyOptions{ReadData: true})
			require.NoError(t, err)
			var got []string
			for _, f := range v.Findings {
				got = append(got, f.String())
			}
			require.Equal(t, c.want, got)
		})
	}
}

// applyLayer makes a sealed layer and returns its layer tar.
func applyLayer(t *testing.T, d driver.Driver, id driver.ID, parents []driver.ID, entries []fstest.Entry) []byte {
	t.Helper()
	stream := fstest.Layer(t, entries...)
	require.NoError(t, d.Create(t.Context(), id, parents, driver.CreateOptions{}))
	_, err := d.ApplyDiff(t.Context(), id, bytes.NewReader(stream), driver.ApplyOptions{})
	require.NoError(t, err)
	require.NoError(t, d.Seal(t.Context(), id))
	return stream
}
