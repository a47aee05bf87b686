package image

import (
	"crypto/rand"
	"sync"
)

// tokens are the names of what is under way in this process.
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
