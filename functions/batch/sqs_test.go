package main

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenvendor/shared/oauth/oauthtest"
	"tokenvendor/shared/token"
)

// TestMessages: each message gets its token announced, once, however often it comes.
func TestMessages(t *testing.T) {
	r := newHarness(t)
	good := []string{
		message("m-1", `{"client":"billing","scope":"read","min_ttl":600}`, 1), message("m-2", `{"client":"billing","scope":"read"}`, 1),
		message("m-3", `{"client":"orders","caller":"arn:aws:iam::111122223333:role/team/job"}`, 1),
	}
	for range 3 {
		if failed := r.deliver(r.h, good...); len(failed) != 0 {
			t.Errorf("failed: %v", failed)
		}
		r.h = r.environment() // another one gets them again
	}
	if len(r.events) != 3 || r.server.Exchanges() != 2 || r.counted(countAnnounced) != 3 {
		t.Errorf("%d announced, %d exchanges", len(r.events), r.server.Exchanges())
	}
	for _, a := range r.events {
		if a.Claim == "" || a.GoodUntil <= r.now().Unix() || a.ID == "m-3" && a.Caller != "aws:111122223333:role/job" || a.ID == "m-1" && (a.MinTTL != 600 || a.Scope[0] != "read") {
			t.Errorf("announced %+v", a)
		}
	}
	r.wantQuiet()
}

// TestBadMessagesAreDeadLettered: the reason names the member and not its value. Without a
// dead-letter queue the message fails.
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
		r := newHarness(t)
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
		if len(r.events) != 2 {
			t.Errorf("%d announced, want 2", len(r.events))
		}
		if !queue {
			slices.Sort(want)
			if slices.Sort(failed); !reflect.DeepEqual(failed, want) {
				t.Errorf("failed %v, want %v", failed, want)
			}
			continue
		}
		if len(failed) != 0 || len(r.dead) != len(bad) || r.counted(countDeadLettered) != len(bad) {
			t.Fatalf("failed %v, %d in the dead-letter queue", failed, len(r.dead))
		}
		for _, l := range r.dead {
			test := bad[strings.ReplaceAll(l.Attributes["message_id"], "-", " ")]
			l.check(t, test.body, test.code, test.says)
		}
		r.dead = nil
		r.wantQuiet()
	}
}

// check compares a message in the dead-letter queue with the message that was sent and the
// reason that it must have.
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

// TestForeignRecords: a record of something else fails, and those beside it don't.
func TestForeignRecords(t *testing.T) {
	r := newHarness(t)
	foreign := strings.Replace(message("foreign", `{"client":"billing"}`, 1), "aws:sqs", "aws:kinesis", 1)
	if failed := r.deliver(r.h, foreign, message("good", `{"client":"billing"}`, 1)); !slices.Equal(failed, []string{"foreign"}) {
		t.Errorf("failed %v", failed)
	}
	for _, payload := range []string{
		`{"Records": []}`, `{"Records": {}}`, `{"Records": null}`, `{"Records": [{}]}`, `{"Records": [{"messageId":"a b"}]}`, `{"Records": ["x"]}`, `{"Records": [{"messageId":1}]}`,
		`{}`, `[]`, `null`, `cnry`, ``, `{"requests":[]}`, `{"client":1}`, `{"x":1}`,
	} {
		answer, kind, text := r.invoke(r.h, payload)
		if kind != "invalid_request" || answer != "" || strings.Contains(text, "cnry") {
			t.Errorf("%s: answered %s %s %s", payload, answer, kind, text)
		}
	}
}

