package overlay2

import (
	"errors"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/internal/layerdir"
)

// A rewritten record has what the attributes of the layer's files show,
// whichever file has them.
func TestARecordThatIsWrittenAgainTellsOfAttributes(t *testing.T) {
	d := open(t, driver.Options{})
	escaped := map[string]string{"trusted.overlay.overlay.opaque": "y"}
	copied := map[string]string{"trusted.overlay.metacopy": ""}
	for id, c := range map[driver.ID]struct {
		attrs, more       map[string]string // attributes of the first file, and of another file
		escaped, metacopy bool
	}{
		"none": {}, "escaped": {escaped, nil, true, false}, "copied": {copied, nil, false, true},
		"both": {escaped, copied, true, true}, "turned": {copied, escaped, true, true},
	} {
		require.NoError(t, d.Create(t.Context(), id, nil, driver.CreateOptions{}))
		for name, attrs := range map[string]map[string]string{"a": c.attrs, "d/b": c.more, "z": nil} {
			require.NoError(t, os.MkdirAll(d.store.Path(id, fsDir, "d"), 0o755))
			path := d.store.Path(id, fsDir, name)
			write(t, path, "x")
			for attr, value := range attrs {
				if err := unix.Setxattr(path, attr, []byte(value), 0); errors.Is(err, unix.EPERM) {
					t.Skip("needs root: trusted attributes")
				} else {
					require.NoError(t, err)
				}
			}
		}
		require.NoError(t, os.Remove(d.store.Path(id, layerdir.RecordName)))
		require.NoError(t, d.Rerecord(t.Context(), id, nil, driver.CreateOptions{}))
		m, err := d.store.Load(id)
		require.NoError(t, err)
		require.Equal(t, c.escaped, m.Escaped, id)
		require.Equal(t, c.metacopy, m.Metacopy, id)
	}
}

func TestALayerThatIsNotYetOverItsParentsGetsNoRecord(t *testing.T) {
	for _, name := range []string{deltaDir, deltaFile} {
		d := open(t, driver.Options{})
		require.NoError(t, d.Create(t.Context(), "a", nil, driver.CreateOptions{}))
		require.NoError(t, os.Mkdir(d.store.Path("a", name), 0o700))
		err := d.Rerecord(t.Context(), "a", nil, driver.CreateOptions{})
		require.ErrorIs(t, err, driver.ErrUnsupported)
		require.ErrorContains(t, err, "without its parents")
	}
}
