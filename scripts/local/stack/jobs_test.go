package main

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// order sends an order to the queue and returns the claim of its announcement.
func (s *stack) order(t *testing.T, body string) (claim string) {
	t.Helper()
	before := len(s.jobs.bus.Events(jobsBus))
	s.jobs.queues.Send(ordersQueue, body, nil)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if events := s.jobs.bus.Events(jobsBus); len(events) > before {
			var detail struct{ Claim string }
			if err := json.Unmarshal(events[before].Detail, &detail); err != nil {
				t.Fatal(err)
			}
			return detail.Claim
		}
		if time.Now().After(deadline) {
			t.Fatal("no token was announced within 10 s")
		}
	}
}

// TestClaimIsRedeemedByItsCallerWithoutExchange: an order by queue, redeemed by a signed
// call, gives the token that was fetched before.
func TestClaimIsRedeemedByItsCallerWithoutExchange(t *testing.T) {
	s := startStack(t, io.Discard)
	if err := s.firstTokens(t.Context(), io.Discard); err != nil {
		t.Fatal(err)
	}
	// The second principal is a session of a role that may use the client demo.
	role := strings.Split(strings.Replace(s.principals[1].ARN, ":sts:", ":iam:", 1), "/")[1]
	free := s.order(t, `{"client":"demo","scope":"read","min_ttl":900}`)
	bound := s.order(t, `{"client":"demo","scope":"read","caller":"arn:aws:iam::`+account+`:role/`+role+`"}`)
	exchanges := s.issuer.Exchanges()
	for name, tt := range map[string]struct {
		principal int
		claim     string
		status    int
	}{
		"any caller":         {0, free, 200},
		"another caller":     {1, free, 200},
		"the named caller":   {1, bound, 200},
		"not the named one":  {0, bound, 403},
		"the claim modified": {0, free + "x", 403},
	} {
		status, body, err := s.callWith(t.Context(), s.principals[tt.principal], "demo", "claim="+tt.claim)
		if err != nil || status != tt.status {
			t.Errorf("%s: got status %d, %v, want %d", name, status, err, tt.status)
		}
		var token struct {
			ExpiresIn int `json:"expires_in"`
		}
		if err := json.Unmarshal(body, &token); err != nil || status == 200 && token.ExpiresIn < 900 {
			t.Errorf("%s: got a lifetime of %d s, %v, want at least 900", name, token.ExpiresIn, err)
		}
	}
	if n := s.issuer.Exchanges() - exchanges; n != 0 {
		t.Errorf("redeeming the claims made %d exchanges, want none", n)
	}
}

const target = "token-vendor/tokens/mine"

// sourcesStack runs a stack with an empty secret for a delivery, and returns a schedule that
// delivers a token into it.
func sourcesStack(t *testing.T, log io.Writer) (s *stack, schedule string) {
	t.Helper()
	if testing.Short() {
		t.Skip("builds the functions and runs them")
	}
	s = startStack(t, log)
	if _, err := s.secretsAPI().CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String(target)}); err != nil {
		t.Fatal(err)
	}
	return s, `{"schedule":[{"client":"` + firstClient + `","deliver_to":"` + target + `"}]}`
}

// delivered reports whether the secret contains a token.
func (s *stack) delivered(t *testing.T) bool {
	t.Helper()
	secret, err := s.secretsAPI().GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String(target)})
	return err == nil && strings.Contains(aws.ToString(secret.SecretString), `"access_token":"`)
}

// TestForgedSourcesAreRefused: a schedule, a message and an event by the alias of state
// machines do nothing, and are logged as forged.
func TestForgedSourcesAreRefused(t *testing.T) {
	log := new(output)
	s, schedule := sourcesStack(t, log)
	for name, payload := range map[string]string{
		"schedule": schedule, "event": `{"id":"e-1","detail-type":"TokenRequested","detail":{"client":"` + firstClient + `"}}`,
		"message": `{"Records":[{"messageId":"m-1","eventSource":"aws:sqs","body":"{\"client\":\"` + firstClient + `\"}"}]}`,
	} {
		if kind, _ := s.jobs.invoke(t.Context(), batchAlias, []byte(payload)); kind != "access_denied" {
			t.Errorf("%s by %s: got the error %q, want access_denied", name, batchAlias, kind)
		}
	}
	forged := func() int { return strings.Count(log.String(), `"type":"forged"`) }
	for end := time.Now().Add(10 * time.Second); forged() < 3 && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond) // the log arrives by a pipe
	}
	if n := forged(); n != 3 {
		t.Errorf("got %d lines of the type forged, want 3", n)
	}
	if events, exchanges := s.jobs.bus.Events(jobsBus), s.issuer.Exchanges(); len(events) > 0 || exchanges > 0 || s.delivered(t) {
		t.Errorf("got the announcements %v, %d exchanges and the delivery %t, want none", events, exchanges, s.delivered(t))
	}
}

func TestScheduleAliasTakesNoRequests(t *testing.T) {
	s, schedule := sourcesStack(t, io.Discard)
	if kind, _ := s.jobs.invoke(t.Context(), scheduleAlias, []byte(`{"client":"`+firstClient+`"}`)); kind != "access_denied" {
		t.Errorf("a request by %s: got the error %q, want access_denied", scheduleAlias, kind)
	}
	for alias, status := range map[string]int{batchAlias: http.StatusOK, scheduleAlias: http.StatusForbidden} {
		url := s.jobs.batch.URL() + "/2015-03-31/functions/" + batchName + "/invocations?Qualifier=" + alias
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(schedule))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := new(http.Client).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode != status || s.delivered(t) {
			t.Errorf("by the Invoke API and %s: got status %d and the delivery %t, want %d and none", alias, answer.StatusCode, s.delivered(t), status)
		}
	}
	if kind, message := s.jobs.invoke(t.Context(), scheduleAlias, []byte(schedule)); kind != "" || !s.delivered(t) {
		t.Errorf("the schedule by %s: got %s %s, want a delivery", scheduleAlias, kind, message)
	}
}
