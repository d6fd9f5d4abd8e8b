package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"tokenvendor/scripts/local/sqs"
	"tokenvendor/shared/awsapi"
	"tokenvendor/shared/awsapi/messaging"
	"tokenvendor/shared/fleet"
	"tokenvendor/shared/fleet/fleettest"
	"tokenvendor/shared/oauth/oauthtest"
	"tokenvendor/shared/token"
)

// slowVendor does something after each answer, such as letting time pass.
type slowVendor struct {
	vendor
	after func()
}

func (s slowVendor) Announce(ctx context.Context, read func(*token.Order) error) (token.Announcement, error) {
	a, err := s.vendor.Announce(ctx, read)
	s.after()
	return a, err
}

func (s slowVendor) Vend(ctx context.Context, read func(*token.Request) error) (token.Grant, error) {
	g, err := s.vendor.Vend(ctx, read)
	s.after()
	return g, err
}

// lossyBus takes events and does not say so.
type lossyBus struct {
	*harness
	lose int
}

func (b *lossyBus) Put(ctx context.Context, source, kind string, detail []byte) error {
	err := b.harness.Put(ctx, source, kind, detail)
	if b.lose--; err == nil && b.lose >= 0 {
		err = errors.New("no answer")
	}
	return err
}

// TestFailedIsFreeForAllClocks: what failed in an environment whose clock is ahead is not
// done for one whose clock is behind, but may be tried.
func TestFailedIsFreeForAllClocks(t *testing.T) {
	for _, by := range []time.Duration{2 * time.Second, 2 * time.Minute} {
		r := newHarness(t)
		ahead := r.environmentAt(by)
		r.busErr = errors.New("down")
		event := busEvent("e", "TokenRequested", `{"client":"billing"}`)
		if _, kind, _ := r.invoke(ahead, event); kind != "temporarily_unavailable" {
			t.Fatalf("answered %s", kind)
		}
		if failed := r.deliver(ahead, message("m", `{"client":"billing"}`, 1)); len(failed) != 1 {
			t.Fatal("a message that failed is done")
		}
		r.busErr = nil
		_, kind, _ := r.invoke(r.h, event)
		if failed := r.deliver(r.h, message("m", `{"client":"billing"}`, 2)); kind != "" || len(failed) != 0 || len(r.events) != 2 {
			t.Errorf("%v: answered %s, failed %v, %d announced", by, kind, failed, len(r.events))
		}
	}
}

// TestTakenOver: who was slower than a lease lives does nothing more once another has
// taken over, not even putting the message aside; and goes on if nobody has.
func TestTakenOver(t *testing.T) {
	r := newHarness(t)
	other := r.environment()
	alone := r.h.vendor
	r.h.vendor = slowVendor{vendor: alone, after: func() {
		r.pass(9 * time.Second)
		if failed := r.deliver(other, message("m", `{"client":"billing"}`, 5)); len(failed) != 0 {
			t.Error("nobody has done it")
		}
	}}
	if failed := r.deliver(r.h, message("m", `{"client":"billing"}`, 5)); len(failed) != 1 || len(r.events) != 1 || len(r.dead) != 0 {
		t.Errorf("failed %v, %d announced, %d put aside", failed, len(r.events), len(r.dead))
	}
	r.h.vendor = slowVendor{vendor: alone, after: func() { r.pass(9 * time.Second) }}
	if failed := r.deliver(r.h, message("n", `{"client":"billing"}`, 5)); len(failed) != 0 || len(r.events) != 2 || len(r.dead) != 0 {
		t.Errorf("alone: failed %v, %d announced, %d put aside", failed, len(r.events), len(r.dead))
	}
}

