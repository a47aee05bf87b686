package drivertest

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/driver/drivertest/model"
	"github.com/layerkeep/layerkeep/driver/drivertest/semantics"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// testSemantics runs every statement of the table in up to three ways: layer on
// layer; unpacked without parents and rebased; and all in one layer.
func (s *suite) testSemantics(t *testing.T) {
	fstest.Umask(t, 0o077) // A2: it must not matter
	for _, c := range semantics.Cases() {
		if !s.takes(c) || !s.can.owners && !c.Unprivileged() {
			continue // a property, which is checked, or an ability of this process
		}
		if len(c.Edits) > 0 && s.props.MountTimes != 0 {
			c = c.WholeSeconds()
		}
		t.Run(c.Name, func(t *testing.T) {
			if s.refuses(c) {
				s.isRefused(t, c)
				return
			}
			if len(c.Edits) > 0 {
				s.needEdits(t)
			}
			t.Run("in sequence", func(t *testing.T) { s.inSequence(t, c) })
			if s.brief || testing.Short() { // the applier's tests do it for plain trees, too
				return
			}
			if s.props.Rebase && len(c.Layers) > 1 {
				t.Run("rebased", func(t *testing.T) { s.rebased(t, c) })
			}
			if len(c.Layers) > 1 && len(c.Edits) == 0 {
				t.Run("in one layer", func(t *testing.T) { s.inOneLayer(t, c) })
			}
		})
	}
}

// takes reports whether the properties let the backend hold a statement.
func (s *suite) takes(c semantics.Case) bool {
	switch {
	case c.RenamesDir && !s.props.RenameDir:
		return false
	case c.RemovesXattrs && s.props.KeepsXattrs:
		return false
	default:
		return !c.Nanoseconds || s.props.MountTimes == 0
	}
}

// requireRefused checks the error of a layer that cannot be applied.
func requireRefused(t *testing.T, c semantics.Case, err error) {
	t.Helper()
	require.ErrorIs(t, err, driver.ErrInvalidLayer)
	for _, name := range c.ErrorNames {
		require.ErrorContains(t, err, name)
	}
}

// inSequence applies each layer over the ones before, edits the last and looks
// at everything the driver says about it.
func (s *suite) inSequence(t *testing.T, c semantics.Case) {
	st := s.open(t)
	tree, parents := model.New(), model.New()
	var chain []driver.ID
	for i, l := range c.Layers {
		parents = tree.Clone()
		last := i == len(c.Layers)-1
		st.create(layerID(i), chain...)
		err := st.apply(layerID(i), l...)
		if modelErr := tree.Apply(l); modelErr != nil {
			require.True(t, last && c.Invalid, "the model refuses a layer: %v", modelErr)
			requireRefused(t, c, err)
			break
		}
		require.NoError(t, err, "apply layer %d", i)
		st.requireVerified(layerID(i), fstest.Layer(t, l...), "after applying")
		if !last {
			st.seal(layerID(i))
			chain = slices.Insert(chain, 0, layerID(i))
		}
	}
	top := layerID(len(c.Layers) - 1)
	st.requireWritten(tree, c, top)
	for _, p := range c.Warns {
		require.Contains(t, st.warns, p, "the paths that were warned of")
	}
	if len(c.Edits) > 0 {
		st.edit(top, c.Edits...)
		for _, e := range c.Edits {
			require.NoError(t, tree.Edit(e))
		}
		st.requireTree(tree.Snapshot(), top, "after the edits")
	}
	st.requireDiff(parents, tree, top, chain)
	if !s.brief && !s.props.MountsWritable {
		// What could not be mounted so far can now.
		st.seal(top)
		st.requireTree(tree.Snapshot(), top, "sealed")
	}
}

// requireWritten checks the tree against the model and against what the case
// says by hand.
func (st *store) requireWritten(tree *model.Tree, c semantics.Case, id driver.ID) {
	st.t.Helper()
	want := tree.Snapshot()
	st.requireTree(want, id, "after applying")
	if len(c.Edits) > 0 {
		return // by hand, the case says what is there after the edits
	}
	got := st.tree(id)
	if c.Tree != nil {
		require.Equal(st.t, c.Tree, append([]string{}, got.Brief()...))
	}
	for p, attrs := range c.Attrs {
		require.Equal(st.t, attrs, got[p].Attrs(), p)
	}
}

