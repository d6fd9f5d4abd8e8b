package token_test

import (
	"fmt"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"tokenvendor/shared/registry"
	"tokenvendor/shared/token"
	"tokenvendor/shared/token/tokentest"
)

// TestRateOfServerReachesTheLimiter: 60 requests for new clients arrive at once. By default a
// server gets 10 exchanges at once and 10 a second, and a request waits for 2 seconds at most.
func TestRateOfServerReachesTheLimiter(t *testing.T) {
	const clients = 60
	for name, tt := range map[string]struct {
		document map[string]any
		listed   float64
		want     int64
	}{
		"default":           {nil, 0, 30},
		"document":          {map[string]any{"exchanges_per_second": 100}, 0, clients},
		"lower document":    {map[string]any{"exchanges_per_second": 1}, 0, 3},
		"list":              {nil, 100, clients},
		"list and document": {map[string]any{"exchanges_per_second": 100}, 1, 3},
	} {
		t.Run(name, func(t *testing.T) {
			tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
				if tt.listed > 0 {
					server, err := url.Parse(env.Server.TokenEndpoint())
					if err != nil {
						t.Fatal(err)
					}
					config := env.Config()
					config.Rates, _ = registry.ParseRates([]string{fmt.Sprint(server.Host, "=", tt.listed)})
					env.Vendor = token.New(config)
				}
				var vended atomic.Int64
				var all sync.WaitGroup
				for i := range clients {
					client := fmt.Sprint("client-", i)
					env.Put(client, "v1", tt.document)
					all.Go(func() {
						if _, err := env.Vend(token.Request{Client: client}); err == nil {
							vended.Add(1)
						}
					})
				}
				all.Wait()
				synctest.Wait()
				if n := vended.Load(); n < tt.want-1 || n > tt.want+1 {
					t.Errorf("%d of %d requests got a token, want %d", n, clients, tt.want)
				}
			})
		})
	}
}
