package main

import (
	"bufio"
	"io"
	"sync"
	"time"
)

// lineDelay is how long a line of output may wait for others to be written
// with.
const lineDelay = 50 * time.Millisecond

// A lineWriter writes lines soon, but not each by itself: the first at once,
// the others when there are many or when time has passed. A listing that takes
// long shows what it has found, and one of a million lines costs no million
// writes.
type lineWriter struct {
	mu      sync.Mutex
	buf     *bufio.Writer
	started bool
	waiting *time.Timer // nil: nothing waits for a flush
	err     error       // of a flush that had no caller
}

func newLineWriter(out io.Writer) *lineWriter {
	return &lineWriter{buf: bufio.NewWriterSize(out, 32<<10)}
}

// Write takes one or more whole lines.
func (w *lineWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.buf.Write(p)
	if err != nil {
		return n, err
	}
	if !w.started {
		w.started = true
		return n, w.buf.Flush()
	}
	if w.waiting == nil {
		w.waiting = time.AfterFunc(lineDelay, w.late)
	}
	return n, nil
}

func (w *lineWriter) late() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting == nil { // flushed meanwhile
		return
	}
	w.waiting = nil
	w.err = w.buf.Flush()
}

// Flush writes what waits. Nothing is written later than that.
func (w *lineWriter) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting != nil {
		w.waiting.Stop()
		w.waiting = nil
	}
	if w.err != nil {
		return w.err
	}
	return w.buf.Flush()
}
