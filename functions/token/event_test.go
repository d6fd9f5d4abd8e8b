package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"tokenvendor/shared/audit"
	"tokenvendor/shared/fault"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/token"
)

func TestPrincipal(t *testing.T) {
	for _, test := range []struct{ arn, want string }{
		{"arn:aws:iam::111122223333:root", "aws:111122223333:root"},
		{"arn:aws:iam::111122223333:user/billing", "aws:111122223333:user/billing"},
		// A user's path may change without the user's leave; names are unique in an
		// account whatever their path.
		{"arn:aws:iam::111122223333:user/division/team/billing", "aws:111122223333:user/billing"},
		{"arn:aws:iam::111122223333:user/a.b+c=d,e@f_g-h", "aws:111122223333:user/a.b+c=d,e@f_g-h"},
		// The session's name is its maker's choice.
		{"arn:aws:sts::111122223333:assumed-role/billing-job/i-0abc", "aws:111122223333:role/billing-job"},
		{"arn:aws:sts::111122223333:assumed-role/billing-job/a@b.c=,+-d", "aws:111122223333:role/billing-job"},
		{"arn:aws:sts::111122223333:assumed-role/AWSReservedSSO_Admin_0123/jane@example.com", "aws:111122223333:role/AWSReservedSSO_Admin_0123"},
		{"arn:aws:sts::111122223333:federated-user/bob", "aws:111122223333:federated-user/bob"},
		{"arn:aws-cn:sts::111122223333:assumed-role/r/s", "aws-cn:111122223333:role/r"},
		{"arn:aws-us-gov:iam::111122223333:user/u", "aws-us-gov:111122223333:user/u"},
		{"arn:aws-iso-b:iam::111122223333:root", "aws-iso-b:111122223333:root"},

		{"", ""},
		{"arn:aws:iam::111122223333:", ""},
		{"arn:aws:iam::111122223333:root/x", ""},
		{"arn:aws:iam::111122223333:user", ""},
		{"arn:aws:iam::111122223333:user/", ""},
		{"arn:aws:iam::111122223333:user/a/", ""},
		{"arn:aws:iam::111122223333:role/a", ""},
		{"arn:aws:iam::aws:policy/x", ""},
		{"arn:aws:iam::11112222333:user/a", ""},
		{"arn:aws:iam::1111222233334:user/a", ""},
		{"arn:aws:iam::１１１１２２２２３３３３:user/a", ""},
		{"arn:aws:iam:eu-central-1:111122223333:user/a", ""},
		{"arn:evil:iam::111122223333:user/a", ""},
		{"arn:awsx:iam::111122223333:user/a", ""},
		{"arn:aws-X:iam::111122223333:user/a", ""},
		{"ARN:aws:iam::111122223333:user/a", ""},
		{"arn:aws:sts::111122223333:assumed-role/a", ""},
		{"arn:aws:sts::111122223333:assumed-role/a/", ""},
		{"arn:aws:sts::111122223333:assumed-role//s", ""},
		{"arn:aws:sts::111122223333:assumed-role/a/b/c", ""},
		{"arn:aws:iam::111122223333:assumed-role/a/b", ""},
		{"arn:aws:sts::111122223333:user/a", ""},
		{"arn:aws:sts::111122223333:federated-user/", ""},
		{"arn:aws:sts::111122223333:federated-user/a/b", ""},
		{"arn:aws:sts::111122223333:assumed-role/a/b:c", ""},
		{"arn:aws:sts::111122223333:assumed-role/a b/c", ""},
		{"arn:aws:sts::111122223333:assumed-role/a\n/c", ""},
		{"arn:aws:sts::111122223333:assumed-role/а/c", ""}, // Cyrillic
		{"arn:aws:iam::111122223333:user/" + strings.Repeat("a", 2048), ""},
	} {
		got, ok := principal(test.arn)
		if ok != (test.want != "") || ok && got != test.want {
			t.Errorf("principal(%.80q) = %q, %v, want %q", test.arn, got, ok, test.want)
		}
	}
}

