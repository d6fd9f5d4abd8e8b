package tokensource

import (
	"sync"

	"tokenvendor/shared/cache"
)

// maxClients bounds what is known of clients beside their tokens.
const maxClients = 20_000

// perClient keeps something for each of the clients that were used last. It is safe for
// concurrent use.
type perClient[V any] struct {
	// guards reports whether a value must not be forgotten; nil: none must not.
	guards func(*V) bool

	mu     sync.Mutex
	values map[string]*V // by client name; guarded by mu
}

// of returns what is kept for a client, which is made if there is nothing.
func (p *perClient[V]) of(client string, made func() *V) *V {
	p.mu.Lock()
	defer p.mu.Unlock()
	if known := p.values[client]; known != nil {
		return known
	}
	if p.values == nil {
		p.values = make(map[string]*V)
	}
	cache.MakeRoom(p.values, maxClients, p.guards)
	p.values[client] = made()
	return p.values[client]
}
