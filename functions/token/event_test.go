package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"tokenvendor/shared/audit"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/token"
)

func TestPrincipalIsTheIdentityWithoutItsSession(t *testing.T) {
	for _, test := range []struct{ arn, want string }{
		{"arn:aws:iam::111122223333:root", "aws:111122223333:root"},
		{"arn:aws:iam::111122223333:user/billing", "aws:111122223333:user/billing"},
		// The path of a user can change. Names are unique in an account whatever the path.
		{"arn:aws:iam::111122223333:user/division/team/billing", "aws:111122223333:user/billing"},
		{"arn:aws:iam::111122223333:user/a.b+c=d,e@f_g-h", "aws:111122223333:user/a.b+c=d,e@f_g-h"},
		// The caller of AssumeRole chooses the name of the session.
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

func TestDifferentIdentitiesAreDifferentCallers(t *testing.T) {
	seen := make(map[string]string)
	for _, arn := range []string{
		"arn:aws:sts::111122223333:assumed-role/a/s", "arn:aws:sts::444455556666:assumed-role/a/s", "arn:aws-cn:sts::111122223333:assumed-role/a/s",
		"arn:aws:iam::111122223333:user/a", "arn:aws:sts::111122223333:federated-user/a", "arn:aws:iam::111122223333:root",
		"arn:aws:iam::111122223333:user/root", "arn:aws:sts::111122223333:assumed-role/root/s",
	} {
		caller, ok := principal(arn)
		if other := seen[caller]; !ok || other != "" {
			t.Errorf("principal(%s) = %q, %t, the same as for %q", arn, caller, ok, other)
		}
		seen[caller] = arn
	}
}

// shapes returns a good event of every kind from every kind of caller.
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

// A principal that may invoke the function directly can send any event, so that an event is
// accepted only with the proof and through the alias.
func TestForgedEventsAreRefused(t *testing.T) {
	e := newEnv(t)
	f := handlerHarness(e, closedGate())
	for name, good := range shapes() {
		t.Run(name, func(t *testing.T) {
			a := readAnswer(t, f.invoke(t, good.invocation(t)), false)
			if log := f.logs.take(); a.status != 200 || strings.Contains(log, "forged") {
				t.Fatalf("the good event: got %d %s, want 200", a.status, a.text)
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
					t.Errorf("%s: the line repeats values of the forged event: %s", what, log)
				}
				if after := f.count(); after != before {
					t.Errorf("%s: got calls %+v, want none", what, after)
				}
			}
		})
	}
}

// An event of no known shape is refused as such. It counts as forged unless it comes through
// the alias of API Gateway.
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
				t.Errorf("%s: got %s, %v; want status 400", name, answer, err)
			}
			if len(lines) != 1 || (lines[0].Type == audit.Forged) == believed {
				t.Errorf("%s, believed %t: got audit lines %+v, want one", name, believed, lines)
			}
		}
	}
}

// If the gate asks for a proof or an alias, events of a Function URL are accepted through their
// own alias only, because they can hold no proof.
func TestFunctionURLNeedsItsAlias(t *testing.T) {
	const payload = `{"version": "2.0", "rawPath": "/token/billing", "body": "", "requestContext": {"domainName": "x.lambda-url.eu-central-1.on.aws",
		"http": {"method": "POST"}, "authorizer": {"iam": {"userArn": "arn:aws:sts::111122223333:assumed-role/admin/x"}}}}`
	e := newEnv(t)
	for _, test := range []struct {
		gate gate
		want int
	}{
		{gate{}, 200}, // it asks for no proof
		{gate{alias: "http"}, 403},
		{gate{alias: "http", urlAlias: "url"}, 403},
		{gate{proof: oauth.NewSecret("cnry-proof")}, 403},
		{gate{urlAlias: "http"}, 200},
	} {
		f := handlerHarness(e, test.gate)
		a := readAnswer(t, f.invoke(t, invoked{[]byte(payload), "http"}), false)
		if vends := f.vends(); a.status != test.want || (vends == 1) != (test.want == 200) {
			t.Errorf("%+v: got %d and %d calls of the core, want %d", test.gate, a.status, vends, test.want)
		}
	}
}