// TestPrincipalsOfDifferentIdentities: no two identities may be one caller.
func TestPrincipalsOfDifferentIdentities(t *testing.T) {
	seen := make(map[string]string)
	for _, arn := range []string{
		"arn:aws:sts::111122223333:assumed-role/a/s", "arn:aws:sts::444455556666:assumed-role/a/s", "arn:aws-cn:sts::111122223333:assumed-role/a/s",
		"arn:aws:iam::111122223333:user/a", "arn:aws:sts::111122223333:federated-user/a", "arn:aws:iam::111122223333:root",
		"arn:aws:iam::111122223333:user/root", "arn:aws:sts::111122223333:assumed-role/root/s",
	} {
		caller, ok := principal(arn)
		if other := seen[caller]; !ok || other != "" {
			t.Errorf("%s is the same caller as %q", arn, other)
		}
		seen[caller] = arn
	}
}

// shapes are the kinds of event times the kinds of caller.
func shapes() map[string]sample {
	all := make(map[string]sample)
	for kind, arn := range map[string]text{
		"user": "arn:aws:iam::111122223333:user/team/jane", "role": "arn:aws:sts::111122223333:assumed-role/billing-job/batch-7",
		"federated": "arn:aws:sts::111122223333:federated-user/jane",
	} {
		good := sample{method: "POST", client: "billing", arn: arn}
		v1, v2 := good, good
		v1.shape, v2.shape = "v1", "v2"
		all["REST API "+kind], all["HTTP API "+kind] = v1, v2
		old, url := v1, v2
		old.Set = map[string]json.RawMessage{"version": json.RawMessage(`"1.0"`)}
		url.Delete = []string{"pathParameters"}
		all["HTTP API 1.0 "+kind], all["function URL "+kind] = old, url
	}
	return all
}

// TestForgedEventsAreRefused: whoever may invoke the function directly can send any event,
// so each shape is believed only with proof and through the alias.
func TestForgedEventsAreRefused(t *testing.T) {
	w := newEnv(t)
	f := handlerHarness(w, closedGate())
	for name, good := range shapes() {
		t.Run(name, func(t *testing.T) {
			a := readAnswer(t, f.invoke(t, good.invocation(t)), false)
			if log := f.logs.take(); a.status != 200 || strings.Contains(log, "forged") {
				t.Fatalf("the true event got %d %s", a.status, a.text)
			}
			noProof, wrong, alias, direct := good, good, good, good
			noProof.Delete = append([]string{"stageVariables"}, good.Delete...)
			wrong.Set = map[string]json.RawMessage{"stageVariables.envelopeProof": json.RawMessage(`"cnry-other"`)}
			alias.Alias, direct.Alias = "jobs", "-"
			for what, forged := range map[string]sample{"no proof": noProof, "wrong proof": wrong, "other alias": alias, "no alias": direct} {
				before := f.count()
				a := readAnswer(t, f.invoke(t, forged.invocation(t)), false)
				if log := f.logs.take(); a.status != 403 || !strings.Contains(log, `"type":"forged"`) {
					t.Errorf("%s: got %d, want 403 and a log line that says forged", what, a.status)
				} else if strings.Contains(log, "billing") || strings.Contains(log, "203.0.113.7") {
					t.Errorf("%s: the line repeats what a forger wrote: %s", what, log)
				}
				if f.count() != before {
					t.Errorf("%s: the event was passed on", what)
				}
			}
		})
	}
}

