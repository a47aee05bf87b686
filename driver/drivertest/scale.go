package drivertest

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/layerkeep/layerkeep/driver"
	. "github.com/layerkeep/layerkeep/internal/fstest"
)

// testUsage checks that Usage counts what is there, once.
func (s *suite) testUsage(t *testing.T) {
	st := s.open(t)
	usage := func(id driver.ID) driver.Usage {
		u, err := st.d.Usage(t.Context(), id)
		require.NoError(t, err)
		return u
	}
	const mib = 1 << 20
	st.create("a")
	empty := usage("a")
	st.mustApply("a", File("big", strings.Repeat("0123456789abcdef", mib/16)), Link("same", "big"), Dir("d"), File("d/small", "x"))
	filled := usage("a")
	require.GreaterOrEqual(t, filled.Bytes, empty.Bytes+mib)
	require.Less(t, filled.Bytes, empty.Bytes+mib+mib/2, "a hard link counts once")
	require.Equal(t, empty.Inodes+3, filled.Inodes)
	st.seal("a")
	require.Equal(t, filled, usage("a"), "sealing changes nothing")
	require.Equal(t, filled, usage("a"), "the same answer again")
}

// testExplain asks which layer provides a path.
func (s *suite) testExplain(t *testing.T) {
	if !s.props.Explain {
		return // a fact of the backend, checked with the properties
	}
	st := s.open(t)
	chain := st.layer("a", nil, Dir("d"), File("d/x", "x"), File("f", "f"), File("g", "g"), Dir("e"))
	chain = st.layer("b", chain, File("d/y", "y"), Whiteout("f"))
	st.create("c", chain...)
	st.mustApply("c", File("g", "new"), Symlink("s", "d"))
	for path, want := range map[string]driver.ID{"d/x": "a", "d/y": "b", "d": "b", "e": "a", "g": "c", "s": "c", ".": "c"} {
		got, err := st.d.(driver.Explainer).Provider(t.Context(), "c", path)
		require.NoError(t, err, path)
		require.Equal(t, want, got, path)
	}
	for _, path := range []string{"f", "none", "d/none", "none/x", "g/x"} {
		_, err := st.d.(driver.Explainer).Provider(t.Context(), "c", path)
		require.ErrorIs(t, err, fs.ErrNotExist, path)
	}
}

// longChain is the number of layers an overlay mount can have.
const longChain = 500

// testLongChain stacks as many layers as the backend takes, up to longChain.
func (s *suite) testLongChain(t *testing.T) {
	n := longChain
	if testing.Short() {
		n = 50
	}
	if s.props.MaxParents > 0 {
		n = min(n, s.props.MaxParents)
	}
	st := s.open(t)
	var chain []driver.ID
	for i := range n {
		entries := []Entry{File("last", fmt.Sprint(i)), File(fmt.Sprintf("n%d", i%40), fmt.Sprint(i))}
		if i%40 > 0 {
			entries = append(entries, Whiteout(fmt.Sprintf("n%d", i%40-1)))
		}
		// Short names: mount(2) takes 4,095 bytes of options.
		chain = st.layer(driver.ID(fmt.Sprint(i)), chain, entries...)
	}
	require.Len(t, chain, n)
	st.create("top", chain...)
	want := st.tree("top")
	require.Equal(t, fmt.Sprint(n-1), want["last"].Body)
	require.Equal(t, fmt.Sprint(n-1), want[fmt.Sprintf("n%d", (n-1)%40)].Body)
	st.requireTree(want, "top", "a chain of layers")
	st.mustApply("top", Whiteout("last"), File("new", "new"))
	if s.edits() {
		st.edit("top", Create("edited", "e"))
	}
	require.NotContains(t, st.tree("top"), "last")
	if n == s.props.MaxParents {
		before := st.tree("top")
		require.ErrorIs(t, st.d.Seal(t.Context(), "top"), driver.ErrTooManyLayers, "nothing could stand on it")
		require.Equal(t, before, st.tree("top"))
		st.mustApply("top", File("more", "still writable"))
		st.createView("view", chain...)
		st.requireTree(st.tree("view"), "view", "the longest chain")
		tooMany := slices.Insert(slices.Clone(chain), 0, driver.ID("top"))
		require.ErrorIs(t, st.d.Create(t.Context(), "more", tooMany, driver.CreateOptions{}), driver.ErrTooManyLayers)
		return
	}
	st.seal("top")
	if !s.props.MountsWritable {
		st.requireTree(st.tree("top"), "top", "the chain, sealed")
	}
}

