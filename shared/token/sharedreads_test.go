package token_test

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tokenvendor/shared/ask"
	"tokenvendor/shared/fault"
	"tokenvendor/shared/fleet/fleettest"
	"tokenvendor/shared/registry"
	"tokenvendor/shared/token"
	"tokenvendor/shared/token/tokentest"
)

const (
	readsPage = "../../functions/token/README.md"
	// readers is how many environments share readings here.
	readers = 20
	// leastInterval is the shortest time between two reads of a client's secret, and
	// mostAge how long a reading is used.
	leastInterval = 4 * time.Minute
	mostAge       = 5 * time.Minute
)

// vend is a request of one environment at a time after the start.
type vend struct {
	at          time.Duration
	environment int
}

// rhythm returns the vends of one client in all environments for a time. Each environment has a
// rhythm of its own, which pause returns.
func rhythm(random *rand.Rand, d, first time.Duration, pause func() time.Duration) []vend {
	var all []vend
	for i := range readers {
		for at := time.Duration(random.Int64N(int64(first))); at < d; at += pause() {
			all = append(all, vend{at, i})
		}
	}
	slices.SortStableFunc(all, func(a, b vend) int { return cmp.Compare(a.at, b.at) })
	return all
}

// own makes an environment read each secret itself.
func own(env *tokentest.Fleet) func(*token.Config) {
	return func(cfg *token.Config) { cfg.Clients = registry.New(env.Registry()) }
}

// readsOf makes the vends, all of which must succeed, and returns when the secret was read.
func readsOf(t *testing.T, vends []vend, shared bool) (times []time.Time) {
	t.Helper()
	tokentest.RunFleet(t, 0, func(t *testing.T, env *tokentest.Fleet) {
		random := rand.New(rand.NewPCG(1, 1))
		for range readers {
			env.Vendors = append(env.Vendors, env.Environment(func(cfg *token.Config) {
				if cfg.Rand = random.Float64; !shared {
					own(env)(cfg)
				}
			}))
		}
		start := env.Now()
		for _, v := range vends {
			env.Pass(start.Add(v.at).Sub(env.Now()))
			if _, err := env.Ask(env.Vendors[v.environment], token.Request{}); err != nil {
				t.Fatal(err)
			}
		}
		times = env.ReadTimes()
	})
	return times
}

// checkInterval fails if the secret was read more often than once in each four minutes.
func checkInterval(t *testing.T, times []time.Time) {
	t.Helper()
	for i := 1; i < len(times); i++ {
		if d := times[i].Sub(times[i-1]); d < leastInterval {
			t.Errorf("read %d of the secret came %v after the one before, want at least %v", i+1, d, leastInterval)
		}
	}
}

// TestReadsOfSecretPerVend: reads without and with a table, of one client in 20 environments, are
// those of the table in functions/token/README.md. With -v it prints the table.
func TestReadsOfSecretPerVend(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long with the race detector")
	}
	intervals := []time.Duration{10 * time.Second, time.Minute, 5 * time.Minute, 10 * time.Minute, time.Hour}
	rows := []string{"| reads per vend without sharing |", "| with the table |"}
	for _, interval := range intervals {
		random := rand.New(rand.NewPCG(2, 2))
		vends := rhythm(random, max(2*time.Hour, 8*interval), interval, func() time.Duration {
			return interval
		})
		for i, shared := range []bool{false, true} {
			times := readsOf(t, vends, shared)
			if rows[i] += fmt.Sprintf(" %.2g |", float64(len(times))/float64(len(vends))); shared {
				checkInterval(t, times)
			}
		}
	}
	t.Log("\n" + strings.Join(rows, "\n"))
	page, err := os.ReadFile(readsPage)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		if !strings.Contains(string(page), "\n"+row+"\n") {
			t.Errorf("%s has no row %s", readsPage, row)
		}
	}
}

// TestSecretIsReadOnceInFourMinutes: whatever the rhythm of each environment.
func TestSecretIsReadOnceInFourMinutes(t *testing.T) {
	for seed := range uint64(6) {
		random := rand.New(rand.NewPCG(seed, 3))
		vends := rhythm(random, 3*time.Hour, time.Hour, func() time.Duration {
			// From a second to an hour, short and long pauses alike.
			return time.Duration(float64(time.Second) * math.Pow(3600, random.Float64()))
		})
		times := readsOf(t, vends, true)
		checkInterval(t, times)
		if len(times) < 20 {
			t.Errorf("seed %d: got %d reads in three hours, want more, so that changes are noticed", seed, len(times))
		}
	}
}