// TestUnknownShapesAreRefused: what has no shape that API Gateway's events have, and comes from
// somewhere else, is as forged as the rest. It may still learn that it has no shape.
func TestUnknownShapesAreRefused(t *testing.T) {
	const identity = `"identity": {"userArn": "arn:aws:sts::111122223333:assumed-role/admin/x"}`
	for name, payload := range map[string]string{
		"no path":     `{"requestContext": {` + identity + `}, "httpMethod": "POST", "body": "{}"}`,
		"two shapes":  `{"version": "2.0", "path": "/token/billing", "rawPath": "/token/billing", "requestContext": {"http": {"method": "POST"}}}`,
		"balancer":    `{"path": "/token/billing", "requestContext": {"elb": {}, ` + identity + `}}`,
		"other, bare": `{"version": "3.0", "path": "/token/billing", "requestContext": {` + identity + `}}`,
	} {
		for _, believed := range []bool{false, true} {
			var lines []audit.Event
			v := token.New(token.Config{Audit: func(e *audit.Event) error { lines = append(lines, *e); return nil }})
			h, alias := testHandler(v, gate{alias: "http"}, new(output)), "direct"
			if believed {
				alias = "http"
			}
			answer, err := h.Invoke(lambdaContext(t.Context(), "r", alias), []byte(payload))
			if err != nil || !strings.Contains(string(answer), `"statusCode":400`) {
				t.Errorf("%s: answered %s, %v", name, answer, err)
			}
			if len(lines) != 1 || (lines[0].Type == audit.Forged) == believed {
				t.Errorf("%s, believed %t: the lines are %+v", name, believed, lines)
			}
		}
	}
}

// TestFunctionURLNeedsItsAlias: where something proves events, a Function URL's is
// believed through its own alias only, since it can hold no proof.
func TestFunctionURLNeedsItsAlias(t *testing.T) {
	const payload = `{"version": "2.0", "rawPath": "/token/billing", "body": "", "requestContext": {"domainName": "x.lambda-url.eu-central-1.on.aws",
		"http": {"method": "POST"}, "authorizer": {"iam": {"userArn": "arn:aws:sts::111122223333:assumed-role/admin/x"}}}}`
	for _, test := range []struct {
		gate gate
		want bool
	}{
		{gate{}, true}, // nobody asks for a proof
		{gate{alias: "http"}, false},
		{gate{alias: "http", urlAlias: "url"}, false},
		{gate{proof: oauth.NewSecret("cnry-proof")}, false},
		{gate{urlAlias: "http"}, true},
	} {
		called := false
		h := testHandler(vendorFunc(func(context.Context, token.Request) (token.Grant, error) {
			called = true
			return token.Grant{}, fault.Refusal(fault.Denied, "")
		}), test.gate, new(output))
		if _, err := h.Invoke(lambdaContext(t.Context(), "r", "http"), []byte(payload)); err != nil || called != test.want {
			t.Errorf("%+v: passed on %t, want %t; %v", test.gate, called, test.want, err)
		}
	}
}

// TestDeniedBodiesAreEqual: nobody can tell "no such client" from "not proven".
func TestDeniedBodiesAreEqual(t *testing.T) {
	f := handlerHarness(newEnv(t), closedGate())
	good := shapes()["REST API role"]
	unknown, forged, nobody := good, good, good
	unknown.client, forged.Alias, nobody.arn = "payroll", "-", ""
	id := regexp.MustCompile(`request-\d+`)
	bodies := make(map[string]bool)
	for _, s := range []sample{unknown, forged, nobody} {
		r := f.invoke(t, s.invocation(t))
		if a := readAnswer(t, r, false); a.status != 403 {
			t.Errorf("got %d, want 403", a.status)
		}
		bodies[id.ReplaceAllString(string(r.payload), "")] = true
	}
	if len(bodies) != 1 {
		t.Errorf("three reasons give %d different answers, want one", len(bodies))
	}
}

