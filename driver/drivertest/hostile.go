package drivertest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	. "github.com/layerkeep/layerkeep/internal/fstest"
)

// hostileLayers are layers that try to reach outside; outside is an absolute
// path of a directory beside the store that holds a file "secret".
func hostileLayers(outside string) map[string][]Entry {
	up := strings.Repeat("../", 40)
	return map[string][]Entry{
		"dot-dot in a name":              {File(up+outside[1:]+"/secret", "gone"), File("../escaped", "x")},
		"an absolute name":               {File(outside+"/secret", "gone")},
		"dot-dot in a whiteout":          {Whiteout(up + outside[1:] + "/secret"), Opaque(up + outside[1:])},
		"an absolute whiteout":           {Whiteout(outside + "/secret"), Opaque(outside)},
		"a symlink and an entry below":   {Symlink("s", outside), File("s/secret", "gone"), File("s/new", "x")},
		"a relative symlink":             {Symlink("s", up+outside[1:]), File("s/secret", "gone"), Dir("s/new")},
		"a symlink and a whiteout below": {Symlink("s", outside), Whiteout("s/secret"), Opaque("s")},
		"a symlink and a directory":      {Symlink("s", outside), Dir("s").WithMode(0o777), File("s/secret", "x")},
		"a symlink and a file":           {Symlink("s", outside+"/secret"), File("s", "gone")},
		"a chain of symlinks":            {Symlink("a", "b"), Symlink("b", outside), Dir("a/new"), File("b/secret", "gone")},
		"a symlink swapped in":           {Dir("d"), File("d/x", "x"), Symlink("d", outside), File("d/secret", "gone")},
		"a hard link out":                {Link("h", up+outside[1:]+"/secret"), File("h", "gone")},
		"an absolute hard link out":      {Link("h", outside+"/secret")},
		"a hard link through a symlink":  {Symlink("s", outside), Link("h", "s/secret"), File("h", "gone")},
		"a hard link to a symlink out":   {Symlink("s", outside+"/secret"), Link("h", "s"), File("h", "gone")},
		"a root that is a symlink":       {Symlink(".", outside), File("secret", "gone")},
		"a root that is a file":          {File(".", "x")},
		"dot-dot only":                   {Dir(".."), Dir("../.."), Dir("x/../..")},
		"a symlink to itself":            {Symlink("s", "s"), File("s/x", "x")},
		"attributes on a symlink":        {Symlink("s", outside+"/secret").WithMode(0o7777).WithXattr("user.k", "v")},
	}
}

// testHostile applies streams that want out: whatever the answer, nothing
// outside of the layer may change, and no other layer either.
func (s *suite) testHostile(t *testing.T) {
	for name, entries := range hostileLayers("/") {
		_ = entries
		t.Run(name, func(t *testing.T) { s.hostile(t, name) })
	}
	t.Run("a symlink of the parents", s.hostileParents)
	t.Run("names that no file system takes", s.hostileNames)
	t.Run("fifos and devices are never opened", s.neverOpened)
	t.Run("no descriptor goes to other programs", s.closedOnExec)
	if !s.brief { // no place and no fast path changes them
		t.Run("a tree of 1,200 levels", s.deepTree)
		t.Run("limits are errors that say so", s.limits)
	}
}

// outsideOf makes the directory that nothing may touch.
func (s *suite) outsideOf(t *testing.T, st *store) (string, Tree) {
	t.Helper()
	outside := filepath.Join(filepath.Dir(st.dir), "outside")
	require.NoError(t, os.Mkdir(outside, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600))
	return outside, FromPath(t, outside)
}

func (s *suite) hostile(t *testing.T, name string) {
	st := s.open(t)
	outside, want := s.outsideOf(t, st)
	chain := st.layer("base", nil, Dir("d"), File("d/x", "x"))
	base := st.tree("base")
	entries := hostileLayers(outside)[name]
	ids := []driver.ID{"over", "alone"}
	st.create("over", chain...)
	st.create("alone")
	for _, id := range ids {
		before := st.tree(id)
		err := st.apply(id, entries...)
		if err != nil {
			require.ErrorIs(t, err, driver.ErrInvalidLayer)
			require.Equal(t, before, st.tree(id), "a refused layer is rolled back")
		}
	}
	require.Equal(t, want, FromPath(t, outside), "the directory outside")
	require.Equal(t, base, st.tree("base"), "the parent")
	names, err := os.ReadDir(filepath.Dir(st.dir))
	require.NoError(t, err)
	require.Len(t, names, 2, "nothing new beside the store: %v", names)
}

func (s *suite) hostileParents(t *testing.T) {
	st := s.open(t)
	outside, want := s.outsideOf(t, st)
	chain := st.layer("base", nil, Symlink("s", outside), Symlink("f", outside+"/secret"), Dir("d"), Symlink("d/up", strings.Repeat("../", 30)))
	st.create("over", chain...)
	st.mustApply("over", File("s/secret", "inside"), File("d/up/top", "top"), Dir("s/new").WithMode(0o700), File("f", "new"))
	require.Equal(t, want, FromPath(t, outside), "the directory outside")
	tree := st.tree("over")
	require.Equal(t, "inside", tree[outside[1:]+"/secret"].Body, "the symlink was followed inside the root")
	require.Equal(t, "top", tree["top"].Body)
	require.Equal(t, "new", tree["f"].Body)
}

