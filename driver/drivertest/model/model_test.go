package model_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver/drivertest/model"
	"github.com/layerkeep/layerkeep/driver/drivertest/semantics"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

func TestTheModelHoldsEveryStatement(t *testing.T) {
	for _, c := range semantics.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			tree, parents := model.New(), model.New()
			for i, l := range c.Layers {
				parents = tree.Clone()
				err := tree.Apply(l)
				if c.Invalid && i == len(c.Layers)-1 {
					require.ErrorIs(t, err, diff.ErrInvalidLayer)
					for _, name := range c.ErrorNames {
						require.ErrorContains(t, err, name)
					}
					continue
				}
				require.NoError(t, err)
			}
			for _, e := range c.Edits {
				require.NoError(t, tree.Edit(e))
			}
			got := tree.Snapshot()
			if c.Tree != nil {
				require.Equal(t, c.Tree, append([]string{}, got.Brief()...))
			}
			for p, attrs := range c.Attrs {
				require.Equal(t, attrs, got[p].Attrs(), p)
			}
			if c.Invalid {
				return
			}
			changes := model.Diff(parents, tree)
			if c.Changes != nil {
				require.Equal(t, c.Changes, model.Brief(changes))
			}
			again := parents.Clone()
			require.NoError(t, again.Apply(model.Entries(changes)))
			withoutSockets(got)
			fstest.RequireEqual(t, got, again.Snapshot(), "the diff applied to the parents")
		})
	}
}

func withoutSockets(tree fstest.Tree) {
	for p, n := range tree {
		if n.Type() == diff.TypeSocket {
			delete(tree, p)
		}
	}
}