// TestDeliveryTakenOver: an older token is not written over a newer one.
func TestDeliveryTakenOver(t *testing.T) {
	r := newHarness(t)
	secret := &targetSecret{}
	r.secrets["token-vendor/tokens/x"] = secret
	other := r.environment()
	var newer string
	r.h.vendor = slowVendor{vendor: r.h.vendor, after: func() {
		r.pass(9 * time.Second)
		r.results(other, `{"client":"billing","scope":"a","deliver_to":"token-vendor/tokens/x"}`)
		newer = string(secret.text)
	}}
	r.results(r.h, `{"client":"billing","deliver_to":"token-vendor/tokens/x"}`)
	if secret.writes != 1 || string(secret.text) != newer {
		t.Errorf("%d writes within seconds", secret.writes)
	}
}

// TestDoneOverMidnight: what was done yesterday is not done again today, and what was lost
// on the way to the bus is announced again as it was.
func TestDoneOverMidnight(t *testing.T) {
	r := newHarness(t)
	midnight := r.now().UTC().Truncate(24 * time.Hour).Add(24 * time.Hour)
	r.pass(midnight.Add(-time.Minute).Sub(r.now()))
	sent := r.now()
	event := strings.Replace(busEvent("e", "TokenRequested", `{"requests":[{"client":"billing"},{"client":"none"}]}`), "2026-11-23T10:00:00Z", sent.UTC().Format(time.RFC3339), 1)
	lost := strings.Replace(message("m", `{"client":"orders"}`, 1), "1700000000000", fmt.Sprint(sent.UnixMilli()), 1)
	r.invoke(r.h, event)
	r.h.bus = &lossyBus{harness: r, lose: 1}
	r.deliver(r.h, lost)
	r.pass(2 * time.Minute)
	for _, h := range []*handler{r.h, r.environment()} {
		r.invoke(h, event)
		r.deliver(h, lost)
	}
	if len(r.events) != 3 || r.events[1].Claim != r.events[2].Claim || r.events[1].ID != "m" || r.events[2].ID != "m" {
		t.Errorf("%d announcements", len(r.events))
	}
}

// TestClaimsOfOneOrder are the same, however it came and however late.
func TestClaimsOfOneOrder(t *testing.T) {
	hour := func(r *harness) { r.pass(time.Hour - time.Duration(r.now().UnixNano())%time.Hour + time.Minute) }
	r := newHarness(t)
	hour(r)
	run := `{"schedule":[{"client":"billing"}],"id":"run","time":"` + r.now().UTC().Format(time.RFC3339) + `"}`
	r.invoke(r.h, run)
	r.pass(2 * time.Minute)
	answer, _, _ := r.invoke(r.h, run)
	var out struct{ Results []token.Announcement }
	if err := json.Unmarshal([]byte(answer), &out); err != nil || len(r.events) != 1 || out.Results[0].Claim != r.events[0].Claim {
		t.Errorf("%v: %d announced, and the answer is another", err, len(r.events))
	}
	for _, waited := range []time.Duration{time.Minute, 7 * time.Hour, 80 * time.Hour} {
		r := newHarness(t)
		hour(r)
		r.h.bus = &lossyBus{harness: r, lose: 1}
		old := strings.Replace(message("m", `{"client":"billing"}`, 1), "1700000000000", fmt.Sprint(r.now().Add(-waited).UnixMilli()), 1)
		r.deliver(r.h, old)
		r.pass(150 * time.Second)
		r.deliver(r.h, old)
		if len(r.events) != 2 || r.events[0].Claim != r.events[1].Claim || time.Unix(r.events[1].ClaimExpires, 0).Sub(r.now()) < token.ClaimLife/2-3*time.Minute {
			t.Errorf("after %v: %d announcements, expiring %v from now", waited, len(r.events), time.Unix(r.events[1].ClaimExpires, 0).Sub(r.now()))
		}
	}
}