// TestTemporaryFailuresAreRedelivered: what may pass comes again, until the queue would give up; then
// it is put aside with the reason. Nothing is lost when the dead-letter queue is down.
func TestTemporaryFailuresAreRedelivered(t *testing.T) {
	r := newHarness(t)
	r.server.Misbehave(oauthtest.RefuseWith(503, "temporarily_unavailable", ""))
	for receives := 1; receives < 5; receives++ {
		if failed := r.deliver(r.h, message("m", `{"client":"billing"}`, receives), message("other", `{"client":"none"}`, receives)); !slices.Equal(failed, []string{"m"}) {
			t.Errorf("received %d times: failed %v", receives, failed)
		}
		r.pass(time.Minute)
	}
	if len(r.dead) != 1 {
		t.Errorf("%d in the dead-letter queue, want only the other, once", len(r.dead))
	}
	r.deadErr = errors.New("down")
	if failed := r.deliver(r.h, message("m", `{"client":"billing"}`, 5)); len(failed) != 1 {
		t.Error("a message that could not be put aside is lost")
	}
	r.deadErr = nil
	if failed := r.deliver(r.h, message("m", `{"client":"billing"}`, 6)); len(failed) != 0 || len(r.dead) != 2 || r.dead[1].Attributes["error"] != "temporarily_unavailable" {
		t.Errorf("failed %v, dead %v", failed, r.dead)
	}
	r.server.Behave()
	r.pass(10 * time.Minute)
	r.busErr = errors.New("down")
	if failed := r.deliver(r.h, message("b", `{"client":"billing"}`, 1)); len(failed) != 1 {
		t.Error("what was not announced is taken for done")
	}
	r.busErr = nil
	if failed := r.deliver(r.h, message("b", `{"client":"billing"}`, 2)); len(failed) != 0 || len(r.events) != 1 {
		t.Errorf("failed %v, %d announced", failed, len(r.events))
	}
}

// TestMessageIsAnnouncedByOneEnvironment: two environments with the same message announce it once.
func TestMessageIsAnnouncedByOneEnvironment(t *testing.T) {
	r := newHarness(t)
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
			t.Error("nobody has done it")
		}
		if len(r.events) != round+1 {
			t.Fatalf("%d announcements of %d messages", len(r.events), round+1)
		}
	}
}

// TestWithoutTable: while the table is down messages are done all the same; only claims
// need the day's key.
func TestWithoutTable(t *testing.T) {
	r := newHarness(t)
	r.deliver(r.h, message("first", `{"client":"billing"}`, 1))
	r.table.Misbehave(func(context.Context) error { return errors.New("down") })
	if failed := r.deliver(r.h, message("second", `{"client":"billing"}`, 1)); len(failed) != 0 || len(r.events) != 2 {
		t.Errorf("failed %v, %d announced", failed, len(r.events))
	}
	cold := r.environment()
	if failed := r.deliver(cold, message("third", `{"client":"billing"}`, 1)); len(failed) != 1 {
		t.Error("announced without a claim")
	}
}

// TestNoTimeLeft: what there is no time for comes again.
func TestNoTimeLeft(t *testing.T) {
	r := newHarness(t)
	var records []string
	for i := range 30 {
		records = append(records, message(fmt.Sprint("m-", i), `{"client":"billing","scope":"`+fmt.Sprint("s", i)+`"}`, 1))
	}
	r.server.Misbehave(oauthtest.Hang)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	answer, err := r.h.Invoke(ctx, []byte(`{"Records": [`+strings.Join(records, ",")+`]}`))
	if err != nil || strings.Count(string(answer), "itemIdentifier") != 30 || ctx.Err() != nil {
		t.Errorf("answered %s, %v, %v", answer, err, ctx.Err())
	}
}

// TestPanic: one message that ends in a panic fails, and the others don't.
func TestPanic(t *testing.T) {
	r := newHarness(t)
	real := r.h.vendor
	r.h.vendor = panicking{vendor: real, client: "orders"}
	failed := r.deliver(r.h, message("a", `{"client":"billing"}`, 1), message("b", `{"client":"orders"}`, 1), message("c", `{"client":"stock"}`, 1))
	if !slices.Equal(failed, []string{"b"}) || len(r.events) != 2 || strings.Contains(r.logs.String(), "cnry") {
		t.Errorf("failed %v, %d announced, %s", failed, len(r.events), r.logs.String())
	}
	r.h.vendor = real
	if failed := r.deliver(r.h, message("b", `{"client":"orders"}`, 2)); len(failed) != 0 {
		t.Error("the lease was left behind")
	}
}

type panicking struct {
	vendor
	client string
}

func (p panicking) Announce(ctx context.Context, read func(*token.Order) error) (token.Announcement, error) {
	return p.vendor.Announce(ctx, func(o *token.Order) error {
		err := read(o)
		if o.Client == p.client {
			panic("cnry-panic")
		}
		return err
	})
}
