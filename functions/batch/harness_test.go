package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-lambda-go/lambda/messages"
	"github.com/aws/aws-lambda-go/lambdacontext"

	"tokenvendor/shared/fleet"
	"tokenvendor/shared/metrics"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/oauth/oauthtest"
	"tokenvendor/shared/secret"
	"tokenvendor/shared/token/tokentest"
)

// harness is the real handler on the real core. The network, the clients' secrets and the
// table are those of [tokentest.Fleet]; the other services of AWS are doubles in memory.
// All environments that it starts share them.
type harness struct {
	*tokentest.Fleet
	// h is the environment that most tests use. Tests may replace it.
	h *handler

	bus     *memoryBus
	dead    *memoryQueue
	targets *memoryTargets
	logs    *output
	mu      sync.Mutex
	clients []string         // guarded by mu
	reports []map[string]any // guarded by mu
	// policy is that of environments which are started from now on; empty: mode iam.
	policy string
}

// run runs a test with a harness in a bubble of testing/synctest.
func run(t *testing.T, test func(t *testing.T, r *harness)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newHarness(t)) })
}

// newHarness returns a harness with one environment. t must be that of a bubble.
func newHarness(t *testing.T) *harness {
	// A bubble begins in the year 2000, before the times in the events of these tests.
	time.Sleep(time.Until(time.Date(2026, time.November, 24, 0, 0, 0, 0, time.UTC)))
	r := &harness{Fleet: tokentest.NewFleet(t, 0), bus: new(memoryBus), dead: new(memoryQueue), logs: new(output)}
	r.targets = &memoryTargets{now: r.Now, secrets: make(map[string]*targetSecret)}
	r.Server.Register(oauthtest.Client{ID: "id", Methods: []string{"client_secret_post"}, Secrets: []string{"cnry-secret"}})
	for _, name := range []string{"billing", "orders", "stock"} {
		r.client(name, map[string]any{"allow_parameters": []string{"scope", "app_tid"}})
	}
	r.h = r.environment()
	return r
}

// client stores the document of a client with the right secret, changed by members.
func (r *harness) client(name string, members map[string]any) {
	document := map[string]any{"client_secret": "cnry-secret"}
	maps.Copy(document, members)
	r.Put(name, "v1", document)
}

// names implements the list of clients.
func (r *harness) names(context.Context) ([]string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.clients), nil
}

// report implements the lines of the radar.
func (r *harness) report(g *metrics.Gauge, properties map[string]any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	line := maps.Clone(properties)
	if g != nil {
		line[g.Name], line["overall"] = g.Value, g.Overall
	}
	r.reports = append(r.reports, line)
}

// targetPrefix begins the names of the secrets for tokens.
const targetPrefix = "token-vendor/tokens/"

// target creates a secret for tokens, without a value.
func (r *harness) target(name string) *targetSecret {
	s := new(targetSecret)
	r.targets.secrets[targetPrefix+name] = s
	return s
}

// environment starts one more environment.
func (r *harness) environment() *handler { return r.skewed(0) }

// skewed starts one more environment, whose clock is ahead.
func (r *harness) skewed(by time.Duration) *handler {
	now := func() time.Time { return r.Now().Add(by) }
	cfg := r.Config()
	cfg.NoteUse = true
	cfg.Exchanger, cfg.Now = oauth.NewExchanger(oauth.ExchangerConfig{Now: now}), now
	cfg.Fleet = fleet.New(fleet.Config{Table: &r.Table, Keys: &r.Keys, Count: cfg.Count, Patience: patience, Now: now})
	if text := r.policy; text != "" {
		cfg.Policy = func(context.Context, bool) (secret.Secret, error) { return tokentest.PolicySecret(text), nil }
	}
	return &handler{
		orders: orders{vendor: realVendor(cfg), fleet: cfg.Fleet, bus: r.bus, count: cfg.Count, now: now, log: slog.New(slog.NewJSONHandler(r.logs, nil))},
		list:   r.names, report: r.report,
		targets: r.targets, targetPrefix: targetPrefix, dead: r.dead, maxReceives: 5, flush: func() {},
	}
}

// invoke invokes a function through the alias "jobs", as Lambda does. errorType and message
// are those of a function error.
func (r *harness) invoke(h *handler, payload string) (answer, errorType, message string) {
	r.Helper()
	return r.invokeAlias(h, "jobs", payload)
}

// invokeAlias is invoke through an alias; empty: the function itself.
func (r *harness) invokeAlias(h *handler, alias, payload string) (answer, errorType, message string) {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), 25*time.Second)
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
		r.Fatalf("got an error of type %T, want a function error", err)
	}
	return string(out), failure.Type, failure.Message
}

// message returns a record of SQS.
func message(id, body string, receives int) string {
	return string(encode(map[string]any{
		"messageId": id, "receiptHandle": "handle", "body": body, "eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:eu-central-1:111122223333:cnry-queue",
		"attributes": map[string]string{"ApproximateReceiveCount": string(rune('0' + receives)), "SentTimestamp": "1700000000000"},
	}))
}

// deliver invokes with messages and returns the ids of those that failed.
func (r *harness) deliver(h *handler, records ...string) []string {
	r.Helper()
	answer, kind, text := r.invoke(h, queueEventOf(records...))
	var out failures
	if err := json.Unmarshal([]byte(answer), &out); err != nil || kind != "" || out.Items == nil {
		r.Fatalf("got answer %s, error %q (%s), %v; want a list of failures", answer, kind, text, err)
	}
	ids := []string{}
	for _, item := range out.Items {
		ids = append(ids, item.ID)
	}
	return ids
}

// queueEventOf returns the event of SQS with these records.
func queueEventOf(records ...string) string {
	return `{"Records": [` + strings.Join(records, ",") + `]}`
}

// busEvent returns an event as EventBridge delivers it.
func busEvent(id, detailType, detail string) string {
	return `{"version":"0","id":"` + id + `","detail-type":"` + detailType + `","source":"team.jobs","account":"111122223333","time":"2026-11-23T10:00:00Z","region":"eu-central-1","resources":[],"detail":` + detail + `}`
}

// results invokes with a schedule and returns the result of each entry.
func (r *harness) results(h *handler, entries string) []map[string]any {
	r.Helper()
	answer, kind, text := r.invoke(h, `{"schedule":[`+entries+`]}`)
	var out struct{ Results []map[string]any }
	if err := json.Unmarshal([]byte(answer), &out); err != nil || kind != "" {
		r.Fatalf("got answer %s, error %q (%s), want results", answer, kind, text)
	}
	return out.Results
}

// wantQuiet fails the test if the logs, the audit lines, the announcements or the attributes
// of dead letters hold a secret, a token or a value of the input.
func (r *harness) wantQuiet(texts ...string) {
	r.Helper()
	texts = append(texts, r.logs.String(), r.bus.details.String())
	for _, l := range r.dead.letters {
		texts = append(texts, string(encode(l.Attributes))) // the body is the sender's
	}
	for _, e := range r.Events() {
		texts = append(texts, string(encode(e)))
	}
	for _, text := range texts {
		// The tokens of oauthtest are JWTs whose first member is "alg". Claims begin with
		// another member, and "eyJ" alone is in one of 3000 signatures.
		if strings.Contains(text, "cnry-") || strings.Contains(text, "eyJhbGci") || strings.Contains(text, "access_token\":\"") {
			r.Errorf("%.300s holds a secret, a token or a value of the input", text)
		}
	}
}

// output is a log that is safe for concurrent use.
type output struct {
	mu   sync.Mutex
	text strings.Builder
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}