// TestMinTTLNearLife: whoever wants nearly all of a token's life gets it, soon after
// somebody else had one, too; what tokens cannot have is refused for ever.
func TestMinTTLNearLife(t *testing.T) {
	r := newHarness(t)
	for i := range 4 {
		r.deliver(r.h, message(fmt.Sprint("m-", i), `{"client":"billing","min_ttl":3500}`, 1))
		r.pass(3 * time.Minute)
	}
	if len(r.dead) != 0 || len(r.events) != 4 {
		t.Errorf("%d announced, dead %v", len(r.events), r.dead)
	}
	// One that is a few seconds old has not got 3599 seconds, but that passes.
	r.deliver(r.h, message("first", `{"client":"orders"}`, 1))
	r.pass(5 * time.Second)
	if failed := r.deliver(r.h, message("all", `{"client":"orders","min_ttl":3599}`, 1)); len(failed) != 1 || len(r.dead) != 0 {
		t.Errorf("failed %v, dead %v", failed, r.dead)
	}
	if r.deliver(r.h, message("more", `{"client":"orders","min_ttl":3601}`, 1)); len(r.dead) != 1 || r.dead[0].Attributes["message_id"] != "more" {
		t.Errorf("dead %v", r.dead)
	}
}

// TestPolicyTrouble: that the policy is broken, or a client frozen, is no fault of an
// order, which may wait.
func TestPolicyTrouble(t *testing.T) {
	for _, text := range []string{`{"rules": [`, `{"rules": [], "freeze": ["billing"]}`} {
		r := newHarness(t)
		r.policy = text
		h := r.environment()
		if failed := r.deliver(h, message("m", `{"client":"billing"}`, 1)); len(failed) != 1 || len(r.dead) != 0 {
			t.Errorf("%s: failed %v, dead %v", text, failed, r.dead)
		}
		if failed := r.deliver(h, message("m", `{"client":"billing"}`, 5)); len(failed) != 0 || len(r.dead) != 1 || r.dead[0].Attributes["error"] != "access_denied" {
			t.Errorf("%s: at last failed %v, dead %v", text, failed, r.dead)
		}
	}
}

// TestWrongSecretOnASchedule: the fuse holds against whoever comes by every five minutes.
func TestWrongSecretOnASchedule(t *testing.T) {
	r := newHarness(t)
	r.client("billing", map[string]any{"client_secret": "cnry-wrong"})
	r.secrets["token-vendor/tokens/x"] = &targetSecret{}
	for range 12 {
		r.results(r.h, `{"client":"billing","deliver_to":"token-vendor/tokens/x"}`)
		r.pass(5 * time.Minute)
	}
	if n := r.server.FailedLogons("id"); n > 2 {
		t.Errorf("%d failed logons in an hour", n)
	}
}

// TestDeliveryThatCannotBeKept is made as well as it can be, and somebody hears of it.
func TestDeliveryThatCannotBeKept(t *testing.T) {
	for _, tt := range []struct {
		life  int
		entry string
		least time.Duration
		kept  bool
	}{
		{3600, ``, 15 * time.Minute, true},
		{3720, `"min_ttl":1200,`, 20 * time.Minute, true},
		{43199, `"min_ttl":3600,`, time.Hour, true},
		{1860, ``, 15 * time.Minute, true},
		{1200, ``, time.Minute, false},
		{3600, `"min_ttl":3000,`, 30 * time.Minute, false},
		{3600, `"min_ttl":7200,`, 30 * time.Minute, false},
	} {
		r := newHarness(t)
		r.server.Misbehave(oauthtest.Members(map[string]any{"expires_in": tt.life}))
		secret := &targetSecret{}
		r.secrets["token-vendor/tokens/x"] = secret
		real := r.h.vendor
		r.h.vendor = slowVendor{vendor: real, after: func() { r.pass(time.Second) }}
		next, least := r.now(), 24*time.Hour
		for range 150 {
			r.results(r.h, `{"client":"billing",`+tt.entry+`"deliver_to":"token-vendor/tokens/x"}`)
			next = next.Add(5 * time.Minute)
			r.pass(next.Sub(r.now()))
			var there kept
			if err := json.Unmarshal(secret.text, &there); err != nil {
				t.Fatal(err)
			}
			least = min(least, time.Unix(there.ExpiresAt, 0).Sub(r.now()))
		}
		if failed := r.counted(countDeliveriesFailed); least < tt.least-2*time.Second || (failed == 0) != tt.kept {
			t.Errorf("life %d, %s: %v are found at least, %d failures are counted", tt.life, tt.entry, least, failed)
		}
	}
	r := newHarness(t)
	for _, bad := range []string{`{"client":"billing","min_ttl":100000,"deliver_to":"token-vendor/tokens/x"}`, `{"client":"billing","deliver_to":"x"}`, `{"client":"billing","deliver_to":1}`} {
		before := r.counted(countDeliveriesFailed)
		if r.results(r.h, bad); r.counted(countDeliveriesFailed) != before+1 {
			t.Errorf("%s: nobody hears of it", bad)
		}
	}
}

