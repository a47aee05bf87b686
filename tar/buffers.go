package tar

import "sync"

// A bufferPool keeps buffers of one size for the next layer. The runtime clears
// a new buffer, which takes longer than everything else that a layer of a few
// files needs. A buffer from the pool contains the data of its last use.
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

// put returns a buffer to the pool. The caller must not use it again. A nil
// buffer is ignored.
func (p *bufferPool) put(b []byte) {
	if b != nil {
		p.pool.Put(&b)
	}
}
