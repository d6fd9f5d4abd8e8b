package token_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"tokenvendor/shared/oauth"
	"tokenvendor/shared/oauth/oauthtest"
	"tokenvendor/shared/secret"
	"tokenvendor/shared/token"
)

func (b *bench) wantOutcome(want token.Outcome) token.Grant {
	b.t.Helper()
	grant := b.mustVend(token.Request{})
	if grant.Outcome != want {
		b.t.Errorf("outcome %s, want %s", grant.Outcome, want)
	}
	return grant
}

// TestRefreshBeforeTheEnd: at four fifths of its life, give or take a twentieth,
// a token is replaced.
func TestRefreshBeforeTheEnd(t *testing.T) {
	b := newBench(t)
	b.wantOutcome(token.Exchanged)
	b.pass(44*time.Minute + 59*time.Second)
	b.wantOutcome(token.Hit)
	b.pass(6*time.Minute + 2*time.Second)
	b.wantOutcome(token.Refreshed)
	b.wantOutcome(token.Hit)
	b.wantCounts(2, 0)
}

// TestShortLives: SAP allows a minute. Such tokens aren't replaced early.
func TestShortLives(t *testing.T) {
	b := newBench(t)
	b.server.Misbehave(oauthtest.Members(map[string]any{"expires_in": 60}))
	b.wantOutcome(token.Exchanged)
	b.pass(56 * time.Second)
	b.wantOutcome(token.Hit)
	b.pass(time.Second)
	b.wantOutcome(token.Exchanged)
	b.wantCounts(2, 0)
}

// TestIssuerDown for longer than the refresh window (envoy #44674, azure-sdk
// #31169): every unexpired token keeps being served, none expired ever leaves, and
// the server that is down is left in peace.
func TestIssuerDown(t *testing.T) {
	for name, fault := range map[string]oauthtest.Fault{"503": oauthtest.Answer(503, "", ""), "reset": oauthtest.Reset, "429": oauthtest.HTML429("")} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.wantOutcome(token.Exchanged)
			b.server.Misbehave(fault)
			var asked []time.Duration
			start := b.now()
			for age := time.Duration(0); age < 100*time.Minute; age = b.now().Sub(start) {
				before := len(b.server.Requests())
				grant, err := b.vend(token.Request{})
				switch {
				case err == nil && !b.now().Before(grant.Token.Expiry().Add(-30*time.Second)):
					t.Fatalf("after %v: an expired token", age)
				case err != nil && age < 59*time.Minute+30*time.Second:
					t.Fatalf("after %v: %v", age, err)
				case err != nil && token.AsError(err).RetryAfter < time.Second:
					t.Fatalf("after %v: no Retry-After", age)
				}
				if n := len(b.server.Requests()) - before; n > 1 {
					t.Fatalf("after %v: %d calls at once", age, n)
				} else if n == 1 {
					asked = append(asked, age)
				}
				b.pass(time.Second)
			}
			least := 30 * time.Second
			for i := 1; i < len(asked); i++ {
				if pause := asked[i] - asked[i-1]; pause < least || pause > least*5/4+2*time.Second {
					t.Errorf("pause %d was %v, want %v and up to a quarter more", i, pause, least)
				}
				least = min(2*least, 5*time.Minute)
			}
			if len(asked) < 10 {
				t.Errorf("asked %d times only: it is not tried any more", len(asked))
			}
			b.server.Behave()
			b.pass(7 * time.Minute)
			b.wantOutcome(token.Exchanged)
			b.wantOutcome(token.Hit)
		})
	}
}

// TestFirstExchangeFails: the failure is remembered for seconds, for all.
func TestFirstExchangeFails(t *testing.T) {
	b := newBench(t)
	b.server.Misbehave(oauthtest.Answer(500, "", ""))
	for range 20 {
		b.wantKind(token.Request{}, token.Unavailable)
	}
	if n := len(b.server.Requests()); n != 1 {
		t.Errorf("asked %d times, want 1", n)
	}
	b.server.Behave()
	b.pass(5 * time.Second)
	b.wantOutcome(token.Exchanged)
}