// TestSecretIsReadOnceByColdFleet: all environments start together, with an own time-out each.
func TestSecretIsReadOnceByColdFleet(t *testing.T) {
	tokentest.RunFleet(t, readers, func(t *testing.T, env *tokentest.Fleet) {
		for range 3 {
			env.WantTokens(1)
			env.Pass(leastInterval - time.Second)
		}
		checkInterval(t, env.ReadTimes())
		if n := env.Reads(); n > 3 {
			t.Errorf("got %d reads, want at most 3", n)
		}
	})
}

// documentOf returns the version of the document that an environment uses.
func documentOf(env *tokentest.Fleet, v *token.Vendor) string {
	client := "billing"
	_, _ = env.Ask(v, token.Request{Client: client})
	line := env.Last()
	return cmp.Or(line.DocumentVersion, line.SecretVersion)
}

// TestDeletedSecretEndsTokensInAllEnvironments: five minutes after it was read last, whichever
// environment read it, and whenever the others learned of the reading.
func TestDeletedSecretEndsTokensInAllEnvironments(t *testing.T) {
	for _, learn := range []time.Duration{0, time.Minute, 3*time.Minute + 59*time.Second} {
		tokentest.RunFleet(t, readers, func(t *testing.T, env *tokentest.Fleet) {
			for i, v := range env.Vendors {
				if _, err := env.Ask(v, token.Request{}); err != nil {
					t.Fatal(err)
				}
				if i == 0 {
					env.Pass(learn)
				}
			}
			if n := env.Reads(); n != 1 {
				t.Fatalf("got %d reads, want 1", n)
			}
			end := env.ReadTimes()[0].Add(mostAge)
			env.PutText("billing", "", "")
			for env.Now().Before(end) {
				for _, v := range env.Vendors {
					_, _ = env.Ask(v, token.Request{})
				}
				env.Pass(min(10*time.Second, max(end.Sub(env.Now()), time.Millisecond)))
			}
			for i, v := range env.Vendors {
				if _, err := env.Ask(v, token.Request{}); fault.From(err).Kind != fault.Denied {
					t.Errorf("learned after %v: environment %d: got error %v, want a refusal", learn, i, err)
				}
			}
		})
	}
}

// TestRotationIsNoticedByAllEnvironments: five minutes after the old version was read last.
func TestRotationIsNoticedByAllEnvironments(t *testing.T) {
	for _, learn := range []time.Duration{0, 3*time.Minute + 59*time.Second} {
		tokentest.RunFleet(t, readers, func(t *testing.T, env *tokentest.Fleet) {
			audited := env.Config().Audit
			for i := range env.Vendors {
				env.Vendors[i] = env.Environment(func(cfg *token.Config) { cfg.Audit = audited })
			}
			for i, v := range env.Vendors {
				if got := documentOf(env, v); got != "v1" {
					t.Fatalf("got version %q, want v1", got)
				}
				if i == 0 {
					env.Pass(learn)
				}
			}
			env.Put("billing", "v2", nil)
			env.Pass(env.ReadTimes()[0].Add(mostAge).Sub(env.Now()))
			for i, v := range env.Vendors {
				if got := documentOf(env, v); got != "v2" {
					t.Errorf("learned after %v: environment %d has version %q, want v2", learn, i, got)
				}
			}
			if n := env.Reads(); n != 2 {
				t.Errorf("got %d reads, want 2", n)
			}
		})
	}
}

// TestCorrectionIsNoticedAtOnce: although the table has a reading of the document at fault. What
// one environment has noticed the others need not read.
func TestCorrectionIsNoticedAtOnce(t *testing.T) {
	for _, test := range []struct {
		name string
		put  func(*tokentest.Fleet)
	}{
		{"refused credential", func(env *tokentest.Fleet) {
			env.Put("billing", "v2", map[string]any{"client_secret": "bad", "previous": "never"})
		}},
		{"broken document", func(env *tokentest.Fleet) { env.PutText("billing", "v2", `{"client_id":"id"}`) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			tokentest.RunFleet(t, 4, func(t *testing.T, env *tokentest.Fleet) {
				test.put(env)
				if _, err := env.Ask(env.Vendors[0], token.Request{}); fault.From(err).Kind != fault.Misconfigured {
					t.Fatalf("got error %v, want one about the document", err)
				}
				env.Pass(time.Second)
				env.Put("billing", "v3", nil)
				if _, err := env.Ask(env.Vendors[1], token.Request{}); err != nil {
					t.Errorf("another environment: %v", err)
				}
				before := env.Reads()
				for _, v := range env.Vendors[2:] {
					if _, err := env.Ask(v, token.Request{}); err != nil {
						t.Errorf("an environment without the document: %v", err)
					}
				}
				if n := env.Reads() - before; n != 0 {
					t.Errorf("got %d more reads, want none", n)
				}
				if _, err := env.Ask(env.Vendors[0], token.Request{}); err != nil {
					t.Errorf("the environment that failed: %v", err)
				}
			})
		})
	}
}

