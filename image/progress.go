package image

import "github.com/opencontainers/go-digest"

// Progress follows an import or export. Several goroutines call its methods,
// which must not block.
type Progress interface {
	// Spooled says that n more bytes of a stream were copied to the disk,
	// before the work itself can begin. It is never called for a file that
	// allows random access.
	Spooled(n int64)
	// Begin is called once, when the manifest is known. layers are in the order
	// of the manifest, base first, each with the bytes that Advance will
	// report. Advance reports no bytes for a layer that the store already has.
	Begin(layers []ProgressLayer)
	// Layer says that the state of layer i, an index into the list of Begin,
	// has changed.
	Layer(i int, state LayerState)
	// Advance says that n more bytes of the blob of layer i were read. After
	// [LayerRetry] the bytes of the layer start again from zero.
	Advance(i int, n int64)
}

// ProgressLayer is a layer in the list of Progress.Begin.
type ProgressLayer struct {
	// Digest is the digest of the blob, empty for a blob that must first be
	// made.
	Digest digest.Digest
	// Size is the size of the blob in bytes, 0 for a blob that must first be
	// made.
	Size int64
}

// LayerState is what happens to a layer during an import or export.
type LayerState uint8

// The states, in the order in which they come.
const (
	// LayerStarted: the layer is being read and unpacked, or made and written.
	LayerStarted LayerState = iota + 1
	// LayerRetry: the layer could not be unpacked without its parents, and is
	// being unpacked again over them.
	LayerRetry
	// LayerExists: the store already has the layer. Final.
	LayerExists
	// LayerDone: the layer is committed, or written. Final.
	LayerDone
)

// NoProgress is a [Progress] that does nothing.
type NoProgress struct{}

// Spooled implements [Progress].
func (NoProgress) Spooled(int64) {}

// Begin implements [Progress].
func (NoProgress) Begin([]ProgressLayer) {}

// Layer implements [Progress].
func (NoProgress) Layer(int, LayerState) {}

// Advance implements [Progress].
func (NoProgress) Advance(int, int64) {}
