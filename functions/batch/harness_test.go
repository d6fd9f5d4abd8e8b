package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda/messages"
	"github.com/aws/aws-lambda-go/lambdacontext"

	"tokenvendor/shared/audit"
	"tokenvendor/shared/fleet"
	"tokenvendor/shared/fleet/fleettest"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/oauth/oauthtest"
	"tokenvendor/shared/policy"
	"tokenvendor/shared/registry"
	"tokenvendor/shared/secret"
	"tokenvendor/shared/token"
)

// harness is the real handler on the real core. Only AWS is played.
type harness struct {
	t      *testing.T
	server *oauthtest.Server
	table  fleettest.Table
	keys   fleettest.Keys
	h      *handler

	mu      sync.Mutex
	offset  time.Duration            // guarded by mu
	clients map[string]string        // documents by name; guarded by mu
	counts  map[string]int           // guarded by mu
	audit   []audit.Event            // guarded by mu
	events  []token.Announcement     // guarded by mu
	details bytes.Buffer             // guarded by mu
	dead    []letter                 // guarded by mu
	busErr  error                    // guarded by mu
	deadErr error                    // guarded by mu
	secrets map[string]*targetSecret // guarded by mu
	logs    bytes.Buffer             // guarded by mu
	policy  string                   // of environments that are started from now on; empty: none
}

// letter is a message in the dead-letter queue.
type letter struct {
	Body       string
	Attributes map[string]string
}

// targetSecret is a secret that tokens are delivered to; err: what every call is
// answered with.
type targetSecret struct {
	text    []byte
	written time.Time
	writes  int
	ids     []string
	err     error
}

func newHarness(t *testing.T) *harness {
	r := &harness{t: t, server: oauthtest.NewServer(t, oauthtest.Config{}), clients: make(map[string]string), counts: make(map[string]int), secrets: make(map[string]*targetSecret)}
	// At midnight the table's key changes, which costs calls that tests count.
	r.pass(25*time.Hour - time.Duration(r.now().UnixNano())%(24*time.Hour))
	r.server.Register(oauthtest.Client{ID: "id", Methods: []string{"client_secret_post"}, Secrets: []string{"cnry-secret"}})
	for _, name := range []string{"billing", "orders", "stock"} {
		r.client(name, nil)
	}
	r.h = r.environment()
	return r
}

// environment starts one more.
func (r *harness) environment() *handler { return r.environmentAt(0) }

// environmentAt starts one whose clock is ahead.
func (r *harness) environmentAt(by time.Duration) *handler {
	now := func() time.Time { return r.now().Add(by) }
	f := fleet.New(fleet.Config{Table: &r.table, Keys: &r.keys, Count: r.count, Patience: patience, Now: now})
	cfg := token.Config{
		Clients:   registry.New(registry.Config{Secrets: r, Addresses: oauth.AddressPolicy{Private: true}}),
		Exchanger: oauth.NewExchanger(oauth.ExchangerConfig{Now: now}),
		Fleet:     f, Count: r.count, Now: now,
		Audit: func(e *audit.Event) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.audit = append(r.audit, *e)
			return nil
		},
	}
	if text := r.policy; text != "" {
		cfg.Policy = func(context.Context, bool) (*policy.Policy, error) { return policy.Parse([]byte(text)) }
	}
	v := token.New(cfg)
	return &handler{
		orders:  orders{vendor: v, fleet: f, bus: r, count: r.count, now: now, log: slog.New(slog.NewJSONHandler(writer{r}, nil))},
		targets: r, dead: deadLetters{r}, maxReceives: 5, flush: func() {},
	}
}

// client stores the document of a client.
func (r *harness) client(name string, members map[string]any) {
	document := map[string]any{"token_endpoint": r.server.TokenEndpoint(), "client_id": "id", "client_secret": "cnry-secret", "ca_certificates": string(r.server.CAPEM())}
	for k, v := range members {
		document[k] = v
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clients[name] = string(encode(document))
}

type writer struct{ r *harness }

func (w writer) Write(line []byte) (int, error) {
	w.r.mu.Lock()
	defer w.r.mu.Unlock()
	return w.r.logs.Write(line)
}

func (r *harness) now() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Now().Add(r.offset)
}

func (r *harness) pass(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.offset += d
}

func (r *harness) count(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts[name]++
}

func (r *harness) counted(name string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts[name]
}

// ReadSecret implements secret.Reader.
func (r *harness) ReadSecret(_ context.Context, name string, _ bool) (secret.Secret, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	text, ok := r.clients[name]
	if !ok {
		return secret.Secret{}, secret.ErrNotFound
	}
	sum := sha256.Sum256([]byte(text))
	return secret.Secret{Text: []byte(text), Version: hex.EncodeToString(sum[:8])}, nil
}