// requireDiff checks the list of changes, the stream, and that the stream
// applied to the same parents gives the same tree.
func (st *store) requireDiff(parents, tree *model.Tree, id driver.ID, chain []driver.ID) {
	st.t.Helper()
	want := model.Diff(parents, tree)
	require.Equal(st.t, model.Format(want), model.Format(st.changes(id)), "the changes of %s", id)
	stream := st.diff(id)
	requireStream(st.t, want, stream)
	st.requireVerified(id, stream, "against its own diff")
	require.Equal(st.t, stream, st.diff(id), "the same diff again")
	st.create("again", chain...)
	require.NoError(st.t, st.applyBytes("again", stream, driver.ApplyOptions{}), "apply the diff")
	st.requireTree(withoutSockets(tree.Snapshot()), "again", "the diff applied to the same parents")
	st.requireVerified("again", stream, "the diff applied to the same parents")
	require.Equal(st.t, stream, st.diff("again"), "the diff of what the diff made")
}

func withoutSockets(tree fstest.Tree) fstest.Tree {
	for p, n := range tree {
		if n.Type() == diff.TypeSocket {
			delete(tree, p)
		}
	}
	return tree
}

// needsParents names the statements of which a layer may turn out, at Rebase,
// to need a second reading: those about symlinks and files of the parents.
func needsParents(c semantics.Case) bool {
	for _, line := range []string{"M4", "R1", "R3", "H2", "H3", "H4", "W4", "M2"} {
		if strings.HasPrefix(c.Name, line) {
			return true
		}
	}
	return c.Invalid
}

// rebased unpacks every layer but the first without its parents.
func (s *suite) rebased(t *testing.T, c semantics.Case) {
	st := s.open(t)
	tree := model.New()
	var chain []driver.ID
	for i, l := range c.Layers {
		id, before := layerID(i), tree.Clone()
		modelErr := tree.Apply(l)
		if i == 0 {
			st.layer(id, nil, l...)
			chain = append(chain, id)
			continue
		}
		err := st.detached(c, id, l, chain)
		if modelErr != nil {
			requireRefused(t, c, err)
			return
		}
		require.NoError(t, err, "layer %d", i)
		st.requireTree(tree.Snapshot(), id, "after Rebase")
		st.parents[id] = chain
		st.requireVerified(id, fstest.Layer(t, l...), "after Rebase")
		if i == len(c.Layers)-1 {
			require.Equal(t, model.Format(model.Diff(before, tree)), model.Format(st.changes(id)), "the changes after Rebase")
		}
		st.seal(id)
		chain = slices.Insert(chain, 0, id)
	}
}

// detached applies a layer without parents and rebases it; when it turns out to
// need them, it is applied again over them, as a caller would.
func (st *store) detached(c semantics.Case, id driver.ID, l []fstest.Entry, chain []driver.ID) error {
	st.t.Helper()
	st.create(id)
	layer := fstest.Layer(st.t, l...)
	err := st.applyBytes(id, layer, driver.ApplyOptions{Detached: true})
	if err == nil {
		err = st.d.(driver.Rebaser).Rebase(st.ctx(), id, chain)
	}
	if !errors.Is(err, driver.ErrNeedsParents) {
		return err
	}
	require.True(st.t, needsParents(c), "nothing in this layer needs its parents: %v", err)
	require.NoError(st.t, st.d.Remove(st.ctx(), id))
	st.create(id, chain...)
	return st.applyBytes(id, layer, driver.ApplyOptions{})
}

// inOneLayer applies all layers to one, each over what the ones before left.
func (s *suite) inOneLayer(t *testing.T, c semantics.Case) {
	st := s.open(t)
	tree := model.New()
	st.create("one")
	for _, l := range c.Layers {
		err := st.apply("one", l...)
		if tree.Apply(l) != nil {
			requireRefused(t, c, err)
			break
		}
		require.NoError(t, err)
	}
	st.requireWritten(tree, c, "one")
	st.requireDiff(model.New(), tree, "one", nil)

	over := []driver.ID{"base"}
	st.layer("base", nil, c.Layers[0]...)
	st.create("upper", over...)
	base, tree := model.New(), model.New()
	require.NoError(t, base.Apply(c.Layers[0]))
	require.NoError(t, tree.Apply(c.Layers[0]))
	for _, l := range c.Layers {
		if tree.Apply(l) != nil {
			require.ErrorIs(t, st.apply("upper", l...), driver.ErrInvalidLayer)
			break
		}
		st.mustApply("upper", l...)
	}
	st.requireTree(tree.Snapshot(), "upper", "applied to one layer over the first")
	require.Equal(t, model.Format(model.Diff(base, tree)), model.Format(st.changes("upper")))
}