// A caller cannot tell an unknown client from a missing proof or identity.
func TestDeniedBodiesAreEqual(t *testing.T) {
	f := handlerHarness(newEnv(t), closedGate())
	good := shapes()["REST API role"]
	unknown, forged, anonymous := good, good, good
	unknown.client, forged.Alias, anonymous.arn = "payroll", "-", ""
	id := regexp.MustCompile(`request-\d+`)
	bodies := make(map[string]bool)
	for _, s := range []sample{unknown, forged, anonymous} {
		r := f.invoke(t, s.invocation(t))
		if a := readAnswer(t, r, false); a.status != 403 {
			t.Errorf("got %d, want 403", a.status)
		}
		bodies[id.ReplaceAllString(string(r.payload), "")] = true
	}
	if len(bodies) != 1 {
		t.Errorf("got %d different answers for three reasons, want one", len(bodies))
	}
}

// For a direct invoke the caller is the alias, which IAM grants.
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
				t.Errorf("got log %s, want %s and the client", log, test.want)
			}
		})
	}
}

// Without a configured proof every event is accepted, but still needs an identity.
func TestOpenGateNeedsAnIdentity(t *testing.T) {
	f := handlerHarness(newEnv(t), gate{})
	for name, s := range shapes() {
		s.Delete = append([]string{"stageVariables"}, s.Delete...)
		s.Alias = "-"
		if a := readAnswer(t, f.invoke(t, s.invocation(t)), false); a.status != 200 {
			t.Errorf("%s: got %d %s, want 200", name, a.status, a.text)
		}
		s.arn = ""
		if a := readAnswer(t, f.invoke(t, s.invocation(t)), false); a.status != 403 {
			t.Errorf("%s without an identity: got %d, want 403", name, a.status)
		}
	}
}

// Events of the SAM CLI have neither identity nor proof.
func TestEventsOfSAMAreAcceptedWithSAMLocal(t *testing.T) {
	g := closedGate()
	g.samLocal = true
	f := handlerHarness(newEnv(t), g)
	s := shapes()["REST API role"]
	s.Delete, s.Alias = []string{"stageVariables", "requestContext.identity"}, "-"
	if a := readAnswer(t, f.invoke(t, s.invocation(t)), false); a.status != 200 {
		t.Errorf("got %d %s, want 200", a.status, a.text)
	}
	if log := f.logs.take(); !strings.Contains(log, `"caller":"sam-local"`) {
		t.Errorf("got log %s, want the caller sam-local", log)
	}
	s.client = "Billing"
	if a := readAnswer(t, f.invoke(t, s.invocation(t)), false); a.status != 400 {
		t.Errorf("a bad name got %d, want 400", a.status)
	}
}

// SAM CLI sends the template of the route as the judged path. Only with SAMLocal is this
// accepted: a path that IAM judged must be the one that was sent.
func TestSampleEventsOfSAMGetTokensWithSAMLocalOnly(t *testing.T) {
	for _, name := range []string{"sam-rest-v1.json", "sam-http-v2.json"} {
		payload, err := os.ReadFile(filepath.Join("..", "..", "events", name))
		if err != nil {
			t.Fatal(err)
		}
		g := closedGate()
		g.samLocal = true
		f := handlerHarness(newEnv(t), g)
		if a := readAnswer(t, f.invoke(t, invoked{payload: payload}), false); a.status != 200 {
			t.Errorf("%s: got %d %s, want 200", name, a.status, a.text)
		}
		staged := bytes.Replace(payload, []byte(`"stage": "$default"`), []byte(`"stage": "v1"`), 1)
		if a := readAnswer(t, f.invoke(t, invoked{payload: staged}), false); a.status != 200 {
			t.Errorf("%s with a stage: got %d %s, want 200", name, a.status, a.text)
		}
		f = handlerHarness(newEnv(t), gate{})
		if a := readAnswer(t, f.invoke(t, invoked{payload: payload}), false); a.status == 200 {
			t.Errorf("%s: got 200 without SAMLocal", name)
		}
	}
	f := handlerHarness(newEnv(t), gate{})
	s := shapes()["REST API role"]
	s.Set = map[string]json.RawMessage{"requestContext.path": json.RawMessage(`"/token/{client}"`)}
	if a := readAnswer(t, f.invoke(t, s.invocation(t)), false); a.status != 400 {
		t.Errorf("an event of API Gateway with the template as its judged path: got %d, want 400", a.status)
	}
}

