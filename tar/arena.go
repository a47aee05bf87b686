package tar

import "sync/atomic"

const (
	// smallBody is the largest body, in bytes, that is buffered for the writers.
	smallBody  = 1 << 20
	arenaSize  = 1 << 20
	arenaCount = 16
)

// An arena is a buffer that several bodies share. It can be reused once the
// last of these bodies has been written.
type arena struct {
	buf  []byte
	used int
	refs atomic.Int32
}

// arenas limits the memory of the bodies that wait for a writer to arenaCount
// arenas.
type arenas struct {
	free chan *arena
	made int
	cur  *arena
	// before runs before alloc waits for a free arena.
	before func()
}

func newArenas() *arenas { return &arenas{free: make(chan *arena, arenaCount)} }

// alloc returns memory for a body of at most smallBody bytes. It waits until
// there is some. The caller releases the returned arena once for each call.
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

// close returns the free buffers to the pool. The caller must not call alloc
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
