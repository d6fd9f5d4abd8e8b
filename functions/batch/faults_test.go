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
	"tokenvendor/shared/fleet/fleettest"
	"tokenvendor/shared/oauth/oauthtest"
	"tokenvendor/shared/token"
)

// deliverX is the entry of a schedule that delivers a token of billing to the target x.
const deliverX = `{"client":"billing","deliver_to":"token-vendor/tokens/x"}`

// An order that failed in an environment whose clock is ahead is not done, and not leased,
// for an environment whose clock is behind.
func TestFailedOrderIsFreeForAllClocks(t *testing.T) {
	for _, by := range []time.Duration{2 * time.Second, 2 * time.Minute} {
		run(t, func(t *testing.T, r *harness) {
			ahead := r.skewed(by)
			r.bus.err = errors.New("down")
			event := busEvent("e", "TokenRequested", `{"client":"billing"}`)
			if _, kind, _ := r.invoke(ahead, event); kind != "temporarily_unavailable" {
				t.Fatalf("got error %q, want temporarily_unavailable", kind)
			}
			if failed := r.deliver(ahead, message("m", `{"client":"billing"}`, 1)); len(failed) != 1 {
				t.Fatal("a message is done although the bus did not take its announcement")
			}
			r.bus.err = nil
			_, kind, _ := r.invoke(r.h, event)
			if failed := r.deliver(r.h, message("m", `{"client":"billing"}`, 2)); kind != "" || len(failed) != 0 || len(r.bus.events) != 2 {
				t.Errorf("ahead by %v: got error %q, failed %v, %d announcements; want two announcements", by, kind, failed, len(r.bus.events))
			}
		})
	}
}

// An environment that is slower than a lease lives does nothing more if another has taken
// the lease over; it does not even put the message into the dead-letter queue. If no other
// has, it goes on.
func TestEnvironmentWithoutItsLeaseHasNoEffect(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		other := r.environment()
		alone := r.h.vendor
		r.h.vendor = hookedVendor{vendor: alone, after: func() {
			r.Pass(9 * time.Second)
			if failed := r.deliver(other, message("m", `{"client":"billing"}`, 5)); len(failed) != 0 {
				t.Error("the message failed in the environment that took over")
			}
		}}
		if failed := r.deliver(r.h, message("m", `{"client":"billing"}`, 5)); len(failed) != 1 || len(r.bus.events) != 1 || len(r.dead.letters) != 0 {
			t.Errorf("taken over: failed %v, got %d announcements, %d dead letters; want m, 1, 0", failed, len(r.bus.events), len(r.dead.letters))
		}
		r.h.vendor = hookedVendor{vendor: alone, after: func() { r.Pass(9 * time.Second) }}
		if failed := r.deliver(r.h, message("n", `{"client":"billing"}`, 5)); len(failed) != 0 || len(r.bus.events) != 2 || len(r.dead.letters) != 0 {
			t.Errorf("alone: failed %v, got %d announcements, %d dead letters; want none, 2, 0", failed, len(r.bus.events), len(r.dead.letters))
		}
	})
}

func TestOlderTokenDoesNotReplaceNewerInSecret(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		secret := r.target("x")
		other := r.environment()
		var newer string
		r.h.vendor = hookedVendor{vendor: r.h.vendor, after: func() {
			r.Pass(9 * time.Second)
			r.results(other, `{"client":"billing","scope":"a","deliver_to":"token-vendor/tokens/x"}`)
			newer = string(secret.text)
		}}
		r.results(r.h, deliverX)
		if secret.writes != 1 || string(secret.text) != newer {
			t.Errorf("got %d writes within seconds, want that of the other environment only", secret.writes)
		}
	})
}