func TestSampleEventsGetTokens(t *testing.T) {
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
				t.Fatalf("got %d %s (%s), want a token", a.status, a.code, a.text)
			}
			if want := `"access_token":"` + testToken; !strings.Contains(string(a.body), want) {
				t.Errorf("got %s, want a token", a.body)
			}
		})
	}
}

// A Function URL has no routes, so that the handler takes the client from the path.
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

// IAM judges the whole path, and its patterns match slashes: team-a-* covers
// /token/team-a-x/token/payroll. So nothing may precede /token/ but what API Gateway adds.
func TestPathIsTheOneThatIAMJudged(t *testing.T) {
	f := handlerHarness(newEnv(t), gate{})
	const v1, v2, free = "REST API role", "HTTP API role", "function URL role" // free has no path parameters
	for _, test := range []struct {
		shape, path, judged, stage, route string
		want                              int
	}{
		{free, "/token/team-a-x/token/billing", "", "$default", "$default", 400},
		{free, "/v1/token/team-a-x/token/billing", "", "v1", "$default", 400},
		{free, "/x/token/billing", "", "$default", "$default", 400},
		{free, "/token/billing", "", "$default", "$default", 200},
		{free, "/v1/token/billing", "", "v1", "$default", 200},
		{free, "/v1/token/billing", "", "$default", "$default", 400},
		{free, "/$default/token/billing", "", "$default", "$default", 400},
		{free, "/v1/v1/token/billing", "", "v1", "$default", 400},
		{free, "/v2/token/billing", "", "v1", "$default", 400},
		{free, "xv1/token/billing", "", "v1", "$default", 400},
		// The stage precedes each path, so this one is "/billing" to IAM.
		{free, "/token/billing", "", "token", "$default", 400},
		{free, "/token/team-a-x%2Ftoken%2Fbilling", "", "$default", "$default", 400},
		{free, "/token/billing/", "", "$default", "$default", 400},
		{free, "/token/team-a-x/../billing", "", "$default", "$default", 400},
		{free, "/v1/token/team-a-x/token/billing", "", "v1", "POST /token/{client}", 400},
		{v2, "/v1/token/billing", "", "v1", "POST /token/{client}", 200},
		{v2, "/base/nested/token/billing", "", "v1", "ANY /token/{client}", 200},
		{v2, "/token/team-a-x/token/billing", "", "$default", "POST /token/{client}", 400},
		{v2, "/x/token/billing", "", "$default", "POST /{any}/token/{client}", 400},
		{v2, "/x/token/billing", "", "$default", "POST /{proxy+}", 400},
		{v1, "/token/billing", "/v1/token/billing", "v1", "/token/{client}", 200},
		{v1, "/token/billing", "/v2/token/billing", "v1", "/{any}/{client}", 400},
		{v1, "/v1/token/billing", "/v1/token/billing", "v1", "/token/{client}", 200}, // HTTP API, format 1.0
		{v1, "/base/nested/token/billing", "/base/nested/token/billing", "v1", "/token/{client}", 200},
		{v1, "/base/token/billing", "/base/token/billing", "v1", "/{any}/token/{client}", 400},
		{v1, "/token/billing", "/token/team-a-x/token/billing", "v1", "/token/{client}", 400},
		{v1, "/token/team-a-x/token/billing", "/token/team-a-x/token/billing", "v1", "/token/{client}", 400},
		{v1, "/base/../token/billing", "/v1/token/billing", "v1", "/token/{client}", 400},
		{v1, "/base//token/billing", "/v1/token/billing", "v1", "/token/{client}", 400},
		{v1, "/ba%2Fse/token/billing", "/v1/token/billing", "v1", "/token/{client}", 400},
	} {
		s := shapes()[test.shape]
		text := func(s string) json.RawMessage { return json.RawMessage(fmt.Sprintf("%q", s)) }
		s.Set = map[string]json.RawMessage{"rawPath": text(test.path), "routeKey": text(test.route), "requestContext.stage": text(test.stage)}
		if test.shape == v1 {
			s.Set = map[string]json.RawMessage{
				"path": text(test.path), "resource": text(test.route), "requestContext.stage": text(test.stage), "requestContext.path": text(test.judged),
			}
		}
		if a := readAnswer(t, f.invoke(t, s.invocation(t)), false); a.status != test.want {
			t.Errorf("%+v: got %d %s", test, a.status, a.text)
		}
	}
}
