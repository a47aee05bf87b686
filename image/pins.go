package image

import (
	"context"
	"sync"
)

// pins has the snapshots and blobs that running imports and exports need. It
// prevents a failing import or a collection from removing what another import
// needs. All of these run in one process, because a process locks the store.
//
// snapPin and blobPin make the names.
type pins struct {
	mu    sync.Mutex
	count map[string]int
	// fresh has the names that a running import has made and that no image owns
	// yet.
	fresh map[string]bool
	// leaving has the names that are being removed. pin waits for the channel.
	leaving map[string]chan struct{}
	// gen is incremented when the set of things that images own changes.
	gen uint64
}

func newPins() *pins {
	return &pins{count: map[string]int{}, fresh: map[string]bool{}, leaving: map[string]chan struct{}{}}
}

func snapPin(key string) string    { return "snapshot " + key }
func blobPin(digest string) string { return "blob " + digest }

// pin protects a name until unpin, whether the thing exists or not. It waits
// while the name is being removed, so that what the caller finds afterwards
// stays.
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

// made records that an import has made the thing with a pinned name.
func (p *pins) made(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fresh[name] = true
}

// keep records that an image owns these names from now on.
func (p *pins) keep(names []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gen++
	for _, n := range names {
		delete(p.fresh, n)
	}
}

// unpin releases a pin. orphan is true if an import has made the thing and no
// other import or export needs it. The caller must then remove it and call
// gone.
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

// generation returns the value for claim. The caller must read it before it
// looks for names that no image owns.
func (p *pins) generation() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gen
}

// claim is called before a collection removes a name. If ok is true, the caller
// may remove the thing, and must call gone. If stale is true, ownership has
// changed since gen was read, and the caller must look again. If both are
// false, the name is in use.
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
