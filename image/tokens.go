package image

import (
	"crypto/rand"
	"sync"
)

// tokens is the set of names of the imports that run in this process.
type tokens struct {
	mu  sync.Mutex
	set map[string]bool
}

// add makes a new token.
func (t *tokens) add() string {
	token := rand.Text()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.set == nil {
		t.set = map[string]bool{}
	}
	t.set[token] = true
	return token
}

func (t *tokens) drop(token string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.set, token)
}

func (t *tokens) has(token string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.set[token]
}