// TestCallerIsLogged: the normalised caller, and for a direct invoke the alias,
// which IAM grants.
func TestCallerIsLogged(t *testing.T) {
	good := shapes()["REST API role"]
	for _, test := range []struct {
		name string
		in   invoked
		want string
	}{
		{"role", good.invocation(t), `"caller":"aws:111122223333:role/billing-job"`},
		{"direct", invoked{payload: []byte(`{"client":"billing"}`)}, `"caller":"direct"`},
		{"direct through an alias", invoked{payload: []byte(`{"client":"billing"}`), alias: "jobs"}, `"caller":"direct:jobs"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := handlerHarness(newEnv(t), closedGate())
			f.invoke(t, test.in)
			if log := f.logs.take(); !strings.Contains(log, test.want) || !strings.Contains(log, `"client":"billing"`) {
				t.Errorf("the log line lacks %s or the client", test.want)
			}
		})
	}
}

// TestOpenGate: without a proof configured an event is believed, but still needs
// an identity.
func TestOpenGate(t *testing.T) {
	f := handlerHarness(newEnv(t), gate{})
	for name, s := range shapes() {
		s.Delete = append([]string{"stageVariables"}, s.Delete...)
		s.Alias = "-"
		if a := readAnswer(t, f.invoke(t, s.invocation(t)), false); a.status != 200 {
			t.Errorf("%s: got %d %s", name, a.status, a.text)
		}
		s.arn = ""
		if a := readAnswer(t, f.invoke(t, s.invocation(t)), false); a.status != 403 {
			t.Errorf("%s without an identity: got %d, want 403", name, a.status)
		}
	}
}

// TestSAMLocal: events of the SAM CLI have neither identity nor proof.
func TestSAMLocal(t *testing.T) {
	g := closedGate()
	g.samLocal = true
	f := handlerHarness(newEnv(t), g)
	s := shapes()["REST API role"]
	s.Delete, s.Alias = []string{"stageVariables", "requestContext.identity"}, "-"
	if a := readAnswer(t, f.invoke(t, s.invocation(t)), false); a.status != 200 {
		t.Errorf("got %d %s", a.status, a.text)
	}
	if log := f.logs.take(); !strings.Contains(log, `"caller":"sam-local"`) {
		t.Error("the log doesn't say that SAM made the event")
	}
	s.client = "Billing"
	if a := readAnswer(t, f.invoke(t, s.invocation(t)), false); a.status != 400 {
		t.Errorf("a bad name got %d, want 400", a.status)
	}
}

// TestSampleEvents: the files of events/ are answered with a token.
func TestSampleEvents(t *testing.T) {
	for _, name := range []string{"rest-v1.json", "http-v2.json", "function-url.json", "direct.json", "direct-batch.json"} {
		t.Run(name, func(t *testing.T) {
			payload, err := os.ReadFile(filepath.Join("..", "..", "events", name))
			if err != nil {
				t.Fatal(err)
			}
			f := handlerHarness(newEnv(t), gate{})
			f.env.anyClient = true
			a := readAnswer(t, f.invoke(t, invoked{payload: payload}), strings.HasPrefix(name, "direct"))
			if a.code != "" || a.status != 200 && a.status != 0 {
				t.Fatalf("got %d %s: %s", a.status, a.code, a.text)
			}
			if want := `"access_token":"` + testToken; !strings.Contains(string(a.body), want) {
				t.Error("the answer holds no token")
			}
		})
	}
}

// TestClientIsTheLastSegmentOfAFunctionURL: it has no routes, so the name is what stands last.
func TestClientIsTheLastSegmentOfAFunctionURL(t *testing.T) {
	f := handlerHarness(newEnv(t), gate{})
	for path, want := range map[string]int{
		"/token/billing": 200, "/billing": 400, "/": 400, "": 400, "/token/": 400, "/token": 400, "/token/billing/": 400,
		"/token/%62illing": 400, "//token/billing": 400, "/token/../token/Billing": 400, "/TOKEN/billing": 400, "/token/payroll": 403,
	} {
		s := shapes()["function URL role"]
		s.Set = map[string]json.RawMessage{"rawPath": json.RawMessage(fmt.Sprintf("%q", path))}
		if a := readAnswer(t, f.invoke(t, s.invocation(t)), false); a.status != want {
			t.Errorf("%q: got %d %s, want %d", path, a.status, a.text, want)
		}
	}
}