// Put implements bus.
func (r *harness) Put(_ context.Context, source, detailType string, detail []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.busErr != nil {
		return r.busErr
	}
	var a token.Announcement
	if err := json.Unmarshal(detail, &a); err != nil || source != "token-vendor" || detailType != "TokenReady" {
		r.t.Errorf("put %s %s %s", source, detailType, detail)
	}
	r.events = append(r.events, a)
	r.details.Write(detail)
	return nil
}

type deadLetters struct{ r *harness }

func (d deadLetters) Send(_ context.Context, body string, attributes map[string]string) error {
	d.r.mu.Lock()
	defer d.r.mu.Unlock()
	if d.r.deadErr == nil {
		d.r.dead = append(d.r.dead, letter{body, attributes})
	}
	return d.r.deadErr
}

// Read implements targets.
func (r *harness) Read(_ context.Context, name string) ([]byte, time.Time, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.secrets[name]
	switch {
	case s == nil || s.err == nil && s.text == nil:
		return nil, time.Time{}, secret.ErrNotFound
	case s.err != nil:
		return nil, time.Time{}, s.err
	}
	return s.text, s.written, nil
}

// Write implements targets.
func (r *harness) Write(_ context.Context, name, id string, text []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.secrets[name]
	switch {
	case s == nil:
		return secret.ErrNotFound
	case s.err != nil:
		return s.err
	case slices.Contains(s.ids, id):
		return nil
	}
	s.text, s.written, s.writes, s.ids = text, time.Now().Add(r.offset), s.writes+1, append(s.ids, id)
	return nil
}

// invoke invokes as Lambda does; errorType is that of a function error.
func (r *harness) invoke(h *handler, payload string) (answer, errorType, message string) {
	r.t.Helper()
	return r.invokeBy(h, "jobs", payload)
}

// invokeBy is invoke through an alias; empty: the function itself.
func (r *harness) invokeBy(h *handler, alias, payload string) (answer, errorType, message string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 25*time.Second)
	defer cancel()
	sum := sha256.Sum256([]byte(payload))
	arn := strings.TrimSuffix("arn:aws:lambda:eu-central-1:111122223333:function:cnry-function:"+alias, ":")
	ctx = lambdacontext.NewContext(ctx, &lambdacontext.LambdaContext{
		AwsRequestID: "request-" + hex.EncodeToString(sum[:8]), InvokedFunctionArn: arn,
	})
	out, err := h.Invoke(ctx, []byte(payload))
	if err == nil {
		return string(out), "", ""
	}
	var failure messages.InvokeResponse_Error
	if !errors.As(err, &failure) {
		r.t.Fatalf("not a function error: %T", err)
	}
	return string(out), failure.Type, failure.Message
}

// message is a record of SQS.
func message(id, body string, receives int) string {
	return string(encode(map[string]any{
		"messageId": id, "receiptHandle": "handle", "body": body, "eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:eu-central-1:111122223333:cnry-queue",
		"attributes": map[string]string{"ApproximateReceiveCount": string(rune('0' + receives)), "SentTimestamp": "1700000000000"},
	}))
}

// deliver invokes with messages, and returns the ids of those that failed.
func (r *harness) deliver(h *handler, records ...string) []string {
	r.t.Helper()
	answer, kind, text := r.invoke(h, `{"Records": [`+strings.Join(records, ",")+`]}`)
	var out failures
	if err := json.Unmarshal([]byte(answer), &out); err != nil || kind != "" || out.Items == nil {
		r.t.Fatalf("answered %s %s %s, %v", answer, kind, text, err)
	}
	ids := []string{}
	for _, item := range out.Items {
		ids = append(ids, item.ID)
	}
	return ids
}

// wantQuiet: nothing that was written down anywhere holds a secret or a token.
func (r *harness) wantQuiet(texts ...string) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	texts = append(texts, r.logs.String(), r.details.String())
	for _, l := range r.dead {
		texts = append(texts, string(encode(l.Attributes))) // the body is the sender's
	}
	for _, e := range r.audit {
		texts = append(texts, string(encode(e)))
	}
	for _, text := range texts {
		// oauthtest's tokens are JWTs with "alg" first. Claims begin with another member, and
		// "eyJ" alone is in one of 3000 signatures.
		if strings.Contains(text, "cnry-") || strings.Contains(text, "eyJhbGci") || strings.Contains(text, "access_token\":\"") {
			r.t.Errorf("%.300s holds what it must not", text)
		}
	}
}

func errUnavailable() error { return secret.ErrUnavailable }
