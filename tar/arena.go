package tar

import "sync/atomic"

const (
	// smallBody is the largest body that is buffered for the writers.
	smallBody  = 1 << 20
	arenaSize  = 1 << 20
	arenaCount = 16
)

// An arena is a buffer that many bodies share. It is used again when the last
// of them has been written.
type arena struct {
	buf  []byte
	used int
	refs atomic.Int32
}

// arenas bounds the memory of bodies in flight to arenaCount arenas.
type arenas struct {
	free chan *arena
	made int
	cur  *arena
	// before is called before alloc waits.
	before func()
}

func newArenas() *arenas { return &arenas{free: make(chan *arena, arenaCount)} }

// alloc returns room for a body of at most smallBody bytes, waiting until there
// is some. The caller releases the arena once for each call.
func (s *arenas) alloc(n int) ([]byte, *arena) {
	if s.cur == nil || len(s.cur.buf)-s.cur.used < n {
		if s.cur != nil {
			s.release(s.cur)
		}
		s.cur = s.take()
	}
	a := s.cur
	a.refs.Add(1)
	a.used += n
	return a.buf[a.used-n : a.used : a.used], a
}

func (s *arenas) take() *arena {
	var a *arena
	select {
	case a = <-s.free:
	default:
		if s.made < arenaCount {
			s.made++
			a = &arena{buf: arenaSpaces.get()}
		} else {
			s.before()
			a = <-s.free
		}
	}
	a.used = 0
	a.refs.Store(1)
	return a
}

// close gives the buffers back that nobody holds. Nothing may be allocated
// afterwards.
func (s *arenas) close() {
	if s.cur != nil {
		s.release(s.cur)
		s.cur = nil
	}
	for {
		select {
		case a := <-s.free:
			arenaSpaces.put(a.buf)
		default:
			return
		}
	}
}

func (s *arenas) release(a *arena) {
	if a.refs.Add(-1) == 0 {
		s.free <- a
	}
}
