package storewire

import (
	"github.com/opencontainers/go-digest"

	storev1 "github.com/layerkeep/layerkeep/api/store/v1"
	"github.com/layerkeep/layerkeep/image"
)

// Tell passes on to p what a message says.
func Tell(p image.Progress, m *storev1.Progress) {
	switch step := m.GetStep().(type) {
	case *storev1.Progress_Spooled:
		p.Spooled(step.Spooled)
	case *storev1.Progress_Begin_:
		var layers []image.ProgressLayer
		for _, d := range step.Begin.GetLayers() {
			layers = append(layers, image.ProgressLayer{Digest: digest.Digest(d.GetDigest()), Size: d.GetSize()})
		}
		p.Begin(layers)
	case *storev1.Progress_Layer:
		p.Layer(int(step.Layer.GetIndex()), image.LayerState(step.Layer.GetState()))
	case *storev1.Progress_Advance_:
		p.Advance(int(step.Advance.GetIndex()), step.Advance.GetBytes())
	}
}

// Begin says which layers there are.
func Begin(layers []image.ProgressLayer) *storev1.Progress {
	begin := &storev1.Progress_Begin{}
	for _, l := range layers {
		begin.Layers = append(begin.Layers, &storev1.Descriptor{Digest: l.Digest.String(), Size: l.Size})
	}
	return &storev1.Progress{Step: &storev1.Progress_Begin_{Begin: begin}}
}

// LayerStep says that a layer changed its state.
func LayerStep(i int, state image.LayerState) *storev1.Progress {
	return &storev1.Progress{Step: &storev1.Progress_Layer{
		Layer: &storev1.Progress_LayerStep{Index: int32(i), State: int32(state)}, //nolint:gosec // a number of layers
	}}
}

// Advance says that n more bytes of a layer were read.
func Advance(i int, n int64) *storev1.Progress {
	return &storev1.Progress{Step: &storev1.Progress_Advance_{
		Advance: &storev1.Progress_Advance{Index: int32(i), Bytes: n}, //nolint:gosec // a number of layers
	}}
}

// Spooled says that n more bytes were put aside.
func Spooled(n int64) *storev1.Progress {
	return &storev1.Progress{Step: &storev1.Progress_Spooled{Spooled: n}}
}
