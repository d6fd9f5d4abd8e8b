package token_test

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"tokenvendor/shared/ask"
	"tokenvendor/shared/fleet"
	"tokenvendor/shared/fleet/fleettest"
	"tokenvendor/shared/registry"
	"tokenvendor/shared/token"
	"tokenvendor/shared/token/tokentest"
)

const (
	regionsPage = "../../functions/REGIONS.md"
	// roundTime is how long the stacks may take for a round: after an error each waits for up
	// to two minutes before it looks again.
	roundTime   = 4 * time.Minute
	askInterval = 10 * time.Second
	maxStacks   = 3
	// environments are those of a stack.
	environments = 2
)

// rounds is the table of failed logons in REGIONS.md: by when, and how many of each number of
// stacks.
type rounds struct {
	old, fresh []time.Duration
	failed     map[int][]int
}

func readRounds(t *testing.T) rounds {
	t.Helper()
	page, err := os.ReadFile(regionsPage)
	if err != nil {
		t.Fatal(err)
	}
	r := rounds{failed: make(map[int][]int)}
	for line := range strings.Lines(string(page)) {
		row := strings.Split(strings.NewReplacer("`", "", " | ", "|", "| ", "|", " |", "|").Replace(strings.TrimSpace(line)), "|")
		if len(row) != 7 {
			continue
		}
		number, _, _ := strings.Cut(row[1], " stack")
		stacks, err := strconv.Atoi(number)
		for _, cell := range row[2:6] {
			switch {
			case row[1] == "after":
				r.old = append(r.old, duration(t, cell))
			case strings.HasPrefix(row[1], "after, if it is younger"):
				r.fresh = append(r.fresh, duration(t, cell))
			case err == nil:
				n, problem := strconv.Atoi(cell)
				if problem != nil {
					t.Fatal(problem)
				}
				r.failed[stacks] = append(r.failed[stacks], n)
			}
		}
	}
	if len(r.old) != 4 || len(r.fresh) != 4 || len(r.failed) != maxStacks {
		t.Fatalf("got the table %v", r)
	}
	return r
}

func duration(t *testing.T, text string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// stacks returns the environments of n stacks, each of which has a table of its own.
func stacks(env *tokentest.Env, n int) (all []*token.Vendor) {
	for range n {
		table := fleet.New(fleet.Config{Table: &fleettest.Table{}, Keys: &fleettest.Keys{}, Now: env.Now})
		for range environments {
			cfg := env.Config()
			cfg.Clients, cfg.Fleet = registry.New(env.Registry()), table
			all = append(all, token.New(cfg))
		}
	}
	return all
}

// TestStacksCountFailedLogonsForThemselves: one wrong credential causes as many failed logons of
// several stacks as REGIONS.md says. They are up to twice as many if the version before is refused,
// too, or if the credential worked before and callers choose parameters.
func TestStacksCountFailedLogonsForThemselves(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long with the race detector")
	}
	page := readRounds(t)
	scoped := token.Request{Ask: ask.Ask{Scope: []string{"read"}}}
	for _, test := range []struct {
		name  string
		times []time.Duration
		// There are between least and most times as many as in the table.
		least, most int
		request     token.Request
		prepare     func(*tokentest.Env, []*token.Vendor)
	}{
		{"no version before", page.old, 1, 1, token.Request{}, func(env *tokentest.Env, _ []*token.Vendor) {
			env.Put("billing", "v2", map[string]any{"client_secret": "wrong", "previous": "never"})
		}},
		{"new", page.fresh, 1, 1, token.Request{}, func(env *tokentest.Env, _ []*token.Vendor) {
			env.PutText("billing", "v1", "")
			env.DateVersions()
			env.Put("billing", "v1", map[string]any{"client_secret": "wrong"})
		}},
		{"the version before is wrong", page.old, 1, 2, token.Request{}, func(env *tokentest.Env, _ []*token.Vendor) {
			env.Put("billing", "v2", map[string]any{"client_secret": "wrong"})
			env.Put("billing", "v3", map[string]any{"client_secret": "wrong, too"})
		}},
		{"worked before", page.old, 1, 2, scoped, func(env *tokentest.Env, all []*token.Vendor) {
			for _, v := range all {
				if _, err := env.Ask(v, scoped); err != nil {
					env.Fatal(err)
				}
			}
			env.Pass(time.Hour) // the end of the tokens
			if err := env.Server.SetSecrets("id", "another"); err != nil {
				env.Fatal(err)
			}
		}},
	} {
		for n := 1; n <= maxStacks; n++ {
			t.Run(test.name+", stacks: "+strconv.Itoa(n), func(t *testing.T) {
				tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
					all := stacks(env, n)
					test.prepare(env, all)
					askThroughRounds(t, env, all, test.request, test.times, func(round int) (least, most int) {
						failed := page.failed[n][round]
						return test.least * failed, test.most * failed
					})
				})
			})
		}
	}
}

