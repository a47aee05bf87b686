package drivertest

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/layerkeep/layerkeep/driver"
	. "github.com/layerkeep/layerkeep/internal/fstest"
)

// testSpecial holds the statements whose outcome depends on the file system and
// on what this process may do.
func (s *suite) testSpecial(t *testing.T) {
	t.Run("A5 an xattr that does not fit is an error that names it", s.bigXattr)
	if !s.can.owners {
		t.Run("A7 devices are skipped with a warning in a user namespace", s.skippedDevices)
		t.Run("A5 an xattr that a user namespace forbids is dropped with a warning", s.forbiddenXattr)
	}
	if s.props.Rebase {
		t.Run("layers unpacked side by side are the same as in sequence", s.sideBySide)
	}
}

func (s *suite) bigXattr(t *testing.T) {
	st := s.open(t)
	st.create("a")
	want := st.tree("a")
	value := strings.Repeat("v", 60_000) // ext4 and btrfs take less, tmpfs and xfs more
	err := st.apply("a", File("f", "f"), File("g", "g").WithXattr("user.big", value))
	if err == nil {
		require.Equal(t, value, st.tree("a")["g"].Xattrs["user.big"])
		return
	}
	require.ErrorContains(t, err, "user.big")
	require.ErrorContains(t, err, `"g"`)
	require.Equal(t, want, st.tree("a"), "a refused layer is rolled back")
}

func (s *suite) skippedDevices(t *testing.T) {
	st := s.open(t)
	chain := st.layer("a", nil, File("null", "a file of the parents"))
	st.create("b", chain...)
	st.mustApply("b", Dir("dev"), Char("dev/null", 1, 3), Block("dev/sda", 8, 0), File("dev/f", "f"))
	require.Equal(t, []string{"dev/", "dev/f:f", "null:a file of the parents"}, st.tree("b").Brief())
	require.Subset(t, st.warns, []string{"dev/null", "dev/sda"})
}

func (s *suite) forbiddenXattr(t *testing.T) {
	st := s.open(t)
	st.create("a")
	st.mustApply("a", File("f", "f").WithXattr("trusted.k", "v").WithXattr("user.k", "v"))
	require.Equal(t, map[string]string{"user.k": "v"}, st.tree("a")["f"].Xattrs)
	require.Contains(t, st.warns, "f")
}

// sideBySide unpacks the layers of one stack at the same time, the way an image
// is imported, and compares with the same in sequence.
func (s *suite) sideBySide(t *testing.T) {
	st := s.open(t)
	layers := [][]Entry{
		everythingBase(), everything(), canonicalLayer(), {Whiteout("d"), File("d/new", "n")}, {Opaque("file"), File("implied/a/c", "c")},
	}
	ids, group := make([]driver.ID, len(layers)), errgroup.Group{}
	for i, l := range layers {
		ids[i] = driver.ID("side-" + string(layerID(i)))
		stream := Layer(t, slices.DeleteFunc(slices.Clone(l), func(e Entry) bool { return e.Type == '1' })...)
		group.Go(func() error {
			if err := st.d.Create(t.Context(), ids[i], nil, driver.CreateOptions{}); err != nil {
				return err
			}
			_, err := st.d.ApplyDiff(t.Context(), ids[i], bytes.NewReader(stream), driver.ApplyOptions{Detached: i > 0})
			return err
		})
	}
	require.NoError(t, group.Wait())
	var chain, side []driver.ID
	for i, l := range layers {
		chain = st.layer(layerID(i), chain, slices.DeleteFunc(slices.Clone(l), func(e Entry) bool { return e.Type == '1' })...)
		if i > 0 {
			require.NoError(t, st.d.(driver.Rebaser).Rebase(t.Context(), ids[i], side), "layer %d", i)
		}
		st.seal(ids[i])
		side = slices.Insert(side, 0, ids[i])
		st.requireTree(st.tree(layerID(i)), ids[i], "unpacked side by side")
		require.Equal(t, st.diff(layerID(i)), st.diff(ids[i]), "the diff of layer %d", i)
	}
}
