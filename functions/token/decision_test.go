package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tokenvendor/shared/oauth"
	"tokenvendor/shared/secret"
	"tokenvendor/shared/token"
	"tokenvendor/shared/token/tokentest"
)

// A Function URL has no stage variables, so that its alias is the proof. The alias proves no
// other event.
func TestFunctionURLIsProvenByItsAlias(t *testing.T) {
	for _, enabled := range []bool{false, true} {
		g := closedGate()
		if enabled {
			g.urlAlias = "url"
		}
		f := handlerHarness(newEnv(t), g)
		for name, s := range shapes() {
			url := strings.HasPrefix(name, "function URL")
			for _, alias := range []string{"url", testAlias, "direct", "-"} {
				s.Alias = alias
				if url {
					s.Delete = []string{"pathParameters", "stageVariables"}
					s.Set = map[string]json.RawMessage{"requestContext.domainName": json.RawMessage(`"x1y2.lambda-url.eu-central-1.on.aws"`)}
				}
				want := 403
				if proof := map[bool]string{true: g.urlAlias, false: testAlias}[url]; alias == proof {
					want = 200
				}
				a := readAnswer(t, f.invoke(t, s.invocation(t)), false)
				log := f.logs.take()
				if a.status != want || strings.Contains(log, `"type":"forged"`) != (want == 403) {
					t.Errorf("enabled %t, %s through %s: got %d with %s, want %d", enabled, name, alias, a.status, log, want)
				}
				if url && want == 200 && !strings.Contains(log, `"source":"url"`) {
					t.Errorf("got audit line %s, want source url", log)
				}
			}
		}
	}
}

// testRule is a rule of the reference implementation.
type testRule struct {
	Name    string    `json:"name"`
	Callers []string  `json:"callers"`
	Clients []string  `json:"clients"`
	Scopes  *[]string `json:"scopes,omitempty"`
}

func globs(patterns []string, text string) bool {
	return slices.ContainsFunc(patterns, func(glob string) bool {
		return regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(glob), `\*`, "[^:/]*") + "$").MatchString(text)
	})
}

func (r testRule) allows(caller, client string, scope []string) bool {
	return globs(r.Callers, caller) && globs(r.Clients, client) &&
		(r.Scopes == nil || !slices.ContainsFunc(scope, func(s string) bool { return !globs(*r.Scopes, s) }))
}

// policyEnv is a function whose policy can be replaced.
type policyEnv struct {
	h      *handler
	mu     sync.Mutex
	text   []byte        // guarded by mu
	offset time.Duration // the clock is ahead by this; guarded by mu
}

func newPolicyEnv(t *testing.T) *policyEnv {
	p := &policyEnv{}
	e := newEnv(t)
	e.secrets["payroll"], e.secrets["bill-2"] = e.document(t, nil), e.document(t, nil)
	cfg := e.config(io.Discard)
	cfg.Now = func() time.Time {
		p.mu.Lock()
		defer p.mu.Unlock()
		return time.Now().Add(p.offset)
	}
	cfg.Exchanger = oauth.NewExchanger(oauth.ExchangerConfig{Now: cfg.Now})
	cfg.Policy = func(context.Context, bool) (secret.Secret, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		return tokentest.PolicySecret(string(p.text)), nil
	}
	g := closedGate()
	g.urlAlias = "url"
	p.h = testHandler(token.New(cfg), g, new(output))
	return p
}

// set replaces the policy, and lets the time pass for which the old one is kept.
func (p *policyEnv) set(t *testing.T, rules []testRule) {
	text, err := json.Marshal(map[string]any{"rules": rules})
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.text = text
	p.offset += time.Minute
}

// ask sends one request from a source and reports whether there was a token.
func (p *policyEnv) ask(t *testing.T, source, caller, client, scope string) bool {
	t.Helper()
	s := sample{method: "POST", client: text(client), media: "form", body: text("scope=" + strings.ReplaceAll(scope, " ", "+"))}
	s.arn = text("arn:aws:sts::111122223333:assumed-role/" + strings.TrimPrefix(caller, "aws:111122223333:role/") + "/session")
	alias := testAlias
	switch source {
	case "v1", "v2":
		s.shape = source
	case "url":
		s.shape, alias = "v2", "url"
		s.Delete = []string{"pathParameters", "stageVariables"}
		s.Set = map[string]json.RawMessage{"requestContext.domainName": json.RawMessage(`"x.lambda-url.eu-central-1.on.aws"`)}
	default:
		alias = strings.TrimPrefix(caller, "direct:")
		one, err := json.Marshal(map[string]string{"client": client, "scope": scope})
		if err != nil {
			t.Fatal(err)
		}
		if source == "batch" {
			one = fmt.Appendf(nil, `{"requests": [%s]}`, one)
		}
		r := call(t, p.h, lambdaContext(t.Context(), "id", alias), "id", one)
		return bytes.Contains(r.payload, []byte(testToken))
	}
	r := call(t, p.h, lambdaContext(t.Context(), "id", alias), "id", s.invocation(t).payload)
	got := bytes.Contains(r.payload, []byte(testToken))
	if want := map[bool]string{true: `{"statusCode":200,`, false: `{"statusCode":403,`}[got]; !bytes.HasPrefix(r.payload, []byte(want)) {
		t.Fatalf("%s: got %.300s, want %s", source, r.payload, want)
	}
	return got
}