// A renewal whose answer is lost must not be taken for another environment's lease.
func TestDeliveryIsWrittenIfTheAnswerToARenewalIsLost(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		secret := r.target("x")
		r.h.vendor = hookedVendor{vendor: r.h.vendor, after: func() {
			r.Pass(4 * time.Second)
			calls := 0
			r.Table.MisbehaveAfter(func(context.Context) error {
				if calls++; calls == 1 {
					return errors.New("no answer")
				}
				return nil
			})
		}}
		if answer := r.results(r.h, deliverX); secret.writes != 1 {
			t.Errorf("got %d writes and answer %v, want one write", secret.writes, answer)
		}
	})
}

// An order of yesterday is not done again today. If the bus may not have taken its
// announcement, the same is announced again.
func TestOrderIsDoneOnceOverMidnight(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		midnight := r.Now().UTC().Truncate(24 * time.Hour).Add(24 * time.Hour)
		r.Pass(midnight.Add(-time.Minute).Sub(r.Now()))
		sent := r.Now()
		event := strings.Replace(busEvent("e", "TokenRequested", `{"requests":[{"client":"billing"},{"client":"none"}]}`), "2026-11-23T10:00:00Z", sent.UTC().Format(time.RFC3339), 1)
		lost := messageSent("m", `{"client":"orders"}`, sent)
		r.invoke(r.h, event)
		r.bus.lose = 1
		r.deliver(r.h, lost)
		r.Pass(2 * time.Minute)
		for _, h := range []*handler{r.h, r.environment()} {
			r.invoke(h, event)
			r.deliver(h, lost)
		}
		if got := r.bus.events; len(got) != 3 || got[1].Claim != got[2].Claim || got[1].ID != "m" || got[2].ID != "m" {
			t.Errorf("got announcements %+v, want that of the event once and that of the message twice", got)
		}
	})
}

// messageSent returns a record of a message that was sent at a time.
func messageSent(id, body string, sent time.Time) string {
	return strings.Replace(message(id, body, 1), "1700000000000", fmt.Sprint(sent.UnixMilli()), 1)
}

// pastTheHour lets time pass until one minute past a full hour.
func (r *harness) pastTheHour() {
	r.Pass(time.Hour - time.Duration(r.Now().UnixNano())%time.Hour + time.Minute)
}

func TestRepeatedRunOfAScheduleAnswersWithTheSameClaim(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		r.pastTheHour()
		schedule := `{"schedule":[{"client":"billing"}],"id":"run","time":"` + r.Now().UTC().Format(time.RFC3339) + `"}`
		r.invoke(r.h, schedule)
		r.Pass(2 * time.Minute)
		answer, _, _ := r.invoke(r.h, schedule)
		var out struct{ Results []token.Announcement }
		if err := json.Unmarshal([]byte(answer), &out); err != nil || len(r.bus.events) != 1 || out.Results[0].Claim != r.bus.events[0].Claim {
			t.Errorf("got %s, %v, and %d announcements; want one, with the claim of the answer", answer, err, len(r.bus.events))
		}
	})
}

func TestRedeliveredMessageHasTheSameClaimHoweverLate(t *testing.T) {
	for _, waited := range []time.Duration{time.Minute, 7 * time.Hour, 80 * time.Hour} {
		run(t, func(t *testing.T, r *harness) {
			r.pastTheHour()
			r.bus.lose = 1
			old := messageSent("m", `{"client":"billing"}`, r.Now().Add(-waited))
			r.deliver(r.h, old)
			r.Pass(150 * time.Second)
			r.deliver(r.h, old)
			got := r.bus.events
			if len(got) != 2 || got[0].Claim != got[1].Claim {
				t.Fatalf("after %v: got announcements %+v, want two with one claim", waited, got)
			}
			if left := time.Unix(got[1].ClaimExpires, 0).Sub(r.Now()); left < token.ClaimLife/2-3*time.Minute {
				t.Errorf("after %v: the claim expires in %v, want at least %v", waited, left, token.ClaimLife/2-3*time.Minute)
			}
		})
	}
}