// testTooManyLayers makes the longest chain that there can be, of layers
// without files.
func (s *suite) testTooManyLayers(t *testing.T) {
	most := s.props.MaxParents
	require.Positive(t, most, "the number of layers is bounded")
	st := s.open(t)
	require.ErrorIs(t, st.d.Create(t.Context(), "a", slices.Repeat([]driver.ID{"none"}, most+2), driver.CreateOptions{}), driver.ErrTooManyLayers)
	st.requireLayers()
	if testing.Short() || most <= longChain {
		return // each layer is put on disk; testLongChain makes a chain of so many
	}
	var chain []driver.ID
	for i := range most {
		id := driver.ID(fmt.Sprint(i))
		require.NoError(t, st.d.Create(t.Context(), id, chain, driver.CreateOptions{}))
		require.NoError(t, st.d.Seal(t.Context(), id))
		chain = slices.Insert(chain, 0, id)
	}
	require.NoError(t, st.d.Create(t.Context(), "last", chain, driver.CreateOptions{}))
	require.ErrorIs(t, st.d.Seal(t.Context(), "last"), driver.ErrTooManyLayers)
	st.mustApply("last", File("f", "f"))
	require.Equal(t, []string{"f:f"}, st.tree("last").Brief())
	require.ErrorIs(t, st.d.Create(t.Context(), "more", slices.Insert(chain, 0, "last"), driver.CreateOptions{}), driver.ErrTooManyLayers)
}

// testConcurrency works on different layers of one store at the same time.
func (s *suite) testConcurrency(t *testing.T) {
	st := s.open(t)
	chain := st.layer("base", nil, canonicalBase()...)
	base := st.tree("base")
	var group errgroup.Group
	for worker := range 8 {
		group.Go(func() error {
			for round := range 4 {
				id := driver.ID(fmt.Sprintf("w%d-%d", worker, round))
				if err := st.work(id, chain, fmt.Sprint(worker, round)); err != nil {
					return fmt.Errorf("%s: %w", id, err)
				}
			}
			return nil
		})
	}
	group.Go(func() error {
		for range 10 {
			if _, err := st.d.Layers(t.Context()); err != nil {
				return err
			}
			if err := st.d.Cleanup(t.Context()); err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(t, group.Wait())
	require.Equal(t, base, st.tree("base"))
	layers, err := st.d.Layers(t.Context())
	require.NoError(t, err)
	require.Len(t, layers, 1+8*2, "every second layer was removed")
}

// work is the whole life of one layer; every second one is removed.
func (st *store) work(id driver.ID, chain []driver.ID, body string) error {
	ctx := st.ctx()
	if err := st.d.Create(ctx, id, chain, driver.CreateOptions{}); err != nil {
		return err
	}
	layer := Layer(st.t, append(canonicalLayer(), File("own", body))...)
	if err := st.applyBytes(id, layer, driver.ApplyOptions{}); err != nil {
		return err
	}
	if err := st.d.Seal(ctx, id); err != nil {
		return err
	}
	view, err := st.d.View(ctx, id)
	if err != nil {
		return err
	}
	tree, err := ReadView(view)
	if err = firstError(err, view.Close()); err != nil {
		return err
	}
	if tree["own"].Body != body || tree["etc/removed"].Mode != 0 {
		return fmt.Errorf("the layer holds\n%s", tree)
	}
	if strings.HasSuffix(string(id), "1") || strings.HasSuffix(string(id), "3") {
		return st.d.Remove(ctx, id)
	}
	return nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
