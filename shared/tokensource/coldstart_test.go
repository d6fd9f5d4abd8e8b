package tokensource_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"tokenvendor/shared/ask"
	"tokenvendor/shared/fault"
	"tokenvendor/shared/oauth/oauthtest"
	"tokenvendor/shared/token"
	"tokenvendor/shared/token/tokentest"
	"tokenvendor/shared/tokensource"
)

// coldStart starts 250 environments at once, each with one call, on a table with DynamoDB's
// limits, and returns the errors.
func coldStart(env *tokentest.Fleet, r func(i int) token.Request) (failures []error, longest time.Duration) {
	env.Table.Limit()
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range 250 {
		all.Go(func() {
			v := env.Environment(nil)
			begun := time.Now()
			_, err := env.Ask(v, r(i))
			mu.Lock()
			defer mu.Unlock()
			longest = max(longest, time.Since(begun))
			if err != nil {
				failures = append(failures, err)
			}
		})
	}
	all.Wait()
	return failures, longest
}

func oneAsk(int) token.Request { return token.Request{} }

// TestColdStartMakesOneExchange: the token has 8 KB, and the exchange takes 3 s.
func TestColdStartMakesOneExchange(t *testing.T) {
	for _, size := range []int{8 << 10, 60 << 10} {
		if size > 8<<10 && testing.Short() {
			continue
		}
		tokentest.RunFleet(t, 0, func(t *testing.T, env *tokentest.Fleet) {
			long := oauthtest.Members(map[string]any{"access_token": strings.Repeat("t", size)})
			late := oauthtest.Late(3 * time.Second)
			env.Server.Misbehave(func(w http.ResponseWriter, r *http.Request, next http.Handler, done <-chan struct{}) {
				late(w, r, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { long(w, r, next, done) }), done)
			})
			failures, longest := coldStart(env, oneAsk)
			t.Logf("%d bytes: the slowest call took %v, with %d calls of the table, %d of them throttled", size, longest, env.Table.Calls(), env.Table.Throttled())
			if len(failures) > 0 {
				t.Errorf("%d calls failed: %v", len(failures), failures[0])
			}
			env.WantCounts(1, 0)
		})
	}
}

// TestColdStartWithWrongSecret: all ask the same, or each something else, for which there are
// not enough permits.
func TestColdStartWithWrongSecret(t *testing.T) {
	for _, request := range []func(int) token.Request{
		oneAsk,
		func(i int) token.Request { return token.Request{Ask: ask.Ask{Scope: []string{fmt.Sprint("s", i)}}} },
	} {
		tokentest.RunFleet(t, 0, func(t *testing.T, env *tokentest.Fleet) {
			env.Put("billing", "v1", map[string]any{"client_secret": "bad"})
			env.Server.Misbehave(oauthtest.Late(3 * time.Second))
			failures, longest := coldStart(env, request)
			t.Logf("the slowest call took %v, with %d calls of the table, %d of them throttled", longest, env.Table.Calls(), env.Table.Throttled())
			for _, err := range failures {
				if kind := fault.From(err).Kind; kind != fault.Misconfigured && kind != fault.Throttled {
					t.Fatal(err)
				}
			}
			if len(failures) != 250 || env.Counted(tokensource.CountFailedLogon) != 1 {
				t.Errorf("%d failures, %d failed logons", len(failures), env.Counted(tokensource.CountFailedLogon))
			}
			env.WantCounts(0, 1)
		})
	}
}
