package drivertest

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	. "github.com/layerkeep/layerkeep/internal/fstest"
)

// testFacts holds the properties to what the driver does, in both directions:
// what is claimed is true, and what is not is refused.
func (s *suite) testFacts(t *testing.T) {
	t.Run("the properties agree with what the driver is", s.factInterfaces)
	t.Run("MountsWritable tells whether a writable layer can be mounted", s.factMounts)
	t.Run("Volatile tells whether a mount without syncs is another one", s.factVolatile)
	t.Run("RenameDir tells whether a directory of the parents can be renamed", s.factRenameDir)
	t.Run("BreaksHardlinks tells whether a write parts the names of a file", s.factHardlinks)
	t.Run("MountTimes tells how exactly a time can be set", s.factMountTimes)
	t.Run("KeepsXattrs tells whether an attribute can be removed", s.factKeepsXattrs)
	t.Run("MaxName tells how long a name can be", s.factMaxName)
	t.Run("XattrNamespaces tells which attributes are kept", s.factXattrs)
	t.Run("Reflink tells whether a copy takes no space", s.factReflink)
	t.Run("NativeDiff tells that a diff does not read what did not change", s.factNativeDiff)
}

func (s *suite) factInterfaces(t *testing.T) {
	st := s.open(t)
	_, rebaser := st.d.(driver.Rebaser)
	require.Equal(t, s.props.Rebase, rebaser, "Properties.Rebase")
	_, explainer := st.d.(driver.Explainer)
	require.Equal(t, s.props.Explain, explainer, "Properties.Explain")
	require.NotEmpty(t, st.d.Name())
	require.Equal(t, s.props, st.d.Properties(), "properties do not change")
	for _, ns := range s.props.XattrNamespaces {
		require.True(t, strings.HasSuffix(ns, "."), ns)
	}
	require.True(t, slices.Contains(s.props.XattrNamespaces, "user."), "every scratch file system takes user attributes")
}

func (s *suite) factVolatile(t *testing.T) {
	if !s.props.MountsWritable {
		require.False(t, s.props.Volatile)
		return
	}
	st := s.open(t)
	st.create("a")
	plain, err := st.d.Mount(t.Context(), "a", driver.MountOptions{})
	require.NoError(t, err)
	volatile, err := st.d.Mount(t.Context(), "a", driver.MountOptions{Volatile: true})
	require.NoError(t, err)
	require.Equal(t, s.props.Volatile, !reflect.DeepEqual(plain, volatile))
}

func (s *suite) factMounts(t *testing.T) {
	st := s.open(t)
	chain := st.layer("base", nil, File("f", "f"))
	st.create("a", chain...)
	if _, err := st.d.Mount(t.Context(), "a", driver.MountOptions{}); s.props.MountsWritable {
		require.NoError(t, err)
	} else {
		require.ErrorIs(t, err, driver.ErrUnsupported)
		require.Greater(t, len(err.Error()), len(driver.ErrUnsupported.Error()), "the error says what is missing")
	}
	st.requireTree(st.tree("a"), "a", "writable")
	st.createView("v", chain...)
	st.requireTree(st.tree("a"), "v", "a view")
	st.requireTree(st.tree("a"), "base", "sealed")
}

func (s *suite) factRenameDir(t *testing.T) {
	s.needEdits(t)
	st := s.open(t)
	chain := st.layer("base", nil, Dir("d"), File("d/x", "x"), Dir("other"))
	st.create("a", chain...)
	for _, e := range []Edit{Rename("d", "n"), Exchange("n", "other")} {
		if !s.props.RenameDir {
			e.Path = "d"
			require.ErrorIs(t, st.tryEdit("a", e), syscall.EXDEV, "%s", e)
			continue
		}
		st.edit("a", e)
	}
	st.edit("a", Mkdir("own"), Create("own/x", ""), Rename("own", "moved")) // not of the parents
	want := []string{"d/", "d/x:x", "moved/", "moved/x:", "other/"}
	if s.props.RenameDir {
		want = []string{"moved/", "moved/x:", "n/", "other/", "other/x:x"}
	}
	require.Equal(t, want, st.tree("a").Brief())
}

func (s *suite) factHardlinks(t *testing.T) {
	s.needEdits(t)
	st := s.open(t)
	chain := st.layer("base", nil, File("x", "x"), Link("y", "x"))
	st.create("a", chain...)
	st.edit("a", Append("y", "!"))
	want := []string{"x:x!", "y==x"}
	if s.props.BreaksHardlinks {
		want = []string{"x:x", "y:x!"}
	}
	require.Equal(t, want, st.tree("a").Brief())
	require.Equal(t, []string{"x:x", "y==x"}, st.tree("base").Brief())
}

func (s *suite) factMountTimes(t *testing.T) {
	s.needEdits(t)
	require.True(t, s.props.MountTimes == 0 || s.props.MountTimes == time.Second, "the suite knows whole seconds only")
	st := s.open(t)
	applied := time.Unix(1_600_000_000, 111_222_333)
	lower, dir := File("f", "f"), Dir("d")
	lower.Mtime, dir.Mtime = applied, applied
	st.create("a", st.layer("base", nil, lower, File("g", "g"), dir)...)
	st.edit("a", Chmod("f", 0o600), Touch("g", applied), Touch("d", applied.Add(time.Second)))
	tree, cut := st.tree("a"), func(t time.Time) time.Time {
		if s.props.MountTimes != 0 {
			t = time.Unix(t.Unix(), 0)
		}
		return t
	}
	require.Equal(t, applied, tree["f"].Mtime, "a time of the parents")
	require.Equal(t, cut(applied), tree["g"].Mtime, "a time that was set")
	require.Equal(t, cut(applied.Add(time.Second)), tree["d"].Mtime, "of a directory")
}

