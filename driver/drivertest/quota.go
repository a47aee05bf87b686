package drivertest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	. "github.com/layerkeep/layerkeep/internal/fstest"
)

// The limit of the tests' layers, and what the file system takes of it for its
// own purposes.
const (
	mib        = 1 << 20
	quotaSize  = 16 * mib
	quotaSlack = 2 * mib
)

// testQuota sets limits on layers.
func (s *suite) testQuota(t *testing.T) {
	t.Run("a negative limit is refused", s.negativeSize)
	if !s.props.Quota {
		t.Run("a limit is refused as unsupported and leaves nothing", s.noQuota)
		return
	}
	t.Run("a writer over the limit is told so", s.quotaThroughMount)
	t.Run("a layer over the limit is rolled back", s.quotaOfApply)
	t.Run("a layer within the limit is applied", s.quotaFits)
	t.Run("the parents do not count, and a child has no limit", s.quotaOfFamily)
	t.Run("the usage of a limited layer is what it wrote", s.quotaUsage)
	t.Run("a limit survives opening the store again, and no removal", s.quotaReopened)
}

// runQuota is what depends on quotas being switched on before.
func runQuota(t *testing.T, cfg Config) {
	s := newSuite(t, cfg)
	s.brief = true
	t.Run("quota", s.testQuota)
	t.Run("usage", s.testUsage)
	t.Run("life cycle", s.testLifeCycle)
	t.Run("rollback", s.testRollback)
	t.Run("canonical bytes", s.testCanonical)
}

func (s *suite) negativeSize(t *testing.T) {
	st := s.open(t)
	before := st.countFiles()
	require.Error(t, st.d.Create(t.Context(), "a", nil, driver.CreateOptions{Size: -1}))
	st.requireLayers()
	require.Equal(t, before, st.countFiles())
}

func (s *suite) noQuota(t *testing.T) {
	st := s.open(t)
	chain := st.layer("base", nil, File("f", "f"))
	before := st.countFiles()
	for _, parents := range [][]driver.ID{nil, chain} {
		require.ErrorIs(t, st.d.Create(t.Context(), "a", parents, driver.CreateOptions{Size: quotaSize}), driver.ErrUnsupported)
		st.requireLayers("base")
		require.Equal(t, before, st.countFiles(), "files in the store after the refused call")
	}
	st.create("a", chain...)
}

func (st *store) createLimited(id driver.ID, parents ...driver.ID) {
	st.t.Helper()
	err := st.d.Create(st.ctx(), id, parents, driver.CreateOptions{Size: quotaSize})
	require.NoError(st.t, err, "create %s with a limit", id)
	st.remember(id, parents)
}

// isOver reports whether an error says that a limit was met.
func isOver(err error) bool { return errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.ENOSPC) }

// body is n bytes that do not compress.
func body(seed byte, n int) string {
	b := make([]byte, n)
	x := uint64(seed) + 1
	for i := range b {
		x = x*6364136223846793005 + 1442695040888963407
		b[i] = byte(x >> 56)
	}
	return string(b)
}

// files is a layer of n files of one MiB each.
func files(n int) []Entry {
	entries := []Entry{Dir("many")}
	for i := range n {
		entries = append(entries, File(fmt.Sprintf("many/%d", i), body(byte(i), mib)))
	}
	return entries
}

func (s *suite) quotaThroughMount(t *testing.T) {
	s.needMounts(t)
	st := s.open(t)
	chain := st.layer("base", nil, File("base", body(0, 4*mib)))
	st.createLimited("limited", chain...)
	st.create("free", chain...)
	over := Create("big", body(1, 2*quotaSize))
	err := st.tryEdit("limited", over)
	require.True(t, isOver(err), "a writer of twice the limit gets EDQUOT or ENOSPC: %v", err)
	st.edit("limited", Remove("big"))
	st.edit("free", over)
	require.Equal(t, Body(over.Body), st.tree("free")["big"].Body)
	require.NotContains(t, st.tree("limited"), "big")
	st.edit("limited", Create("small", "s"))
	st.seal("limited")
	st.requireTree(st.tree("limited"), "limited", "sealed after the limit was met")
	require.Equal(t, "s", st.tree("limited")["small"].Body)
}