// TestThrottledServerIsLeftAlone (MSAL .NET #4196): 429 is remembered for the
// server, not for one token only, and valid tokens keep flowing.
func TestThrottledServerIsLeftAlone(t *testing.T) {
	b := newBench(t)
	b.put("other", "v1", nil)
	b.wantOutcome(token.Exchanged)
	b.server.Misbehave(oauthtest.HTML429("60"))
	b.wantKind(token.Request{Client: "other"}, token.Throttled)
	asked := len(b.server.Requests())
	for i := range 20 {
		failure := b.wantKind(token.Request{Client: "other", Scope: []string{fmt.Sprint(i)}}, token.Throttled)
		if failure.RetryAfter < 50*time.Second || failure.RetryAfter > time.Minute {
			t.Errorf("Retry-After is %v", failure.RetryAfter)
		}
		b.wantOutcome(token.Hit)
	}
	b.pass(59 * time.Second)
	b.wantKind(token.Request{Client: "other", Scope: []string{"x"}}, token.Throttled)
	if n := len(b.server.Requests()); n != asked {
		t.Errorf("asked %d times although it wanted peace", n-asked)
	}
	b.server.Behave()
	b.pass(2 * time.Second)
	b.mustVend(token.Request{Client: "other", Scope: []string{"y"}})
	b.mustVend(token.Request{Client: "other", Scope: []string{"z"}})
}

// TestOneProbe: when the peace is over, one call finds out whether it is well.
func TestOneProbe(t *testing.T) {
	b := newBench(t)
	b.server.Misbehave(oauthtest.HTML429("300"))
	b.wantKind(token.Request{Scope: []string{"a"}}, token.Throttled)
	b.pass(5*time.Minute + time.Second)
	asked := len(b.server.Requests())
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() { _, _ = b.vend(token.Request{Scope: []string{fmt.Sprint("s", i)}}) })
	}
	all.Wait()
	if n := len(b.server.Requests()) - asked; n != 1 {
		t.Errorf("%d probes, want 1", n)
	}
}

// TestS30Budget: one environment doesn't make more than ten exchanges at once, and
// ten a second, whatever is asked of it.
func TestS30Budget(t *testing.T) {
	b := newBench(t)
	start := time.Now()
	var all sync.WaitGroup
	for i := range 60 {
		all.Go(func() { _, _ = b.vend(token.Request{Scope: []string{fmt.Sprint("s", i)}}) })
	}
	all.Wait()
	most := 11 + int(time.Since(start)/(time.Second/10))
	if n := b.server.Exchanges(); n > most || n < 20 {
		t.Errorf("%d exchanges in %v, want at most %d", n, time.Since(start), most)
	}
	if b.counted(token.CountThrottled) != 60-b.server.Exchanges() {
		t.Errorf("%d were withheld of 60, and %d made", b.counted(token.CountThrottled), b.server.Exchanges())
	}
}

// TestRejected: one report brings one exchange, and so does a hundred; what isn't
// the present token brings none; and at most one is forced in 30 seconds.
func TestRejected(t *testing.T) {
	b := newBench(t)
	first := token.Fingerprint(b.mustVend(token.Request{}).Token)
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() { _, _ = b.vend(token.Request{Rejected: first}) })
	}
	all.Wait()
	b.wantCounts(2, 0)
	second := token.Fingerprint(b.mustVend(token.Request{Rejected: strings.Repeat("0", 64)}).Token)
	b.mustVend(token.Request{Rejected: second})
	b.wantCounts(2, 0)
	b.pass(30 * time.Second)
	b.mustVend(token.Request{Rejected: second})
	b.wantCounts(3, 0)
	// While no other can be had, the one caller gets an error, and the others the
	// token.
	b.server.Misbehave(oauthtest.Answer(503, "", ""))
	b.pass(time.Minute)
	third := token.Fingerprint(b.mustVend(token.Request{}).Token)
	b.wantKind(token.Request{Rejected: third}, token.Unavailable)
	b.mustVend(token.Request{})
	b.wantCounts(3, 0)
}