func (s *suite) factKeepsXattrs(t *testing.T) {
	s.needEdits(t)
	st := s.open(t)
	lower := File("f", "f").WithXattr("user.a", "v").WithXattr("user.empty", "")
	second := lower
	second.Name = "g"
	st.create("a", st.layer("base", nil, lower, second)...)
	st.edit("a", RemoveXattr("f", "user.a"), SetXattr("g", "user.new", ""))
	f, g := map[string]string{"user.empty": ""}, map[string]string{"user.a": "v", "user.empty": "", "user.new": ""}
	if s.props.KeepsXattrs {
		f, g = map[string]string{"user.a": ""}, map[string]string{"user.a": "v", "user.new": ""}
	}
	require.Equal(t, f, st.tree("a")["f"].Xattrs)
	require.Equal(t, g, st.tree("a")["g"].Xattrs)
}

// nameMax is the longest name on every scratch file system.
const nameMax = 255

func (s *suite) factMaxName(t *testing.T) {
	st := s.open(t)
	longest, refusal := nameMax, driver.ErrInvalidLayer
	if s.props.MaxName != 0 {
		require.Less(t, s.props.MaxName, nameMax, "0 says that the file system decides")
		longest, refusal = s.props.MaxName, driver.ErrUnsupported // elsewhere the layer is fine
	}
	fits, over := strings.Repeat("n", longest), strings.Repeat("n", longest+1)
	chain := st.layer("base", nil, Dir("d"), File("d/"+fits, "lower"), Dir(fits), Symlink(fits[1:], "l"))
	st.create("a", chain...)
	st.mustApply("a", Whiteout("d/"+fits), File(fits+"/x", "x"), Whiteout(fits[1:]))
	require.Equal(t, []string{"d/", fits + "/", fits + "/x:x"}, st.tree("a").Brief())
	want, diff := st.tree("a"), st.diff("a")
	for _, e := range []Entry{File(over, ""), Dir("d/" + over), File(over+"/x", ""), Symlink(over, "x"), Link(over, "d")} {
		err := st.apply("a", Dir("d").WithMode(0o700), e)
		require.ErrorIs(t, err, refusal)
		require.Equal(t, want, st.tree("a"), "a refused layer is rolled back")
	}
	require.Equal(t, diff, st.diff("a"))
	if !s.edits() {
		return
	}
	st.edit("a", Create("d/"+fits, "new"))
	for _, e := range []Edit{Create(over, ""), Mkdir("d/" + over), Rename("d/"+fits, over), MakeLink(over, "d/"+fits)} {
		require.ErrorIs(t, st.tryEdit("a", e), syscall.ENAMETOOLONG, "%s", e.Op)
	}
	st.seal("a")
	st.requireTree(st.tree("a"), "a", "sealed")
}

func (s *suite) factXattrs(t *testing.T) {
	st := s.open(t)
	for i, ns := range []string{"user.", "trusted.", "security."} {
		id, name := layerID(i), ns+"layerkeep"
		st.create(id)
		err := st.apply(id, File("f", "f").WithXattr(name, "v"))
		if slices.Contains(s.props.XattrNamespaces, ns) {
			require.NoError(t, err)
			require.Equal(t, map[string]string{name: "v"}, st.tree(id)["f"].Xattrs)
			continue
		}
		require.True(t, err != nil || slices.Contains(st.warns, "f"), "an attribute that cannot be kept is an error or a warning: %s", ns)
		require.Empty(t, st.tree(id)["f"].Xattrs)
	}
}

// factReflink writes a byte of a big file of the parents.
func (s *suite) factReflink(t *testing.T) {
	if !s.props.Reflink {
		return // without it a copy need not be a copy of the blocks all the same
	}
	s.needEdits(t)
	st := s.open(t)
	const size = 32 << 20
	chain := st.layer("base", nil, File("big", strings.Repeat("0123456789abcdef", size/16)))
	before := freeBytes(t, st.dir)
	st.create("a", chain...)
	st.edit("a", Append("big", "!"))
	st.seal("a")
	require.Less(t, before-freeBytes(t, st.dir), int64(size/2), "bytes that a layer takes in which one byte was written")
}

// factNativeDiff counts what is allocated for a diff of one change in a small
// tree and in one of a hundred times the size.
func (s *suite) factNativeDiff(t *testing.T) {
	if !s.props.NativeDiff {
		return // any cost is right
	}
	st := s.open(t)
	cost := func(dirs int) float64 {
		var entries []Entry
		for i := range dirs {
			entries = append(entries, Dir(fmt.Sprintf("d%d", i)))
			for j := range 20 {
				entries = append(entries, File(fmt.Sprintf("d%d/f%d", i, j), "x"))
			}
		}
		base, id := driver.ID(fmt.Sprintf("base-%d", dirs)), driver.ID(fmt.Sprintf("a-%d", dirs))
		st.create(id, st.layer(base, nil, entries...)...)
		st.mustApply(id, File("d0/f3", "changed"), Whiteout("d0/f5"))
		return testing.AllocsPerRun(3, func() {
			stats, err := driver.Diff(t.Context(), st.d, id, &bytes.Buffer{}, driver.DiffOptions{})
			require.NoError(t, err)
			require.Equal(t, int64(1), stats.Modified)
		})
	}
	small, large := cost(2), cost(200)
	require.Less(t, large, 2*small+500, "allocations of a diff, where the smaller tree takes %v", small)
}