// TestDryRunReadsSecretNow: a person who corrects a document is told about the new one, in an
// environment that does not have it in memory.
func TestDryRunReadsSecretNow(t *testing.T) {
	tokentest.RunFleet(t, 2, func(t *testing.T, env *tokentest.Fleet) {
		if _, err := env.Ask(env.Vendors[0], token.Request{}); err != nil {
			t.Fatal(err)
		}
		env.PutText("billing", "v2", `{"client_id":"id"}`)
		grant, err := env.Ask(env.Vendors[1], token.Request{DryRun: true})
		if err != nil {
			t.Fatal(err)
		}
		if answer := string(grant.AppendJSON(nil, env.Now())); !strings.Contains(answer, "token_endpoint is missing") {
			t.Errorf("got %s, want the problem of the new version", answer)
		}
	})
}

// TestReadsWhileTableIsDown: each environment reads the secret itself, and no vend fails.
func TestReadsWhileTableIsDown(t *testing.T) {
	for name, fault := range map[string]fleettest.Fault{"down": fleettest.Down, "hangs": fleettest.Hang} {
		t.Run(name, func(t *testing.T) {
			tokentest.RunFleet(t, 5, func(t *testing.T, env *tokentest.Fleet) {
				for phase, want := range []int{1, 5, 1} {
					env.Table.Misbehave([]fleettest.Fault{nil, fault, nil}[phase])
					before := env.Reads()
					for _, v := range env.Vendors {
						if _, err := env.Ask(v, token.Request{}); err != nil {
							t.Error(err)
						}
					}
					if n := env.Reads() - before; n != want {
						t.Errorf("phase %d: got %d reads, want %d", phase, n, want)
					}
					env.Pass(mostAge)
				}
			})
		})
	}
}

// TestReplacedDocumentDoesNotComeBack: an environment that read a new version while the table was
// down takes no older reading of the table afterwards, though that could serve others still.
func TestReplacedDocumentDoesNotComeBack(t *testing.T) {
	tokentest.RunFleet(t, 1, func(t *testing.T, env *tokentest.Fleet) {
		age := 0.0 // the least one first, so that the reading of the table is not too old then
		alone := env.Environment(func(cfg *token.Config) {
			cfg.Audit, cfg.Rand = env.Config().Audit, func() float64 { return age }
		})
		if _, err := env.Ask(env.Vendors[0], token.Request{}); err != nil {
			t.Fatal(err)
		}
		env.Put("billing", "v2", nil)
		env.Pass(leastInterval / 8)
		env.Table.Misbehave(fleettest.Down)
		begun := env.Now()
		for env.Now().Sub(begun) < mostAge {
			if got := documentOf(env, alone); got != "v2" {
				t.Fatalf("after %v: got version %q, want v2", env.Now().Sub(begun), got)
			}
			env.Table.Misbehave(nil)
			env.Pass(leastInterval / 16)
			age = 0.999
		}
	})
}

// TestUnknownClientIsReadByEachEnvironment: so that a client that is added is found at once.
func TestUnknownClientIsReadByEachEnvironment(t *testing.T) {
	tokentest.RunFleet(t, 5, func(t *testing.T, env *tokentest.Fleet) {
		request := token.Request{Client: "other", Ask: ask.Ask{}}
		var all sync.WaitGroup
		for _, v := range env.Vendors {
			all.Go(func() {
				_, err := env.Ask(v, request)
				var failure *fault.Error
				if !errors.As(err, &failure) || failure.Kind != fault.Denied {
					t.Errorf("got error %v, want a refusal", err)
				}
			})
		}
		all.Wait()
		if n := env.Reads(); n != 5 {
			t.Errorf("got %d reads, want 5", n)
		}
		env.Put("other", "v1", nil)
		for _, v := range env.Vendors {
			if _, err := env.Ask(v, request); err != nil {
				t.Errorf("the client was added: %v", err)
			}
		}
	})
}
