package oauth

import "sync"

const (
	budgetSize   = 10
	budgetRefill = 0.1
	// budgetHosts bounds the map; documents name the hosts.
	budgetHosts = 1024
)

// retryBudget keeps retries from multiplying the load on a server that is in
// trouble: a retry takes one token of the host's bucket, a success gives back a
// tenth. The zero value is ready to use.
type retryBudget struct {
	mu sync.Mutex
	// spent is how much of each host's bucket is gone; guarded by mu.
	spent map[string]float64
}

func (b *retryBudget) take(host string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.spent[host]+1 > budgetSize {
		return false
	}
	if b.spent == nil || len(b.spent) >= budgetHosts {
		b.spent = make(map[string]float64)
	}
	b.spent[host]++
	return true
}

func (b *retryBudget) refill(host string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if spent, ok := b.spent[host]; ok {
		if spent -= budgetRefill; spent > 0 {
			b.spent[host] = spent
		} else {
			delete(b.spent, host)
		}
	}
}
