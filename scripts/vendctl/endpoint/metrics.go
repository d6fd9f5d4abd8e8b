package endpoint

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// counts are the counters of /metrics, by what was asked for and how it ended. They are safe for
// concurrent use.
type counts struct {
	mu sync.Mutex
	n  map[[2]string]uint64 // guarded by mu
}

func (c *counts) add(kind, result string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = make(map[[2]string]uint64)
	}
	c.n[[2]string{kind, result}]++
}

// serve writes the counters in the text format of Prometheus.
func (c *counts) serve(w http.ResponseWriter) {
	var lines []string
	c.mu.Lock()
	for key, n := range c.n {
		lines = append(lines, fmt.Sprintf("vendctl_requests_total{kind=%q,result=%q} %d\n", key[0], key[1], n))
	}
	c.mu.Unlock()
	slices.Sort(lines)
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	text := "# HELP vendctl_requests_total Requests by kind (token, route, refused, unauthorized) and result.\n# TYPE vendctl_requests_total counter\n"
	_, _ = w.Write([]byte(text + strings.Join(lines, "")))
}