func (s *suite) quotaOfApply(t *testing.T) {
	st := s.open(t)
	chain := st.layer("base", nil, everythingBase()...)
	st.createLimited("limited", chain...)
	st.mustApply("limited", File("first", "1"), Whiteout("gone"))
	st.create("free", chain...)
	want, diff := st.tree("limited"), st.diff("limited")
	layer := Layer(t, append(everything()[2:], files(2*quotaSize/mib)...)...)
	err := st.applyBytes("limited", layer, driver.ApplyOptions{})
	require.True(t, isOver(err), "a layer of twice the limit gets EDQUOT or ENOSPC: %v", err)
	require.NotErrorIs(t, err, driver.ErrInvalidLayer)
	require.Equal(t, want, st.tree("limited"), "the layer is rolled back")
	require.Equal(t, diff, st.diff("limited"))
	require.NoError(t, st.applyBytes("free", layer, driver.ApplyOptions{}))
	st.mustApply("limited", File("second", "2"))
	require.Equal(t, "2", st.tree("limited")["second"].Body)
}

func (s *suite) quotaFits(t *testing.T) {
	st := s.open(t)
	st.createLimited("limited")
	for i := range 3 { // each in the place of the one before
		layer := append([]Entry{Whiteout("many")}, files(quotaSize/mib/4)...)
		st.mustApply("limited", append(layer, File("n", fmt.Sprint(i)))...)
	}
	st.seal("limited")
	require.Equal(t, "2", st.tree("limited")["n"].Body)
}

func (s *suite) quotaOfFamily(t *testing.T) {
	st := s.open(t)
	chain := st.layer("base", nil, files(2*quotaSize/mib)...)
	st.createLimited("limited", chain...)
	st.mustApply("limited", File("own", body(7, quotaSize/2)))
	st.seal("limited")
	chain = append([]driver.ID{"limited"}, chain...)
	st.create("child", chain...)
	st.mustApply("child", File("more", body(8, 2*quotaSize)))
	st.createLimited("limited-child", chain...)
	st.mustApply("limited-child", File("more", body(9, quotaSize/2)))
	err := st.apply("limited-child", File("too much", body(10, quotaSize)))
	require.True(t, isOver(err), "over the limit of the child: %v", err)
}

func (s *suite) quotaUsage(t *testing.T) {
	st := s.open(t)
	usage := func(id driver.ID) int64 {
		u, err := st.d.Usage(t.Context(), id)
		require.NoError(t, err)
		return u.Bytes
	}
	chain := st.layer("base", nil, files(quotaSize/mib)...)
	st.createLimited("limited", chain...)
	require.Less(t, usage("limited"), int64(quotaSlack), "a new layer over %d bytes", quotaSize)
	st.mustApply("limited", File("own", body(1, 4*mib)), Link("same", "own"))
	require.InDelta(t, 4*mib+mib/2, usage("limited"), mib, "4 MiB were written")
	st.seal("limited")
	sealed := usage("limited")
	require.InDelta(t, 4*mib+mib/2, sealed, mib, "4 MiB were written")
	st.create("child", append([]driver.ID{"limited"}, chain...)...)
	require.Equal(t, sealed, usage("limited"), "a child shares the blocks, and they still are the layer's")
}

func (s *suite) quotaReopened(t *testing.T) {
	dir := s.freshDir(t)
	d, err := s.New(t.Context(), dir, s.Options)
	require.NoError(t, err)
	st := s.newStore(t, d, dir)
	st.createLimited("limited")
	st.createLimited("removed")
	require.NoError(t, st.d.Remove(t.Context(), "removed"))
	require.NoError(t, st.d.Close())
	st = s.openAt(t, dir)
	layer := Layer(t, files(2*quotaSize/mib)...)
	_, err = st.d.ApplyDiff(t.Context(), "limited", bytes.NewReader(layer), driver.ApplyOptions{})
	require.True(t, isOver(err), "the limit holds: %v", err)
	require.True(t, strings.Contains(err.Error(), "many/"), "the error names the entry: %v", err)
	st.create("removed")
	require.NoError(t, st.applyBytes("removed", layer, driver.ApplyOptions{}), "a new layer of the same name has no limit")
}