// TestSecretsManagerDown: known clients keep being served for a day.
func TestSecretsManagerDown(t *testing.T) {
	b := newBench(t)
	b.mustVend(token.Request{})
	b.setReadErr(secret.ErrUnavailable)
	start := b.now()
	for b.now().Sub(start) < 23*time.Hour+50*time.Minute {
		b.mustVend(token.Request{})
		b.pass(time.Minute)
	}
	if n := b.reads.Load(); n < 24*60/6 || n > 24*60/4 {
		t.Errorf("%d reads in a day, want one in four to six minutes", n)
	}
	b.pass(15 * time.Minute)
	b.wantKind(token.Request{}, token.Unavailable)
	b.setReadErr(nil)
	b.pass(5 * time.Minute)
	b.mustVend(token.Request{})
}

func TestSecretDenied(t *testing.T) {
	b := newBench(t)
	b.mustVend(token.Request{})
	b.setReadErr(secret.ErrDenied)
	b.pass(5 * time.Minute)
	b.mustVend(token.Request{}) // this one reads
	b.pass(14*time.Minute + 59*time.Second)
	b.mustVend(token.Request{})
	b.pass(time.Second)
	reads := b.reads.Load()
	for range 10 {
		b.wantKind(token.Request{}, token.Misconfigured)
	}
	if n := b.reads.Load() - reads; n > 1 {
		t.Errorf("%d reads of what is denied", n)
	}
	b.setReadErr(nil)
	b.pass(time.Minute)
	b.mustVend(token.Request{})
}

// TestSecretDeleted: no token at all from the next read on, and none of its old
// ones afterwards.
func TestSecretDeleted(t *testing.T) {
	b := newBench(t)
	b.mustVend(token.Request{})
	b.setReadErr(secret.ErrNotFound)
	b.pass(5 * time.Minute)
	b.wantKind(token.Request{}, token.Denied)
	b.setReadErr(nil)
	b.pass(time.Minute)
	b.wantOutcome(token.Exchanged)
}

// TestUnknownClient is looked for a few times, and not all the time; and works as
// soon as it is there.
func TestUnknownClient(t *testing.T) {
	b := newBench(t)
	for range 100 {
		b.wantKind(token.Request{Client: "new"}, token.Denied)
	}
	if n := b.reads.Load(); n != 3 {
		t.Errorf("%d reads for 100 calls, want 3", n)
	}
	b.wantKind(token.Request{Client: "newer"}, token.Denied)
	b.put("newer", "v1", nil)
	b.mustVend(token.Request{Client: "newer"})
	b.put("new", "v1", nil)
	b.pass(10 * time.Second)
	b.mustVend(token.Request{Client: "new"})
}

// TestBrokenVersion: the old version serves on, and no logon is lost.
func TestBrokenVersion(t *testing.T) {
	b := newBench(t)
	b.mustVend(token.Request{})
	b.put("billing", "v2", map[string]any{"client_secret": "", "surprise": 1})
	for range 24 {
		b.mustVend(token.Request{})
		b.pass(time.Hour - time.Minute)
	}
	b.wantCounts(24, 0)
	if b.counted(token.CountDocument) == 0 {
		t.Error("nobody was told")
	}
	b.put("billing", "v3", nil)
	b.pass(time.Minute)
	b.mustVend(token.Request{})
}

// TestFuseIsVisible in the error and in the counts.
func TestFuseIsVisible(t *testing.T) {
	b := newBench(t)
	b.put("billing", "v1", map[string]any{"client_secret": "bad"})
	for range 3 {
		failure := b.wantKind(token.Request{}, token.Misconfigured)
		if failure.Fuse.Sub(b.now()).Round(time.Minute) != 10*time.Minute || !strings.Contains(failure.Detail, "fuse") {
			t.Errorf("fuse until %v, detail %q", failure.Fuse, failure.Detail)
		}
	}
	if b.counted(token.CountFailedLogon) != 1 {
		t.Errorf("%d failed logons were counted", b.counted(token.CountFailedLogon))
	}
}

