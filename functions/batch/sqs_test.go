package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenvendor/shared/oauth/oauthtest"
	"tokenvendor/shared/token"
)

// The token of each message is announced once, however often the message is delivered.
func TestMessageIsAnnouncedOnce(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		good := []string{
			message("m-1", `{"client":"billing","scope":"read","min_ttl":600}`, 1), message("m-2", `{"client":"billing","scope":"read"}`, 1),
			message("m-3", `{"client":"orders","caller":"arn:aws:iam::111122223333:role/team/job"}`, 1),
		}
		for range 3 {
			if failed := r.deliver(r.h, good...); len(failed) != 0 {
				t.Errorf("failed %v, want none", failed)
			}
			r.h = r.environment() // the next delivery is to another environment
		}
		if len(r.bus.events) != 3 || r.Server.Exchanges() != 2 || r.Counted(countAnnounced) != 3 {
			t.Errorf("got %d announcements with %d exchanges, want 3 with 2", len(r.bus.events), r.Server.Exchanges())
		}
		for _, a := range r.bus.events {
			if a.Claim == "" || a.GoodUntil <= r.Now().Unix() || a.ID == "m-3" && a.Caller != "aws:111122223333:role/job" || a.ID == "m-1" && (a.MinTTL != 600 || a.Scope[0] != "read") {
				t.Errorf("got announcement %+v, want it valid, with a claim and the members of its order", a)
			}
		}
		r.wantQuiet()
	})
}

// The reason names the member and not its value. Without a dead-letter queue the message fails.
func TestBadMessagesAreDeadLettered(t *testing.T) {
	bad := map[string]struct{ body, code, says string }{
		"no JSON":        {`cnry-body`, "invalid_request", "JSON"},
		"a list":         {`[{"client":"billing"}]`, "invalid_request", "object"},
		"empty":          {``, "invalid_request", ""},
		"null":           {`null`, "invalid_request", ""},
		"large":          {`{"client":"` + strings.Repeat("x", 1<<20) + `"}`, "invalid_request", "8 KiB"},
		"a token":        {`{"client":"billing","access_token":"cnry-token"}`, "invalid_request", "access_token"},
		"unknown member": {`{"client":"billing","cnry":"x"}`, "invalid_request", ""},
		"twice":          {`{"client":"billing","client":"orders"}`, "invalid_request", "twice"},
		"no client":      {`{"scope":"read"}`, "invalid_request", "client"},
		"unknown client": {`{"client":"none"}`, "access_denied", ""},
		"delivery":       {`{"client":"billing","deliver_to":"token-vendor/tokens/x"}`, "invalid_request", "deliver_to"},
		"claim":          {`{"client":"billing","claim":"a.b.c"}`, "invalid_request", "claim"},
		"dry run":        {`{"client":"billing","dry_run":true}`, "invalid_request", "dry_run"},
		"bad caller":     {`{"client":"billing","caller":"cnry-*"}`, "invalid_request", "caller"},
		"any caller":     {`{"client":"billing","caller":"aws:111122223333:role/*"}`, "invalid_request", "caller"},
		"scope":          {`{"client":"billing","scope":"a  b"}`, "invalid_scope", "scope"},
		"min_ttl":        {`{"client":"billing","min_ttl":7200}`, "invalid_request", "min_ttl"},
	}
	for _, queue := range []bool{true, false} {
		run(t, func(t *testing.T, r *harness) {
			if !queue {
				r.h.dead = nil
			}
			records := []string{message("good-1", `{"client":"billing"}`, 1)}
			var want []string
			for name, test := range bad {
				id := strings.ReplaceAll(name, " ", "-")
				records = append(records, message(id, test.body, 1))
				want = append(want, id)
			}
			records = append(records, message("good-2", `{"client":"orders"}`, 1))
			failed := r.deliver(r.h, records...)
			if len(r.bus.events) != 2 {
				t.Errorf("got %d announcements, want 2", len(r.bus.events))
			}
			if !queue {
				slices.Sort(want)
				if slices.Sort(failed); !slices.Equal(failed, want) {
					t.Errorf("failed %v, want %v", failed, want)
				}
				return
			}
			if len(failed) != 0 || len(r.dead.letters) != len(bad) || r.Counted(countDeadLettered) != len(bad) {
				t.Fatalf("failed %v, got %d dead letters, want none and %d", failed, len(r.dead.letters), len(bad))
			}
			for _, l := range r.dead.letters {
				test := bad[strings.ReplaceAll(l.Attributes["message_id"], "-", " ")]
				l.check(t, test.body, test.code, test.says)
			}
			r.wantQuiet()
		})
	}
}

