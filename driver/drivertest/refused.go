package drivertest

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/driver"
	"github.com/layerkeep/layerkeep/driver/drivertest/semantics"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// refusedXattr returns the attribute of a layer that cannot be kept here, empty
// when there is none: see [driver.Properties].
func (s *suite) refusedXattr(layer []fstest.Entry) string {
	if s.props.RefusedXattr == "" {
		return ""
	}
	for _, e := range layer {
		for key := range e.Header().PAXRecords {
			if name, ok := strings.CutPrefix(key, "SCHILY.xattr."); ok && strings.HasPrefix(name, s.props.RefusedXattr) {
				return name
			}
		}
	}
	return ""
}

// refuses reports whether the backend cannot keep one of the layers of a case.
func (s *suite) refuses(c semantics.Case) bool {
	return slices.ContainsFunc(c.Layers, func(l []fstest.Entry) bool { return s.refusedXattr(l) != "" })
}

// isRefused runs a case of which one layer cannot be kept here: the error names
// the attribute, and the layer stays as it was.
func (s *suite) isRefused(t *testing.T, c semantics.Case) {
	st := s.open(t)
	var chain []driver.ID
	for i, l := range c.Layers {
		st.create(layerID(i), chain...)
		name := s.refusedXattr(l)
		if name == "" {
			st.mustApply(layerID(i), l...)
			st.seal(layerID(i))
			chain = slices.Insert(chain, 0, layerID(i))
			continue
		}
		before := st.tree(layerID(i))
		err := st.apply(layerID(i), l...)
		require.ErrorIs(t, err, driver.ErrUnsupported)
		require.ErrorContains(t, err, s.props.RefusedXattr)
		st.requireTree(before, layerID(i), "after a layer was refused")
		return
	}
}