// TestFuseIsPatient: whoever asks every five minutes with one wrong credential needs more
// than nine hours for five failed logons; when the server takes it all is forgotten.
func TestFuseIsPatient(t *testing.T) {
	for name, environments := range map[string]int{"alone": 0, "a fleet": 3} {
		t.Run(name, func(t *testing.T) {
			a := newArmada(t, environments)
			if environments == 0 {
				a.vendors = append(a.vendors, token.New(a.config()))
			}
			a.put("billing", "v1", map[string]any{"client_secret": "bad"})
			var failed []time.Duration
			day := func(length time.Duration) {
				begin := a.now()
				failed = nil
				for i := 0; a.now().Sub(begin) < length; i++ {
					before := a.server.FailedLogons("id")
					if _, err := a.ask(a.vendors[i%len(a.vendors)], token.Request{Scope: []string{fmt.Sprint("s", i%3)}}); token.AsError(err).Kind != token.Misconfigured {
						t.Fatalf("error %v", err)
					}
					if a.server.FailedLogons("id") > before {
						failed = append(failed, a.now().Sub(begin).Round(time.Minute))
					}
					a.pass(5*time.Minute + time.Second)
				}
			}
			day(12 * time.Hour)
			if len(failed) != 5 || failed[1] < 10*time.Minute || failed[2] < 70*time.Minute || failed[3] < 310*time.Minute {
				t.Errorf("logons failed at %v", failed)
			}
			// Moments in which the server is down say nothing about the credential.
			a.pass(4 * time.Hour)
			a.server.Misbehave(oauthtest.Answer(503, "", ""))
			_, _ = a.ask(a.vendors[0], token.Request{})
			a.server.Behave()
			a.pass(5 * time.Minute)
			if environments > 0 {
				a.vendors = []*token.Vendor{a.environment()} // which knows only what the others left
			}
			if day(3 * time.Hour); len(failed) != 1 {
				t.Errorf("after an outage logons failed at %v", failed)
			}
			a.pass(4 * time.Hour)
			a.server.Register(oauthtest.Client{ID: "id", Methods: []string{"client_secret_post"}, Secrets: []string{"bad"}})
			if _, err := a.ask(a.vendors[0], token.Request{}); err != nil {
				t.Errorf("the server takes it now: %v", err)
			}
			a.pass(2 * time.Hour)
			a.server.Register(oauthtest.Client{ID: "id", Methods: []string{"client_secret_post"}, Secrets: []string{"good"}})
			if day(30 * time.Minute); len(failed) != 2 {
				t.Errorf("as if it had never been good: failed at %v", failed)
			}
		})
	}
}

// TestRefusedInARow: what others have logged on with since is not refused for the third
// time, however often this environment saw it refused before.
func TestRefusedInARow(t *testing.T) {
	a := newArmada(t, 2)
	a.put("billing", "v1", map[string]any{"client_secret": "bad"})
	for range 2 {
		_, _ = a.ask(a.vendors[0], token.Request{})
		a.pass(61 * time.Minute)
	}
	a.wantCounts(0, 2)
	a.server.Register(oauthtest.Client{ID: "id", Methods: []string{"client_secret_post"}, Secrets: []string{"bad"}})
	for i := range 8 {
		if _, err := a.ask(a.vendors[1-i%2], token.Request{}); err != nil {
			t.Fatal(err)
		}
		a.pass(31 * time.Minute)
	}
	a.pass(time.Hour)
	a.server.Register(oauthtest.Client{ID: "id", Methods: []string{"client_secret_post"}, Secrets: []string{"good"}})
	_, err := a.ask(a.vendors[0], token.Request{})
	if rest := token.AsError(err).Fuse.Sub(a.now()); rest <= 0 || rest > 11*time.Minute {
		t.Errorf("refused for the first time, and not sent again for %v", rest)
	}
}

// TestFuseOfClocksThatDiffer by five minutes: one failed logon for each ten minutes and a
// little, as with those that don't.
func TestFuseOfClocksThatDiffer(t *testing.T) {
	for _, skews := range [][]time.Duration{{2 * time.Minute, 0, -2 * time.Minute}, {5 * time.Minute, 0}} {
		a := newArmada(t, 0)
		for _, by := range skews {
			a.vendors = append(a.vendors, a.skewed(by))
		}
		a.put("billing", "v1", map[string]any{"client_secret": "bad"})
		begin := a.now()
		for i := 0; a.now().Sub(begin) < time.Hour; i++ {
			_, _ = a.ask(a.vendors[i%len(a.vendors)], token.Request{})
			a.pass(59 * time.Second)
		}
		a.wantCounts(0, 2)
	}
}