// 10 000 random policies and requests from every source, hits and misses, are decided as by the
// reference implementation.
func TestPolicyDecidesForEverySource(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	of := func(list ...string) string { return list[random.IntN(len(list))] }
	some := func(least int, list ...string) []string {
		out := []string{}
		for range least + random.IntN(3-least) {
			out = append(out, of(list...))
		}
		return out
	}
	p := newPolicyEnv(t)
	tokens, steps := 0, 10_000
	if testing.Short() {
		steps = 1000
	}
	for i := range steps {
		rules := []testRule{}
		for r := range random.IntN(4) {
			rule := testRule{
				Name:    fmt.Sprint("r", r),
				Callers: some(1, "aws:111122223333:role/a", "aws:111122223333:role/*", "aws:*:role/b*", "aws:444455556666:role/a", "direct:*", "direct:jobs"),
				Clients: some(1, "billing", "bill*", "*", "payroll"),
			}
			if random.IntN(2) == 0 {
				scopes := some(0, "read", "w*", "*", "app:*")
				rule.Scopes = &scopes
			}
			rules = append(rules, rule)
		}
		p.set(t, rules)
		source := of("v1", "v2", "url", "direct", "batch")
		caller, client, scope := of("aws:111122223333:role/a", "aws:111122223333:role/b-2"), of("billing", "bill-2", "payroll"), some(0, "read", "write", "app:x")
		if source == "direct" || source == "batch" {
			caller = of("direct:jobs", "direct:other")
		}
		slices.Sort(scope)
		scope = slices.Compact(scope)
		want := slices.ContainsFunc(rules, func(r testRule) bool { return r.allows(caller, client, scope) })
		if got := p.ask(t, source, caller, client, strings.Join(scope, " ")); got != want {
			t.Fatalf("seed %d, step %d: %s %s %s %v from %s: got token %t, want %t", seed, i, caller, client, scope, rules, source, got, want)
		}
		if want {
			tokens++
		}
	}
	if tokens < steps/10 || tokens > steps*9/10 {
		t.Errorf("got %d tokens, want a tenth to nine tenths of %d requests", tokens, steps)
	}
}

// limited is a writer that fails when it is full.
type limited struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
	left int          // guarded by mu
}

func (l *limited) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, err := len(p), error(nil)
	if n > l.left {
		n, err = l.left, errors.New("full")
	}
	l.left -= n
	l.text.Write(p[:n])
	return n, err
}

// At whatever byte the log breaks, no token leaves without its audit line.
func TestNoTokenLeavesWithoutItsAuditLine(t *testing.T) {
	var lines *limited
	e := newEnv(t)
	h := testHandler(e.vendor(writer(func(p []byte) (int, error) { return lines.Write(p) })), closedGate(), new(output))
	round := func(bytesLeft int) (tokens int) {
		lines = &limited{left: bytesLeft}
		for _, s := range []sample{shapes()["REST API role"], shapes()["HTTP API user"]} {
			tokens += bytes.Count(call(t, h, lambdaContext(t.Context(), "id", testAlias), "id", s.invocation(t).payload).payload, []byte(testToken))
		}
		for _, payload := range []string{`{"client":"billing"}`, `{"client":"none"}`, `{"requests":[{"client":"billing"},{"client":"billing"},{"client":"none"}]}`} {
			tokens += bytes.Count(call(t, h, lambdaContext(t.Context(), "id", "direct"), "id", []byte(payload)).payload, []byte(testToken))
		}
		return tokens
	}
	if n := round(1 << 20); n != 5 {
		t.Fatalf("got %d tokens, want 5", n)
	}
	whole := lines.text.Len()
	for n := range whole + 1 {
		tokens := round(n)
		recorded := 0
		for line := range strings.Lines(lines.text.String()) {
			var e struct {
				Allowed bool
				Token   string `json:"token_sha256"`
			}
			if json.Unmarshal([]byte(line), &e) == nil && e.Allowed && e.Token != "" {
				recorded++
			}
		}
		if tokens > recorded {
			t.Fatalf("full after %d bytes: got %d tokens and %d audit lines", n, tokens, recorded)
		}
	}
}

type writer func(p []byte) (int, error)

func (f writer) Write(p []byte) (int, error) { return f(p) }

func TestDryRunMakesNoExchange(t *testing.T) {
	f := handlerHarness(newEnv(t), closedGate())
	s := shapes()["REST API role"]
	s.media, s.body = "json", `{"dry_run": true}`
	before := f.count()
	r := f.invoke(t, s.invocation(t))
	if !bytes.Contains(r.payload, []byte(`"statusCode":200`)) || !bytes.Contains(r.payload, []byte(`{\"dry_run\":true,\"allowed\":true,\"mode\":\"iam\"}`)) {
		t.Errorf("got %s, want allowed in mode iam", r.payload)
	}
	r = f.invoke(t, invoked{payload: []byte(`{"requests":[{"client":"billing","dry_run":true},{"client":"none","dry_run":true},{"client":"broken","dry_run":true}]}`), alias: "direct"})
	want := `{"responses":[{"dry_run":true,"allowed":true,"mode":"iam"},{"dry_run":true,"allowed":false,"mode":"iam","error":"access_denied","error_description":"not allowed, or no such client"},{"dry_run":true,"allowed":false,"mode":"iam","error":"server_error"`
	if !strings.HasPrefix(string(r.payload), want) {
		t.Errorf("got %s, want it to begin with %s", r.payload, want)
	}
	if after := f.count(); after.exchanges != before.exchanges {
		t.Errorf("got %d exchanges, want none", after.exchanges-before.exchanges)
	}
	if log := f.logs.take(); strings.Count(log, `"dry_run":true`) != 4 || strings.Count(log, `"outcome":"explained"`) != 4 {
		t.Errorf("got audit lines %s, want four dry runs with outcome explained", log)
	}
}