// An order for nearly all of a token's life gets a new token, even soon after another order
// got one. An order for more than tokens live is refused permanently.
func TestMinTTLUpToTheLifeOfTokens(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		for i := range 4 {
			r.deliver(r.h, message(fmt.Sprint("m-", i), `{"client":"billing","min_ttl":3500}`, 1))
			r.Pass(3 * time.Minute)
		}
		if len(r.dead.letters) != 0 || len(r.bus.events) != 4 {
			t.Errorf("got %d announcements, dead letters %v; want 4 and none", len(r.bus.events), r.dead.letters)
		}
		// A token that is a few seconds old does not live for 3599 seconds. A later one can.
		r.deliver(r.h, message("first", `{"client":"orders"}`, 1))
		r.Pass(5 * time.Second)
		if failed := r.deliver(r.h, message("all", `{"client":"orders","min_ttl":3599}`, 1)); len(failed) != 1 || len(r.dead.letters) != 0 {
			t.Errorf("failed %v, got dead letters %v; want a temporary failure", failed, r.dead.letters)
		}
		if r.deliver(r.h, message("more", `{"client":"orders","min_ttl":3601}`, 1)); len(r.dead.letters) != 1 || r.dead.letters[0].Attributes["message_id"] != "more" {
			t.Errorf("got dead letters %v, want the message that asks for too much", r.dead.letters)
		}
	})
}

// A broken policy and a frozen client are no fault of the order, so that it is tried again.
func TestDenialByPolicyIsTemporary(t *testing.T) {
	for _, text := range []string{`{"rules": [`, `{"rules": [], "freeze": ["billing"]}`} {
		run(t, func(t *testing.T, r *harness) {
			r.policy = text
			h := r.environment()
			if failed := r.deliver(h, message("m", `{"client":"billing"}`, 1)); len(failed) != 1 || len(r.dead.letters) != 0 {
				t.Errorf("%s: failed %v, got dead letters %v; want m and none", text, failed, r.dead.letters)
			}
			if failed := r.deliver(h, message("m", `{"client":"billing"}`, 5)); len(failed) != 0 || len(r.dead.letters) != 1 || r.dead.letters[0].Attributes["error"] != "access_denied" {
				t.Errorf("%s: at the last delivery failed %v, got dead letters %v; want access_denied", text, failed, r.dead.letters)
			}
		})
	}
}

func TestWrongSecretOnAScheduleCostsFewLogons(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		r.client("billing", map[string]any{"client_secret": "cnry-wrong"})
		r.target("x")
		for range 12 {
			r.results(r.h, deliverX)
			r.Pass(5 * time.Minute)
		}
		if n := r.Server.FailedLogons("id"); n > 2 {
			t.Errorf("got %d failed logons in an hour, want at most 2", n)
		}
	})
}

// If tokens live too short for what a delivery promises, the delivery is made as well as it
// can be, and a failure is counted.
func TestDeliveryOfShortTokensIsCountedAsFailed(t *testing.T) {
	for _, test := range []struct {
		life   int // of tokens, in seconds
		minTTL string
		least  time.Duration // that a reader of the secret has left
		kept   bool
	}{
		{3600, ``, 15 * time.Minute, true},
		{3720, `"min_ttl":1200,`, 20 * time.Minute, true},
		{43199, `"min_ttl":3600,`, time.Hour, true},
		{1860, ``, 15 * time.Minute, true},
		{1200, ``, time.Minute, false},
		{3600, `"min_ttl":3000,`, 30 * time.Minute, false},
		{3600, `"min_ttl":7200,`, 30 * time.Minute, false},
	} {
		run(t, func(t *testing.T, r *harness) {
			if err := r.Server.Update("id", func(c *oauthtest.Client) { c.Lifetime = time.Duration(test.life) * time.Second }); err != nil {
				t.Fatal(err)
			}
			secret := r.target("x")
			r.h.vendor = hookedVendor{vendor: r.h.vendor, after: func() { r.Pass(time.Second) }}
			next, least := r.Now(), 24*time.Hour
			for range 150 {
				r.results(r.h, `{"client":"billing",`+test.minTTL+`"deliver_to":"token-vendor/tokens/x"}`)
				next = next.Add(5 * time.Minute)
				r.Pass(next.Sub(r.Now()))
				var stored kept
				if err := json.Unmarshal(secret.text, &stored); err != nil {
					t.Fatal(err)
				}
				least = min(least, time.Unix(stored.ExpiresAt, 0).Sub(r.Now()))
			}
			if failed := r.Counted(countDeliveriesFailed); least < test.least-2*time.Second || (failed == 0) != test.kept {
				t.Errorf("life %d, %s: got at least %v left and %d failures, want %v and failures: %t", test.life, test.minTTL, least, failed, test.least, !test.kept)
			}
		})
	}
}