// TestCorrectionCountsAtOnce even after many calls failed, and many failing calls
// don't read the secret each time.
func TestCorrectionCountsAtOnce(t *testing.T) {
	b := newBench(t)
	b.put("billing", "v1", map[string]any{"client_secret": "bad"})
	for range 200 {
		b.wantKind(token.Request{}, token.Misconfigured)
	}
	if n := b.reads.Load(); n > 12 {
		t.Errorf("%d reads for 200 failing calls", n)
	}
	b.put("billing", "v2", nil)
	b.pass(time.Second)
	b.mustVend(token.Request{})
	b.wantCounts(1, 1)
}

// TestRefreshAfter: callers get moments of their own, between the refresh of the
// token and its end.
func TestRefreshAfter(t *testing.T) {
	b := newBench(t)
	seen, start := make(map[int64]bool), b.now()
	for i := range 1000 {
		grant := b.mustVend(token.Request{Caller: fmt.Sprint("caller-", i)})
		var answer struct {
			ExpiresIn    int64 `json:"expires_in"`
			RefreshAfter int64 `json:"refresh_after"`
		}
		if err := json.Unmarshal(grant.AppendJSON(nil, b.now()), &answer); err != nil {
			t.Fatal(err)
		}
		if answer.ExpiresIn < 3590 || answer.RefreshAfter < 48*60-10 || answer.RefreshAfter > 59*60 {
			t.Fatalf("%+v", answer)
		}
		seen[answer.RefreshAfter] = true
		if again := b.mustVend(token.Request{Caller: fmt.Sprint("caller-", i)}); again.RefreshAfter(start) != grant.RefreshAfter(start) {
			t.Fatal("a caller's moment moves")
		}
	}
	if len(seen) < 300 {
		t.Errorf("1000 callers come back at %d different seconds", len(seen))
	}
	b.pass(55 * time.Minute)
	b.server.Misbehave(oauthtest.Answer(503, "", ""))
	if after := b.mustVend(token.Request{Caller: "x"}).RefreshAfter(b.now()); after < 0 || after > 5*time.Minute {
		t.Errorf("%v for a stale token", after)
	}
}

// TestNeverExpired plays random lives, pauses, outages and rotations.
func TestNeverExpired(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	for range 15 {
		b := newBench(t)
		for version := 0; version < 60; {
			switch random.IntN(5) {
			case 0:
				b.server.Misbehave(oauthtest.Answer(503, "", ""))
			case 1, 2:
				b.server.Misbehave(oauthtest.Members(map[string]any{"expires_in": 1 + random.IntN(200)}))
			case 3:
				b.setReadErr(secret.ErrUnavailable)
			case 4:
				b.setReadErr(nil)
				b.put("billing", fmt.Sprint("v", version), nil)
			}
			version++
			for range 10 {
				grant, err := b.vend(token.Request{MinTTL: time.Duration(random.IntN(100)) * time.Second})
				if err == nil && !b.now().Before(grant.Token.Expiry()) {
					t.Fatalf("seed %d: a token left %v past its end", seed, b.now().Sub(grant.Token.Expiry()))
				}
				b.pass(time.Duration(random.IntN(60)) * time.Second)
			}
		}
	}
}

// TestRecord: a token survives the way through another process.
func TestRecord(t *testing.T) {
	b := newBench(t)
	grant := b.mustVend(token.Request{})
	again, err := oauth.ReadRecord(grant.Token.Record())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(again.AppendJSON(nil, b.now())), string(grant.Token.AppendJSON(nil, b.now())); got != want || again.Issued().Sub(grant.Token.Issued()) != 0 {
		t.Error("the record differs from the token")
	}
	for _, bad := range []string{"", "{}", "[]", `{"access":"a"}`, `{"access":"a","members":"{"}`} {
		if _, err := oauth.ReadRecord([]byte(bad)); err == nil || errors.Is(err, oauth.ErrTemporary) {
			t.Errorf("%q was read", bad)
		}
	}
}
