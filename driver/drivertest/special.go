package drivertest

import (
	"bytes"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/driver/drivertest/semantics"
	. "github.com/layerkeep/layerkeep/internal/fstest"
)

// testSpecial holds the statements whose outcome depends on the file system and
// on what this process may do.
func (s *suite) testSpecial(t *testing.T) {
	t.Run("A5 an xattr that does not fit is an error that names it", s.bigXattr)
	t.Run("A5 as many names of xattrs as Linux lists go round, or are an error that names the file", s.manyXattrs)
	if !s.can.owners {
		t.Run("A7 devices are skipped with a warning in a user namespace", s.skippedDevices)
		t.Run("A5 an xattr that a user namespace forbids is dropped with a warning", s.forbiddenXattr)
		t.Run("A4 an owner that a user namespace lacks is an error that names it and the map", s.unmappedOwner)
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
	for _, part := range []string{"user.big", `"g"`, "60000"} {
		require.ErrorContains(t, err, part)
	}
	require.ErrorIs(t, err, driver.ErrUnsupported)
	require.NotErrorIs(t, err, syscall.ENOSPC, "the disk is not full")
	require.Equal(t, want, st.tree("a"), "a refused layer is rolled back")
	// What the error says that the file system takes, it does take.
	found := regexp.MustCompile(`this file system takes (\d+)`).FindStringSubmatch(err.Error())
	require.NotNil(t, found, "%v", err)
	most, err := strconv.Atoi(found[1])
	require.NoError(t, err)
	st.mustApply("a", File("g", "g").WithXattr("user.big", value[:most]))
	require.Equal(t, value[:most], st.tree("a")["g"].Xattrs["user.big"])
	st.create("b")
	require.Error(t, st.apply("b", File("g", "g").WithXattr("user.big", value[:most+1])))
	err = st.apply("b", Symlink("l", "x").WithXattr("trusted.a", value[:most/2+1]).WithXattr("trusted.b", value[:most/2+1]))
	if err != nil { // they share the room on ext4
		require.NotErrorIs(t, err, syscall.ENOSPC)
		if s.can.owners {
			require.ErrorContains(t, err, "beside 1 others of the same file")
		}
	}
}

// manyXattrs gives a file as many names of attributes as can be listed, which
// the file system holds or refuses by name, and looks at what becomes of them.
func (s *suite) manyXattrs(t *testing.T) {
	st := s.open(t)
	st.create("a")
	full := semantics.WithXattrs(File("f", "f"), 320, 203) // 65,280 bytes
	if err := st.apply("a", full); err != nil {
		require.ErrorIs(t, err, driver.ErrUnsupported)
		require.NotErrorIs(t, err, syscall.ENOSPC)
		require.ErrorContains(t, err, `"f"`)
		return
	}
	require.Equal(t, full.Xattrs, st.tree("a")["f"].Xattrs)
	st.create("b")
	require.NoError(t, st.applyBytes("b", st.diff("a"), driver.ApplyOptions{}))
	require.Equal(t, st.diff("a"), st.diff("b"))
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

func (s *suite) unmappedOwner(t *testing.T) {
	st := s.open(t)
	st.create("a")
	want := st.tree("a")
	for name, e := range map[string]Entry{
		"uid 5; /proc/self/uid_map has 0-0": File("n", "").WithOwner(5, 0),
		"gid 6; /proc/self/gid_map has 0-0": Symlink("n", "x").WithOwner(0, 6),
		"uid 7; /proc/self/uid_map has 0-0": Dir("n").WithOwner(7, 8),
	} {
		err := st.apply("a", File("f", "f"), e)
		require.ErrorContains(t, err, name)
		require.ErrorContains(t, err, "n")
		require.ErrorIs(t, err, driver.ErrUnsupported)
		require.Equal(t, want, st.tree("a"), "a refused layer is rolled back")
	}
	// An access control list is an extended attribute like others that are
	// forbidden here.
	list := "\x02\x00\x00\x00" + "\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x04\x00\x05\x00\x00\x00" + // user:5:r--
		"\x04\x00\x04\x00\xff\xff\xff\xff" + "\x10\x00\x04\x00\xff\xff\xff\xff" + "\x20\x00\x00\x00\xff\xff\xff\xff"
	st.mustApply("a", File("acl", "").WithMode(0o640).WithXattr("system.posix_acl_access", list))
	require.Empty(t, st.tree("a")["acl"].Xattrs)
	require.Equal(t, []string{"acl"}, st.warns)
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