// askThroughRounds asks all environments every few seconds in each round, and once right before
// it, and checks the failed logons.
func askThroughRounds(t *testing.T, env *tokentest.Env, all []*token.Vendor, r token.Request, times []time.Duration, failed func(round int) (least, most int)) {
	t.Helper()
	begun := env.Now()
	passed := func() time.Duration { return env.Now().Sub(begun) }
	askAll := func(round int) {
		for _, v := range all {
			if _, err := env.Ask(v, r); err == nil {
				t.Fatal("got a token")
			}
		}
		if _, most := failed(round); env.Server.FailedLogons("id") > most {
			t.Fatalf("after %v: got %d failed logons, want at most %d", passed(), env.Server.FailedLogons("id"), most)
		}
	}
	for i, at := range times {
		if i > 0 {
			env.Pass(at - askInterval - passed())
			askAll(i - 1)
		}
		end := at + roundTime
		if i+1 < len(times) {
			end = min(end, times[i+1]-2*askInterval)
		}
		for passed() < end {
			askAll(i)
			env.Pass(askInterval)
		}
		if least, _ := failed(i); env.Server.FailedLogons("id") < least {
			t.Errorf("after %v: got %d failed logons, want at least %d", passed(), env.Server.FailedLogons("id"), least)
		}
	}
}

// TestVersionBeforeSparesTheOtherStacks: while the version before works, a stack that is not asked
// sends nothing, and one that is asked has a token.
func TestVersionBeforeSparesTheOtherStacks(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		env.Put("billing", "v2", map[string]any{"client_secret": "wrong"})
		for i, v := range stacks(env, 2) {
			if _, err := env.Ask(v, token.Request{}); err != nil {
				t.Fatal(err)
			}
			if got, want := env.Server.FailedLogons("id"), 1+i/environments; got != want {
				t.Errorf("after environment %d: got %d failed logons, want %d", i, got, want)
			}
		}
	})
}

// TestServerChangesTheSecretBeforeTheReplica: the stack has one failed logon, and a second one to
// find out that the caller's scope is not at fault. It goes on with its token, and sends the new
// version as soon as its replica has it, although the old one is locked out for ten minutes.
func TestServerChangesTheSecretBeforeTheReplica(t *testing.T) {
	tokentest.Run(t, func(t *testing.T, env *tokentest.Env) {
		v := stacks(env, 1)[0]
		scoped := token.Request{Ask: ask.Ask{Scope: []string{"read"}}}
		if _, err := env.Ask(v, token.Request{}); err != nil {
			t.Fatal(err)
		}
		if err := env.Server.SetSecrets("id", "new"); err != nil {
			t.Fatal(err)
		}
		for range 20 {
			if _, err := env.Ask(v, scoped); err == nil {
				t.Fatal("got a token by the old secret")
			}
			if _, err := env.Ask(v, token.Request{}); err != nil {
				t.Fatalf("the token in memory is lost: %v", err)
			}
			env.Pass(3 * time.Second)
		}
		env.Put("billing", "v2", map[string]any{"client_secret": "new"})
		if _, err := env.Ask(v, scoped); err != nil {
			t.Errorf("the new version is not sent: %v", err)
		}
		if got := env.Server.FailedLogons("id"); got != 2 {
			t.Errorf("got %d failed logons, want 2", got)
		}
	})
}