// check fails the test unless l is the message that was sent, with this reason.
func (l letter) check(t *testing.T, body, code, says string) {
	t.Helper()
	want := body[:min(len(body), maxBuried)]
	cut := len(want) < len(body)
	if l.Body != want || cut != (l.Attributes["body_bytes"] != "") {
		t.Errorf("got a body of %d bytes with %v, want %d bytes", len(l.Body), l.Attributes, len(want))
	}
	if l.Attributes["error"] != code || !strings.Contains(l.Attributes["error_description"], says) || strings.Contains(fmt.Sprint(l.Attributes), "cnry-") {
		t.Errorf("got reason %v, want %s with %q", l.Attributes, code, says)
	}
}

// A record of another service fails, and those beside it do not.
func TestOnlyRecordsOfSQSAreDone(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		foreign := strings.Replace(message("foreign", `{"client":"billing"}`, 1), "aws:sqs", "aws:kinesis", 1)
		if failed := r.deliver(r.h, foreign, message("good", `{"client":"billing"}`, 1)); !slices.Equal(failed, []string{"foreign"}) {
			t.Errorf("failed %v, want the foreign record", failed)
		}
		for _, payload := range []string{
			`{"Records": []}`, `{"Records": {}}`, `{"Records": null}`, `{"Records": [{}]}`, `{"Records": [{"messageId":"a b"}]}`, `{"Records": ["x"]}`, `{"Records": [{"messageId":1}]}`,
			`{}`, `[]`, `null`, `cnry`, ``, `{"requests":[]}`, `{"client":1}`, `{"x":1}`,
		} {
			answer, kind, text := r.invoke(r.h, payload)
			if kind != "invalid_request" || answer != "" || strings.Contains(text, "cnry") {
				t.Errorf("%s: got answer %q, error %q (%s), want invalid_request", payload, answer, kind, text)
			}
		}
	})
}

// A message that failed temporarily is delivered again. At the last delivery that the queue
// makes, it is put into the dead-letter queue with the reason. If that is down, the message
// stays in the queue.
func TestTemporaryFailuresAreRedelivered(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		r.Server.Misbehave(oauthtest.RefuseWith(503, "temporarily_unavailable", ""))
		for receives := 1; receives < 5; receives++ {
			if failed := r.deliver(r.h, message("m", `{"client":"billing"}`, receives), message("other", `{"client":"none"}`, receives)); !slices.Equal(failed, []string{"m"}) {
				t.Errorf("delivery %d: failed %v, want m", receives, failed)
			}
			r.Pass(time.Minute)
		}
		if len(r.dead.letters) != 1 {
			t.Errorf("got %d dead letters, want the other message only, once", len(r.dead.letters))
		}
		r.dead.err = errors.New("down")
		if failed := r.deliver(r.h, message("m", `{"client":"billing"}`, 5)); len(failed) != 1 {
			t.Error("a message is lost that the dead-letter queue did not take")
		}
		r.dead.err = nil
		if failed := r.deliver(r.h, message("m", `{"client":"billing"}`, 6)); len(failed) != 0 || len(r.dead.letters) != 2 || r.dead.letters[1].Attributes["error"] != "temporarily_unavailable" {
			t.Errorf("failed %v, got dead letters %v, want the message as the second", failed, r.dead.letters)
		}
		r.Server.Behave()
		r.Pass(10 * time.Minute)
		r.bus.err = errors.New("down")
		if failed := r.deliver(r.h, message("b", `{"client":"billing"}`, 1)); len(failed) != 1 {
			t.Error("a message is done although the bus did not take its announcement")
		}
		r.bus.err = nil
		if failed := r.deliver(r.h, message("b", `{"client":"billing"}`, 2)); len(failed) != 0 || len(r.bus.events) != 1 {
			t.Errorf("failed %v, got %d announcements, want none and 1", failed, len(r.bus.events))
		}
	})
}

