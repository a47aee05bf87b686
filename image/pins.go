package image

import (
	"context"
	"sync"
)

// pins says which snapshots and blobs running imports and exports rely on, so
// that neither a failing import nor a collection takes them away from another
// one. They are all of one process: the store is locked by it.
//
// Names are those of snapPin and blobPin.
type pins struct {
	mu    sync.Mutex
	count map[string]int
	// fresh are those that a running import has made and no image owns yet.
	fresh map[string]bool
	// leaving are being removed; who pins one waits for the channel.
	leaving map[string]chan struct{}
	// gen grows with every change of what images own.
	gen uint64
}

func newPins() *pins {
	return &pins{count: map[string]int{}, fresh: map[string]bool{}, leaving: map[string]chan struct{}{}}
}

func snapPin(key string) string    { return "snapshot " + key }
func blobPin(digest string) string { return "blob " + digest }

// pin keeps name, there or not yet, until unpin. It waits while name is being
// removed, so that what it finds afterwards stays.
func (p *pins) pin(ctx context.Context, name string) error {
	for {
		p.mu.Lock()
		gone := p.leaving[name]
		if gone == nil {
			p.count[name]++
			p.mu.Unlock()
			return nil
		}
		p.mu.Unlock()
		select {
		case <-gone:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// made says that a pinned name came into being by an import.
func (p *pins) made(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fresh[name] = true
}

// keep says that an image owns these names from now on.
func (p *pins) keep(names []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gen++
	for _, n := range names {
		delete(p.fresh, n)
	}
}

// unpin gives a pin back. True means that nobody else wants what an import has
// made: the caller must remove it and then call gone.
func (p *pins) unpin(name string) (orphan bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count[name]--
	if p.count[name] > 0 {
		return false
	}
	delete(p.count, name)
	if !p.fresh[name] {
		return false
	}
	delete(p.fresh, name)
	p.leaving[name] = make(chan struct{})
	return true
}

// gone ends the removal of a name.
func (p *pins) gone(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.leaving[name])
	delete(p.leaving, name)
}

// generation is to be read before looking for what nobody owns.
func (p *pins) generation() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gen
}

// claim is asked before a collection removes a name. ok means that it may, and
// has to call gone; stale that ownership has changed since gen was read and it
// has to look again; neither that somebody relies on the name.
func (p *pins) claim(name string, gen uint64) (ok, stale bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gen != gen {
		return false, true
	}
	if p.count[name] > 0 || p.leaving[name] != nil {
		return false, false
	}
	p.leaving[name] = make(chan struct{})
	return true, false
}