func (s *suite) hostileNames(t *testing.T) {
	st := s.open(t)
	st.create("a")
	before := st.tree("a")
	long := strings.Repeat("n", 256)
	for _, name := range []string{long, "d/" + long} {
		require.ErrorIs(t, st.apply("a", File("ok", ""), File(name, "")), driver.ErrInvalidLayer, "a name of %d bytes", len(name))
		require.Equal(t, before, st.tree("a"))
	}
	nul := rawLayer(rawEntry{name: "path", pax: map[string]string{"path": "a\x00b"}})
	require.ErrorIs(t, st.applyBytes("a", nul, driver.ApplyOptions{}), driver.ErrInvalidLayer, "a NUL in a name")
	require.Equal(t, before, st.tree("a"))
}

// deepTree takes a deep tree through the life of layers: it is applied, diffed,
// sealed, built upon, changed at the bottom, and removed.
func (s *suite) deepTree(t *testing.T) {
	st := s.open(t)
	const depth = 1200
	var entries []Entry
	for i := range depth {
		entries = append(entries, Dir(strings.Repeat("d/", i)+"d").WithMode(0o711))
	}
	bottom := strings.Repeat("d/", depth)
	entries = append(entries, File(bottom+"f", "f"), Link(bottom+"g", bottom+"f"))
	stream := Layer(t, entries...)
	st.create("deep")
	require.NoError(t, st.applyBytes("deep", stream, driver.ApplyOptions{}))
	written := st.diff("deep")
	st.create("again")
	require.NoError(t, st.applyBytes("again", written, driver.ApplyOptions{}))
	require.Equal(t, written, st.diff("again"), "diff and apply are inverse")
	st.seal("deep")
	st.create("over", "deep")
	require.NoError(t, st.applyBytes("over", Layer(t, Whiteout(bottom+"f"), File(bottom+"h", "h")), driver.ApplyOptions{}))
	var paths []string
	for _, c := range st.changes("over") {
		paths = append(paths, c.Path)
	}
	require.Equal(t, []string{bottom + "f", bottom + "h"}, paths)
	for _, id := range []driver.ID{"over", "again", "deep"} {
		require.NoError(t, st.d.Remove(st.ctx(), id))
	}
	st.requireLayers()
}

// neverOpened would block, or have effects, if anything opened them.
func (s *suite) neverOpened(t *testing.T) {
	st := s.open(t)
	layer := []Entry{Fifo("p").WithMode(0o600), Fifo("q")}
	if s.can.owners {
		layer = append(layer, Char("ptmx", 5, 2).WithMode(0o666), Char("tty", 5, 0), Block("b", 7, 250).WithOwner(1, 1))
	}
	chain := st.layer("a", nil, layer...)
	st.create("b", chain...)
	st.mustApply("b", Link("p2", "p"), Fifo("q").WithMode(0o622), File("p/../x", ""))
	st.diff("b")
	tree := st.tree("b")
	require.Equal(t, "p", tree["p2"].Link)
	require.Equal(t, uint32(0o622), tree["q"].Perm())
}

func (s *suite) limits(t *testing.T) {
	st := s.open(t)
	st.create("a")
	before := st.tree("a")
	var many []Entry
	for i := range 20 {
		many = append(many, File(fmt.Sprintf("f%d", i), strings.Repeat("x", 600)))
	}
	zeros := gzipped(t, Layer(t, File("zeros", strings.Repeat("\x00", 80<<20))))
	for name, c := range map[string]struct {
		layer  []byte
		limits driver.Limits
	}{
		"entries":         {Layer(t, many...), driver.Limits{Entries: 10}},
		"bytes":           {Layer(t, many...), driver.Limits{Bytes: 4096}},
		"depth":           {Layer(t, File(strings.Repeat("d/", 20)+"f", "")), driver.Limits{PathDepth: 20}},
		"depth of a link": {Layer(t, File("f", ""), Symlink("s", strings.Repeat("d/", 20)), File("s/f", "")), driver.Limits{PathDepth: 20}},
		"extended header": {Layer(t, File("f", "").WithXattr("user.k", strings.Repeat("v", 5000))), driver.Limits{PAXBytes: 4096}},
		"expansion":       {zeros, driver.Limits{Ratio: 100}},
	} {
		err := st.applyBytes("a", c.layer, driver.ApplyOptions{Limits: c.limits})
		require.ErrorIs(t, err, driver.ErrInvalidLayer, name)
		require.Equal(t, before, st.tree("a"), name)
	}
	require.NoError(t, st.applyBytes("a", Layer(t, many...), driver.ApplyOptions{Limits: driver.Limits{Entries: 20}}))
}
