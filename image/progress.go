package image

import "github.com/opencontainers/go-digest"

// Progress is told how an import or export goes on. The methods are called from
// several goroutines and must not block.
type Progress interface {
	// Spooled says that n more bytes of a stream were put aside, before
	// anything else can begin. Never called for a file that can be read at
	// random.
	Spooled(n int64)
	// Begin comes once, when the manifest is known: the layers, base first, with
	// the bytes that each will report to Advance; of layers that are there
	// already no bytes are reported.
	Begin(layers []ProgressLayer)
	// Layer says that a layer, an index into Begin's list, changed its state.
	Layer(i int, state LayerState)
	// Advance says that n more bytes of the blob of layer i were read. After
	// [LayerRetry] a layer's bytes start again from zero.
	Advance(i int, n int64)
}

// ProgressLayer is a layer as [Progress] knows it.
type ProgressLayer struct {
	// Digest of the blob; empty for one that is yet to be made.
	Digest digest.Digest
	// Size of the blob in bytes; 0 when it is yet to be made.
	Size int64
}

// LayerState is what happens to a layer.
type LayerState uint8

// The states, in the order in which they come.
const (
	// LayerStarted: it is being read and unpacked, or made and written.
	LayerStarted LayerState = iota + 1
	// LayerRetry: it could not be unpacked without its parents and is being
	// unpacked again on them.
	LayerRetry
	// LayerExists: it was there already. Final.
	LayerExists
	// LayerDone: it is committed, or written. Final.
	LayerDone
)

// NoProgress ignores everything.
type NoProgress struct{}

// Spooled implements [Progress].
func (NoProgress) Spooled(int64) {}

// Begin implements [Progress].
func (NoProgress) Begin([]ProgressLayer) {}

// Layer implements [Progress].
func (NoProgress) Layer(int, LayerState) {}

// Advance implements [Progress].
func (NoProgress) Advance(int, int64) {}
