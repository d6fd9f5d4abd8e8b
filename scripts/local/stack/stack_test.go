package main

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"tokenvendor/scripts/local/apigateway"
)

const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// TestGatewayAcceptsSignedAndPermittedRequestsOnly with the compiled function behind it.
func TestGatewayAcceptsSignedAndPermittedRequestsOnly(t *testing.T) {
	s := startStack(t, io.Discard)
	developer, job := s.principals[0], s.principals[1]
	sign := func(p apigateway.Principal, path string, at time.Time) *http.Request {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.apiURL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		credentials := aws.Credentials{AccessKeyID: p.AccessKeyID, SecretAccessKey: p.SecretAccessKey, SessionToken: p.SessionToken}
		if err := v4.NewSigner().SignHTTP(t.Context(), credentials, r, emptyHash, "execute-api", region, at); err != nil {
			t.Fatal(err)
		}
		return r
	}
	stranger := developer
	stranger.SecretAccessKey += "x"
	moved := sign(developer, "basic", time.Now())
	moved.URL.Path = strings.Replace(moved.URL.Path, "basic", firstClient, 1)
	unsigned := sign(developer, firstClient, time.Now())
	unsigned.Header.Del("Authorization")
	for _, tt := range []struct {
		name string
		r    *http.Request
		want int
	}{
		{"signed", sign(developer, firstClient, time.Now()), 200},
		{"the role's own client", sign(job, firstClient, time.Now()), 200},
		{"another client of the role", sign(job, "basic", time.Now()), 403},
		{"unsigned", unsigned, 403},
		{"wrong secret key", sign(stranger, firstClient, time.Now()), 403},
		{"stale", sign(developer, firstClient, time.Now().Add(-6*time.Minute)), 403},
		{"from the future", sign(developer, firstClient, time.Now().Add(6*time.Minute)), 403},
		{"signed for another path", moved, 403},
		{"no such client", sign(developer, "nobody", time.Now()), 403},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answer, err := http.DefaultTransport.RoundTrip(tt.r)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = answer.Body.Close() }()
			if answer.StatusCode != tt.want {
				t.Errorf("got status %d, want %d", answer.StatusCode, tt.want)
			}
		})
	}
}

func TestClientIsAvailableOnTheCallAfterItsSecret(t *testing.T) {
	s := startStack(t, io.Discard)
	ctx := t.Context()
	if status, _, err := s.call(ctx, s.principals[0], spareClient); err != nil || status != http.StatusForbidden {
		t.Fatalf("before: got %d, %v, want 403", status, err)
	}
	document, err := os.ReadFile(s.sparePath())
	if err != nil {
		t.Fatal(err)
	}
	in := &secretsmanager.CreateSecretInput{Name: aws.String(prefix + spareClient), SecretString: aws.String(string(document))}
	if _, err := s.secretsAPI().CreateSecret(ctx, in); err != nil {
		t.Fatal(err)
	}
	if status, body, err := s.call(ctx, s.principals[0], spareClient); err != nil || status != http.StatusOK {
		t.Errorf("after: got %d %s, %v, want 200", status, body, err)
	}
}

// TestSharedTableShowsNoSecret: the table contains the token, but neither the token nor the
// client's name or secret can be read in it.
func TestSharedTableShowsNoSecret(t *testing.T) {
	s := startStack(t, io.Discard)
	_, answer, err := s.call(t.Context(), s.principals[0], firstClient)
	if err != nil {
		t.Fatal(err)
	}
	var token struct {
		AccessToken  string `json:"access_token"`
		RefreshAfter int    `json:"refresh_after"`
	}
	if err := json.Unmarshal(answer, &token); err != nil || token.AccessToken == "" || token.RefreshAfter == 0 {
		t.Fatalf("the answer lacks a token or refresh_after, %v", err)
	}
	rows, values := 0, 0
	for _, item := range s.table.Items(cacheTable) {
		rows++
		for name, value := range item {
			if name == "value" {
				values++
			}
			for _, secret := range []string{token.AccessToken, token.AccessToken[:20], firstClient, spareSecret, "access_token", "Bearer", "client_secret", "token_endpoint"} {
				if strings.Contains(value.Text, secret) {
					t.Errorf("the attribute %s contains a text that must be sealed", name)
				}
			}
		}
	}
	// The rows of the epoch's key, the token, the token's lease with a pointer to it, the client's
	// secret, its reading with a pointer to it, the client's logons, the client, its last use and the
	// server. The first five have a value.
	if rows != 9 || values != 5 {
		t.Errorf("got %d rows with %d values, want 9 with 5", rows, values)
	}
	if n := s.keys.Calls("GenerateDataKey") + s.keys.Calls("Decrypt"); n != 1 {
		t.Errorf("got %d KMS calls, want 1", n)
	}
}

