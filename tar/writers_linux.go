package tar

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// A job makes one file in the staging directory. Its node is pending until it
// is done; jobs are independent of each other otherwise.
type job struct {
	node  *node // may be nil
	dir   *dirHandle
	from  *dirHandle // of a hard link: where its target is; else nil
	name  string
	path  string // as the layer says it, for errors
	of    *node  // where path is empty: the file
	pos   int64  // of the entry in the stream
	attrs attributes
	body  []byte
	arena *arena
	do    func(m *maker, j *job) error
}

// shown is the path for errors. That of a directory is put together only for
// one, as paths of deep trees are long.
func (j *job) shown() string {
	if j.of != nil {
		return j.of.path()
	}
	return j.path
}

// writers run jobs side by side.
type writers struct {
	maker   *maker
	arenas  *arenas
	jobs    chan []*job
	running sync.WaitGroup

	// next are the jobs that are handed over together, of the parsing goroutine.
	// Each handing over can wake a thread, which can take longer than making a
	// small file.
	next      []*job
	nextBytes int

	mu       sync.Mutex
	idle     *sync.Cond
	waiting  atomic.Bool
	inflight atomic.Int64

	failed atomic.Bool
	err    error // of the earliest entry that failed; guarded by mu
	errPos int64
}

const (
	queueLen   = 128 // jobs
	batchLen   = 16
	batchBytes = 256 << 10 // of their bodies
)

func newWriters(m *maker, n int) *writers {
	if n <= 0 {
		// More than one even on one processor: file systems make writers wait.
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

// settle says that a node is there, once everything that waited for it is done.
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

// add hands a job over. The job owns its references from then on.
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

// flush hands over what add has put together. It comes before every wait of the
// parsing goroutine for something that a job does.
func (w *writers) flush() {
	if len(w.next) > 0 {
		w.jobs <- w.next
		w.next, w.nextBytes = make([]*job, 0, batchLen), 0
	}
}

// addAfter hands over a job that needs a pending node to be there first. It
// does nothing, and returns false, when the node is there already.
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

// wait waits until a node is there, or until the writers have failed.
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

// close waits for what has been handed over and ends the goroutines.
func (w *writers) close() {
	w.flush()
	close(w.jobs)
	w.running.Wait()
	w.arenas.close()
}