// TestAnswersBeforeTheDeadline also when the table hangs at last.
func TestAnswersBeforeTheDeadline(t *testing.T) {
	r := newHarness(t)
	r.h.fleet = fleet.New(fleet.Config{Table: &r.table, Keys: &r.keys, Now: r.now, Patience: patience})
	r.deliver(r.h, message("warm", `{"client":"orders"}`, 1))
	r.server.Misbehave(oauthtest.Hang)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	time.AfterFunc(time.Second, func() { r.table.Misbehave(fleettest.Hang) })
	if _, err := r.h.Invoke(ctx, []byte(`{"Records": [`+message("m", `{"client":"billing"}`, 1)+`]}`)); ctx.Err() != nil {
		t.Errorf("answered after Lambda's deadline: %v", err)
	}
}

// TestLargestMessage that SQS takes: it is put aside with its reason.
func TestLargestMessage(t *testing.T) {
	r := newHarness(t)
	server := sqs.New(sqs.Config{Region: "eu-central-1", Account: "111122223333"})
	server.AddQueue("dead", sqs.Queue{})
	web := httptest.NewServer(server)
	t.Cleanup(web.Close)
	for name, value := range map[string]string{"AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "x", "AWS_ENDPOINT_URL_SQS": web.URL} {
		t.Setenv(name, value)
	}
	cfg, err := awsapi.LoadConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.h.dead = messaging.NewQueue(cfg, web.URL+"/111122223333/dead")
	for _, body := range []string{strings.Repeat("x", 1<<20), strings.Repeat("é", 1<<19)} {
		if failed := r.deliver(r.h, message("m-"+fmt.Sprint(body[0]), body, 1)); len(failed) != 0 {
			t.Errorf("failed %v", failed)
		}
	}
	for _, m := range server.Messages("dead") {
		if len(m.Body) < maxBuried-1 || m.Attributes["body_bytes"].StringValue != fmt.Sprint(1<<20) || m.Attributes["error"].StringValue != "invalid_request" {
			t.Errorf("%d bytes, %v", len(m.Body), m.Attributes)
		}
	}
	if n := len(server.Messages("dead")); n != 2 {
		t.Errorf("%d in the dead-letter queue", n)
	}
}

// TestLostRenewal: a renewal whose answer is lost is not another environment.
func TestLostRenewal(t *testing.T) {
	r := newHarness(t)
	secret := &targetSecret{}
	r.secrets["token-vendor/tokens/x"] = secret
	r.h.vendor = slowVendor{vendor: r.h.vendor, after: func() {
		r.pass(4 * time.Second)
		calls := 0
		r.table.MisbehaveAfter(func(context.Context) error {
			if calls++; calls == 1 {
				return errors.New("no answer")
			}
			return nil
		})
	}}
	if answer := r.results(r.h, `{"client":"billing","deliver_to":"token-vendor/tokens/x"}`); secret.writes != 1 {
		t.Errorf("%d writes, answered %v", secret.writes, answer)
	}
}