// TestAccessLogAndAuditLinesMatch: each 200 of the gateway's access log has one audit line
// with a token, and no other request has one.
func TestAccessLogAndAuditLinesMatch(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the functions and runs them")
	}
	log := new(output)
	s := startStack(t, log)
	answered := map[int]int{}
	for i := range 60 {
		principal, client := s.principals[i%2], []string{firstClient, "basic", "kms-key", "no-such-client"}[i%4]
		status, _, err := s.call(t.Context(), principal, client)
		if err != nil {
			t.Fatal(err)
		}
		answered[status]++
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	access, allowed := readLogs(t, log.String())
	maps.DeleteFunc(access, func(_ string, status int) bool { return status != http.StatusOK })
	if !maps.EqualFunc(access, allowed, func(int, bool) bool { return true }) {
		t.Errorf("got the tokens %v in the access log and %v in the audit lines", access, allowed)
	}
	if len(access) != answered[200] || answered[200] == 0 || answered[403] != 60-answered[200] {
		t.Errorf("got %d tokens in the logs and the answers %v", len(access), answered)
	}
}

// readLogs returns the status of each request in the access log, and the requests whose
// audit line has a token.
func readLogs(t *testing.T, log string) (access map[string]int, allowed map[string]bool) {
	t.Helper()
	access, allowed = map[string]int{}, map[string]bool{}
	audited := map[string]bool{}
	for line := range strings.Lines(log) {
		var entry struct {
			RequestID string `json:"requestId"`
			Status    int    `json:"status"`
			Type      string `json:"type"`
			Gateway   string `json:"gateway_request_id"`
			Allowed   bool   `json:"allowed"`
			Token     string `json:"token_sha256"`
		}
		switch err := json.Unmarshal([]byte(line), &entry); {
		case err != nil:
		case entry.Type == "decision":
			if audited[entry.Gateway] || entry.Allowed != (entry.Token != "") {
				t.Errorf("got a second or a wrong audit line: %s", line)
			}
			if audited[entry.Gateway] = true; entry.Allowed {
				allowed[entry.Gateway] = true
			}
		case entry.Status != 0:
			access[entry.RequestID] = entry.Status
		}
	}
	if len(access) != 60 {
		t.Errorf("got %d lines in the access log, want 60", len(access))
	}
	return access, allowed
}

// TestKeptStateSurvivesARestart: commands, credentials and documents of the first run are
// valid in the second one, and so are its tokens.
func TestKeptStateSurvivesARestart(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the functions and runs them")
	}
	cfg := config{keep: t.TempDir(), out: io.Discard, errOut: io.Discard}
	ask := func(s *stack, client string) string {
		t.Helper()
		status, body, err := s.call(t.Context(), s.principals[0], client)
		var answer struct {
			AccessToken string `json:"access_token"`
		}
		if err != nil || status != http.StatusOK || json.Unmarshal(body, &answer) != nil {
			t.Fatalf("client %s: got status %d, %v", client, status, err)
		}
		return answer.AccessToken
	}
	first, err := start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	document, err := os.ReadFile(first.sparePath())
	if err != nil {
		t.Fatal(err)
	}
	in := &secretsmanager.CreateSecretInput{Name: aws.String(prefix + spareClient), SecretString: aws.String(string(document))}
	if _, err := first.secretsAPI().CreateSecret(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	tokens := make(map[string]string)
	for _, c := range append(first.clients, client{name: spareClient}) {
		tokens[c.name] = ask(first, c.name)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = second.Close() }()
	if first.apiURL != second.apiURL || first.awsURL != second.awsURL || first.principals[0].SecretAccessKey != second.principals[0].SecretAccessKey {
		t.Error("addresses or credentials of the first run are not valid in the second one")
	}
	for name, token := range tokens {
		if ask(second, name) != token {
			t.Errorf("client %s: got another token than before the restart", name)
		}
	}
	// A new ask needs the kept credentials.
	for name := range tokens {
		if status, body, err := second.callWith(t.Context(), second.principals[0], name, "min_ttl=3590"); err != nil || status != http.StatusOK {
			t.Errorf("client %s: got status %d %s, %v for a new token", name, status, body, err)
		}
	}
	if _, err := start(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "another stack") {
		t.Errorf("a second stack with the same state: got the error %v", err)
	}
}
