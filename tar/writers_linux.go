package tar

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// A job makes one file in the staging directory. Its node is pending until the
// job is done. Apart from that, jobs are independent of each other.
type job struct {
	node  *node // may be nil
	dir   *dirHandle
	from  *dirHandle // for a hard link: the directory of its target; else nil
	name  string
	path  string // as the layer spells it, for errors
	of    *node  // the file, if path is empty
	pos   int64  // offset of the entry in the stream
	attrs attributes
	body  []byte
	arena *arena
	do    func(m *maker, j *job) error
}

// shown returns the path for an error message. The path of a directory is only
// built when it is needed, because the paths of deep trees are long.
func (j *job) shown() string {
	if j.of != nil {
		return j.of.path()
	}
	return j.path
}

// writers is a pool of goroutines that run jobs in parallel.
type writers struct {
	maker   *maker
	arenas  *arenas
	jobs    chan []*job
	running sync.WaitGroup

	// next has the jobs that are handed over together. Only the parsing goroutine
	// uses it. Each handover can wake a thread, which can take longer than making a
	// small file.
	next      []*job
	nextBytes int

	mu       sync.Mutex
	idle     *sync.Cond
	waiting  atomic.Bool
	inflight atomic.Int64

	failed atomic.Bool
	err    error // of the failed entry with the lowest offset; guarded by mu
	errPos int64
}

const (
	queueLen   = 128 // jobs
	batchLen   = 16
	batchBytes = 256 << 10 // of bodies
)

func newWriters(m *maker, n int) *writers {
	if n <= 0 {
		// Two writers or more even on one processor, because a writer often waits for
		// the file system.
		n = min(max(2, runtime.GOMAXPROCS(0)), 8)
	}
	w := &writers{maker: m, arenas: newArenas(), jobs: make(chan []*job, queueLen/batchLen)}
	w.arenas.before = w.flush
	w.idle = sync.NewCond(&w.mu)
	w.running.Add(n)
	for range n {
		go w.run()
	}
	return w
}

func (w *writers) run() {
	defer w.running.Done()
	for batch := range w.jobs {
		for _, j := range batch {
			w.carryOut(j)
		}
	}
}

func (w *writers) carryOut(j *job) {
	if !w.failed.Load() {
		if err := j.do(w.maker, j); err != nil {
			w.fail(j, err)
		}
	}
	w.finish(j)
}

// settle runs the jobs that wait for a node, and then marks the node as no
// longer pending.
func (w *writers) settle(n *node) {
	for {
		w.mu.Lock()
		after := n.after
		n.after = nil
		if len(after) == 0 {
			n.pending.Store(false)
			w.mu.Unlock()
			return
		}
		w.mu.Unlock()
		for _, j := range after {
			w.carryOut(j)
		}
	}
}

func (w *writers) fail(j *job, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil || j.pos < w.errPos {
		w.err, w.errPos = atEntry(j.shown(), j.pos, err), j.pos
	}
	w.failed.Store(true)
}

func (w *writers) finish(j *job) {
	j.dir.release()
	if j.from != nil {
		j.from.release()
	}
	if j.arena != nil {
		w.arenas.release(j.arena)
	}
	if j.node != nil {
		w.settle(j.node)
	}
	w.inflight.Add(-1)
	if w.waiting.Load() {
		w.mu.Lock()
		w.idle.Broadcast()
		w.mu.Unlock()
	}
}

// add hands a job to the writers. The writers then own its references.
func (w *writers) add(j *job) {
	if j.node != nil {
		j.node.pending.Store(true)
	}
	w.inflight.Add(1)
	w.next = append(w.next, j)
	w.nextBytes += len(j.body)
	if len(w.next) >= batchLen || w.nextBytes >= batchBytes {
		w.flush()
	}
}

// flush hands over the jobs that add has collected. The parsing goroutine must
// call it before it waits for the result of a job.
func (w *writers) flush() {
	if len(w.next) > 0 {
		w.jobs <- w.next
		w.next, w.nextBytes = make([]*job, 0, batchLen), 0
	}
}

// addAfter hands over a job that must not run before a pending node exists. If
// the node already exists, addAfter does nothing and returns false.
func (w *writers) addAfter(n *node, j *job) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !n.pending.Load() {
		return false
	}
	j.node.pending.Store(true)
	w.inflight.Add(1)
	n.after = append(n.after, j)
	return true
}

// wait waits until the file of a node exists or the writers have failed.
func (w *writers) wait(n *node) error {
	if n.pending.Load() {
		w.until(func() bool { return !n.pending.Load() })
	}
	return w.error()
}

// drain waits until all jobs are done.
func (w *writers) drain() error {
	if w.inflight.Load() > 0 {
		w.until(func() bool { return w.inflight.Load() == 0 })
	}
	return w.error()
}

func (w *writers) until(done func() bool) {
	w.flush()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting.Store(true)
	for !done() {
		w.idle.Wait()
	}
	w.waiting.Store(false)
}

func (w *writers) error() error {
	if !w.failed.Load() {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// close waits until the jobs are done, and ends the goroutines.
func (w *writers) close() {
	w.flush()
	close(w.jobs)
	w.running.Wait()
	w.arenas.close()
}
