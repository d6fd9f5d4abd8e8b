package oauth

import (
	"sync"
	"time"
)

const (
	budgetSize   = 10
	budgetRefill = 0.1
	// budgetPeriod gives back one retry by itself: tokens are kept for hours,
	// so successes alone would leave a host without retries for long after its
	// trouble.
	budgetPeriod = 10 * time.Second
	// budgetHosts bounds the map; documents name the hosts.
	budgetHosts = 1024
)

// retryBudget keeps retries from multiplying the load on a server that is in
// trouble: a retry takes one token of the host's bucket, a success gives back a
// tenth, and so does time. The zero value is ready to use.
type retryBudget struct {
	mu    sync.Mutex
	hosts map[string]spending // guarded by mu
}

// spending is how much of a host's bucket was gone at a time.
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