func TestBadDeliveryIsCountedAsFailed(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		for i, bad := range []string{`{"client":"billing","min_ttl":100000,"deliver_to":"token-vendor/tokens/x"}`, `{"client":"billing","deliver_to":"x"}`, `{"client":"billing","deliver_to":1}`} {
			if r.results(r.h, bad); r.Counted(countDeliveriesFailed) != i+1 {
				t.Errorf("%s: got %d failures counted, want %d", bad, r.Counted(countDeliveriesFailed), i+1)
			}
		}
	})
}

// The table hangs at the end of the invocation, when the lease is released.
func TestAnswersBeforeTheDeadlineIfTheTableHangs(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		r.deliver(r.h, message("warm", `{"client":"orders"}`, 1))
		r.Server.Misbehave(oauthtest.Hang)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		time.AfterFunc(time.Second, func() { r.Table.Misbehave(fleettest.Hang) })
		if _, err := r.h.Invoke(ctx, []byte(queueEventOf(message("m", `{"client":"billing"}`, 1)))); ctx.Err() != nil {
			t.Errorf("got an answer after the deadline: %v", err)
		}
	})
}

// SQS takes messages of 1 MiB with their attributes, so that the body of a dead letter is
// cut to leave space for the reason.
func TestLargestMessageFitsTheDeadLetterQueue(t *testing.T) {
	server := sqs.New(sqs.Config{Region: "eu-central-1", Account: "111122223333"})
	server.AddQueue("dead", sqs.Queue{})
	web := httptest.NewServer(server)
	t.Cleanup(web.Close)
	for name, value := range map[string]string{"AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "x", "AWS_ENDPOINT_URL_SQS": web.URL} {
		t.Setenv(name, value)
	}
	cfg, err := awsapi.LoadConfig()
	if err != nil {
		t.Fatal(err)
	}
	// The client of SQS has connections, which a bubble cannot wait for, so that the letters
	// are sent afterwards.
	var letters []letter
	run(t, func(t *testing.T, r *harness) {
		for _, body := range []string{strings.Repeat("x", 1<<20), strings.Repeat("é", 1<<19)} {
			if failed := r.deliver(r.h, message("m-"+fmt.Sprint(body[0]), body, 1)); len(failed) != 0 {
				t.Errorf("failed %v, want none", failed)
			}
		}
		letters = r.dead.letters
	})
	queue := messaging.NewQueue(cfg, web.URL+"/111122223333/dead")
	for _, l := range letters {
		if err := queue.Send(t.Context(), l.Body, l.Attributes); err != nil {
			t.Errorf("Send: %v", err)
		}
	}
	for _, m := range server.Messages("dead") {
		if len(m.Body) < maxBuried-1 || m.Attributes["body_bytes"].StringValue != fmt.Sprint(1<<20) || m.Attributes["error"].StringValue != "invalid_request" {
			t.Errorf("got %d bytes with %v, want %d of %d bytes and invalid_request", len(m.Body), m.Attributes, maxBuried, 1<<20)
		}
	}
	if n := len(server.Messages("dead")); n != 2 {
		t.Errorf("got %d dead letters, want 2", n)
	}
}