func TestMessageIsAnnouncedByOneEnvironment(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		handlers := []*handler{r.h, r.environment(), r.environment(), r.environment()}
		for round := range 20 {
			id := fmt.Sprint("m-", round)
			done := make(chan int)
			for _, h := range handlers {
				go func() { done <- len(r.deliver(h, message(id, `{"client":"billing"}`, 1))) }()
			}
			failed := 0
			for range handlers {
				failed += <-done
			}
			if failed == len(handlers) {
				t.Error("the message failed in all environments")
			}
			if len(r.bus.events) != round+1 {
				t.Fatalf("got %d announcements of %d messages", len(r.bus.events), round+1)
			}
		}
	})
}

// While the table is down, an environment that has read the day's key does its messages. One
// without the key cannot sign claims.
func TestMessagesAreDoneWhileTheTableIsDown(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		r.deliver(r.h, message("first", `{"client":"billing"}`, 1))
		r.Table.Misbehave(func(context.Context) error { return errors.New("down") })
		if failed := r.deliver(r.h, message("second", `{"client":"billing"}`, 1)); len(failed) != 0 || len(r.bus.events) != 2 {
			t.Errorf("failed %v, got %d announcements, want none and 2", failed, len(r.bus.events))
		}
		cold := r.environment()
		if failed := r.deliver(cold, message("third", `{"client":"billing"}`, 1)); len(failed) != 1 {
			t.Error("a message was done without the key for its claim")
		}
	})
}

// The audit line names the sender's trace, which SQS keeps with the message.
func TestMessageKeepsItsTrace(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		const root = "1-6b041242-5d2f8b7e6a1c4f3098b7d6e5"
		for i, header := range []string{"Root=" + root + ";Sampled=1", "cnry"} {
			m := message(fmt.Sprint("m-", i), `{"client":"billing"}`, 1)
			r.deliver(r.h, strings.Replace(m, `"attributes":{`, `"attributes":{"AWSTraceHeader":"`+header+`",`, 1))
		}
		if events := r.Events(); len(events) != 2 || events[0].Origin.TraceID != root || events[1].Origin.TraceID != "" {
			t.Errorf("got audit lines %+v, want the trace in the first one", events)
		}
		r.wantQuiet()
	})
}

// Messages for which there was no time are delivered again.
func TestMessagesFailBeforeTheDeadline(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		var records []string
		for i := range 30 {
			records = append(records, message(fmt.Sprint("m-", i), `{"client":"billing","scope":"`+fmt.Sprint("s", i)+`"}`, 1))
		}
		r.Server.Misbehave(oauthtest.Hang)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		answer, err := r.h.Invoke(ctx, []byte(queueEventOf(records...)))
		if err != nil || strings.Count(string(answer), "itemIdentifier") != 30 || ctx.Err() != nil {
			t.Errorf("got answer %s, %v, context %v; want 30 failures before the deadline", answer, err, ctx.Err())
		}
	})
}

// A panic fails one message. Its lease is released.
func TestPanicFailsOneMessage(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		real := r.h.vendor
		r.h.vendor = hookedVendor{vendor: real, read: func(o *token.Order) {
			if o.Client == "orders" {
				panic("cnry-panic")
			}
		}}
		failed := r.deliver(r.h, message("a", `{"client":"billing"}`, 1), message("b", `{"client":"orders"}`, 1), message("c", `{"client":"stock"}`, 1))
		if !slices.Equal(failed, []string{"b"}) || len(r.bus.events) != 2 || strings.Contains(r.logs.String(), "cnry") {
			t.Errorf("failed %v, got %d announcements, log %s; want b to fail and no text of the panic", failed, len(r.bus.events), r.logs.String())
		}
		r.h.vendor = real
		if failed := r.deliver(r.h, message("b", `{"client":"orders"}`, 2)); len(failed) != 0 {
			t.Error("the lease of the message was not released")
		}
	})
}
