package oauth

import (
	"sync"
	"time"
)

const (
	budgetSize   = 10
	budgetRefill = 0.1
	// One retry is given back per budgetPeriod. Tokens are cached for hours, so successes
	// alone would leave a host without retries long after it has recovered.
	budgetPeriod = 10 * time.Second
	// budgetHosts bounds the map, because the hosts come from clients' documents.
	budgetHosts = 1024
)

// retryBudget prevents that retries multiply the load on a failing server. A retry takes
// one token of the host's bucket. A success gives back a tenth of a token, and time gives
// back one per budgetPeriod. The zero value is ready to use.
type retryBudget struct {
	mu    sync.Mutex
	hosts map[string]spending // guarded by mu
}

// spending is how much of a host's bucket was spent at a time.
type spending struct {
	spent float64
	at    time.Time
}

func (b *retryBudget) take(host string, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.hosts[host]
	s.spent = max(0, s.spent-float64(now.Sub(s.at))/float64(budgetPeriod))
	if s.spent+1 > budgetSize {
		return false
	}
	if b.hosts == nil || len(b.hosts) >= budgetHosts {
		b.hosts = make(map[string]spending)
	}
	b.hosts[host] = spending{spent: s.spent + 1, at: now}
	return true
}

func (b *retryBudget) refill(host string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s, ok := b.hosts[host]; ok {
		s.spent = max(0, s.spent-budgetRefill)
		b.hosts[host] = s
	}
}
