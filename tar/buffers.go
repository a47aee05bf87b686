package tar

import "sync"

// A bufferPool keeps buffers of one size for the next layer. The runtime clears
// a new one, which takes longer than all else that a layer of a few files
// needs. What a buffer from here holds is what it was last used for.
type bufferPool struct {
	size int
	pool sync.Pool
}

var (
	blocks      = bufferPool{size: blockSize}
	arenaSpaces = bufferPool{size: arenaSize}
)

func (p *bufferPool) get() []byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, p.size)
}

// put takes a buffer that nobody uses any more; nil is none.
func (p *bufferPool) put(b []byte) {
	if b != nil {
		p.pool.Put(&b)
	}
}
