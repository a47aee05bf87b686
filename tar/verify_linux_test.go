package tar

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/layerkeep/layerkeep/aufs/aufstest"
	"github.com/layerkeep/layerkeep/diff"
	"github.com/layerkeep/layerkeep/driver/drivertest/model"
	"github.com/layerkeep/layerkeep/driver/drivertest/semantics"
	"github.com/layerkeep/layerkeep/internal/fstest"
)

// A checkedBed is a bed that can show the parents of its last layer.
type checkedBed interface {
	bed
	// before is called when the parents of a layer are complete. It returns a
	// function that shows them.
	before(t *testing.T) diff.View
	merged(t *testing.T) diff.View
	// disk is the directory with the files of the last layer.
	disk() string
}

func (b *plainBed) before(t *testing.T) diff.View {
	copied := filepath.Join(t.TempDir(), "before")
	require.NoError(t, aufstest.Copy(copied, b.root))
	return diff.DirView(open(t, copied))
}

func (b *plainBed) merged(t *testing.T) diff.View { return diff.DirView(open(t, b.root)) }

func (b *plainBed) disk() string { return b.root }

func (b *overlayBed) before(t *testing.T) diff.View {
	if len(b.layers) == 1 {
		return nil
	}
	return diff.DirView(open(t, b.show(t, len(b.layers)-1)))
}

func (b *overlayBed) merged(t *testing.T) diff.View {
	return diff.DirView(open(t, b.show(t, len(b.layers))))
}

func (b *overlayBed) disk() string { return b.layers[len(b.layers)-1] }

func requireVerified(t *testing.T, layer []byte, parents, merged diff.View, opts VerifyOptions) {
	t.Helper()
	v, err := Verify(t.Context(), bytes.NewReader(layer), parents, merged, opts)
	require.NoError(t, err)
	require.Empty(t, texts(v.Findings))
	require.True(t, v.OK())
}

func texts(findings []Finding) (list []string) {
	for _, f := range findings {
		list = append(list, f.String())
	}
	return list
}

func TestVerifyFindsNothingWhereALayerWasApplied(t *testing.T) {
	requireRoot(t)
	for _, c := range semantics.Cases() {
		if len(c.Edits) > 0 {
			continue // edits need a backend's mounts
		}
		for _, name := range []string{"plain", "overlay", "aufs"} {
			t.Run(strings.ReplaceAll(c.Name+"/"+name, ",", ""), func(t *testing.T) { verifyCase(t, c, beds[name](t).(checkedBed)) })
		}
	}
}

func verifyCase(t *testing.T, c semantics.Case, b checkedBed) {
	needEscapes(t, c, b)
	tree := model.New()
	for i, entries := range c.Layers {
		if i > 0 {
			b.push(t)
		}
		parents, layer := b.before(t), fstest.Layer(t, entries...)
		_, err := b.apply(t, layer, UnpackOptions{})
		if tree.Apply(entries) != nil {
			require.Error(t, err)
			_, verr := Verify(t.Context(), bytes.NewReader(layer), parents, b.merged(t), VerifyOptions{})
			require.ErrorIs(t, verr, diff.ErrInvalidLayer)
			require.Equal(t, err.Error(), verr.Error())
			return
		}
		require.NoError(t, err)
		requireVerified(t, layer, parents, b.merged(t), VerifyOptions{})
		requireVerified(t, layer, parents, b.merged(t), VerifyOptions{ReadData: true})
	}
}
