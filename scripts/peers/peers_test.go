package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenvendor/shared/oauth/oauthtest"
)

// described is a valid description.
const described = `{"name": "x", "version": ["x", "-v"], "command": ["x", "{config}", "{dir}/ca.pem"], "issuer": "https://127.0.0.1:{port}/a/",
	"ready_url": "https://127.0.0.1:{port}/up", "request": "^r (?P<client>.*)", "granted": "^g (?P<client>.*)", "failed_logon": "^f (?P<client>.*)",
	"failure": "^panic", "methods": ["client_secret_post"], "features": ["scope"],
	"document": {"scope": "read", "assertion_audience": "https://127.0.0.1:{port}/a/token"}}`

func writeDescription(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "peer.json")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestReadPeerAndFillInPlaceholders(t *testing.T) {
	p, err := readPeer(writeDescription(t, described))
	if err != nil {
		t.Fatal(err)
	}
	if !p.has("scope") || p.has("resource") {
		t.Errorf("got features %v, want scope", p.Features)
	}
	filled := p.fillIn(8443, "/d")
	if want := []string{"x", "/d/" + configName, "/d/ca.pem"}; !slices.Equal(filled.Command, want) {
		t.Errorf("got command %v, want %v", filled.Command, want)
	}
	if filled.metadata() != "https://127.0.0.1:8443/a/.well-known/openid-configuration" || filled.ReadyURL != "https://127.0.0.1:8443/up" {
		t.Errorf("got metadata %s, ready_url %s", filled.metadata(), filled.ReadyURL)
	}
	if filled.Document["scope"] != "read" || filled.Document["assertion_audience"] != "https://127.0.0.1:8443/a/token" {
		t.Errorf("got document %v", filled.Document)
	}
	if p.Command[1] != "{config}" || !strings.Contains(p.Document["assertion_audience"].(string), "{port}") || p.Issuer != "https://127.0.0.1:{port}/a/" {
		t.Error("fillIn changed the description itself")
	}
}

func TestReadPeerReportsProblems(t *testing.T) {
	for name, test := range map[string]struct{ old, new, problem string }{
		"no JSON":           {`{"name"`, `{name`, "invalid character"},
		"more":              {`/token"}}`, `/token"}} {}`, "more after"},
		"unknown member":    {`"name"`, `"method": "x", "name"`, "unknown field"},
		"no name":           {`"name": "x"`, `"name": ""`, "name, version and command"},
		"no version":        {`["x", "-v"]`, `[]`, "name, version and command"},
		"plain issuer":      {`"issuer": "https:`, `"issuer": "http:`, "https"},
		"ready twice":       {`"ready_url"`, `"ready": "up", "ready_url"`, "one of ready"},
		"never ready":       {`"ready_url": "https://127.0.0.1:{port}/up",`, ``, "one of ready"},
		"no group":          {`^r (?P<client>.*)`, `^r`, "request must have a group"},
		"no pattern":        {`"granted": "^g (?P<client>.*)",`, ``, "granted must have a group"},
		"bad pattern":       {`^panic`, `(`, "missing closing"},
		"unknown method":    {`client_secret_post`, `client_secret_pots`, "client_secret_pots"},
		"no methods":        {`["client_secret_post"]`, `[]`, "methods must be given"},
		"no algorithms":     {`client_secret_post`, `private_key_jwt`, "algorithms must be given"},
		"unknown algorithm": {`"features"`, `"algorithms": ["RS512"], "features"`, "RS512"},
		"unknown feature":   {`"scope"`, `"scopes"`, `"scopes"`},
	} {
		text := strings.Replace(described, test.old, test.new, 1)
		if text == described {
			t.Fatalf("%s changes nothing", name)
		}
		if _, err := readPeer(writeDescription(t, text)); err == nil || !strings.Contains(err.Error(), test.problem) {
			t.Errorf("%s: got %v, want %q", name, err, test.problem)
		}
	}
}

func TestServerWithoutItsProgramFailsOnlyInCI(t *testing.T) {
	file := writeDescription(t, strings.Replace(described, `"name"`, `"needs": ["go", "no-such-program"], "name"`, 1))
	for ci, fails := range map[string]bool{"": false, "true": true} {
		t.Setenv("CI", ci)
		var out strings.Builder
		if err := run(t.Context(), &out, "function", options{}, []string{file}); (err != nil) != fails {
			t.Errorf("CI=%s: got %v, want an error: %t", ci, err, fails)
		}
		if out.String() != "not run: no-such-program is not installed\n\n" {
			t.Errorf("CI=%s: got output %q", ci, out.String())
		}
	}
}

func TestAlwaysCertificateBoundMeansRightCertificates(t *testing.T) {
	ca, err := oauthtest.NewCA("test")
	if err != nil {
		t.Fatal(err)
	}
	e := &env{ca: ca}
	for _, always := range []bool{false, true} {
		p := &peer{Methods: []string{"client_secret_post", "tls_client_auth", "self_signed_tls_client_auth"}}
		if always {
			p.Features = []string{"always_certificate_bound"}
		}
		rows, err := e.rows(p)
		if err != nil || len(rows) != 6 {
			t.Fatalf("got %d rows, %v, want 6", len(rows), err)
		}
		for _, r := range rows {
			want := always && !r.wrong && r.document["certificate"] != nil
			if (r.thumbprint != "") != want {
				t.Errorf("always %t, %s, %s: got thumbprint %q, want one: %t", always, r.method, r.key, r.thumbprint, want)
			}
		}
	}
}

func TestDescriptionsOfThisDirectoryAreValid(t *testing.T) {
	files, err := filepath.Glob("*/peer.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no descriptions: %v", err)
	}
	for _, file := range files {
		if _, err := readPeer(file); err != nil {
			t.Error(err)
		}
	}
}

func TestOutputInPiecesIsCountedByClient(t *testing.T) {
	p, err := readPeer(writeDescription(t, strings.Replace(described, `"ready_url": "https://127.0.0.1:{port}/up"`, `"ready": "^up"`, 1)))
	if err != nil {
		t.Fatal(err)
	}
	s := &server{peer: p, ready: make(chan struct{}), done: make(chan struct{}), tallies: make(map[string]tally)}
	output := &lineWriter{each: s.readLine}
	for _, b := range []byte("up\nup\nr a\ng a\nr b\nf b\nr a\nnothing\nr c") {
		if _, err := output.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-s.ready:
	default:
		t.Error("the server is not ready after its line")
	}
	for client, want := range map[string]tally{"a": {requests: 2, granted: 1}, "b": {requests: 1, failedLogons: 1}, "c": {}} {
		if got := s.counted(client); got != want {
			t.Errorf("%s: got %+v, want %+v", client, got, want)
		}
	}
	if s.failure() != nil || s.running() != nil {
		t.Error("got a failure, want none")
	}
	_, _ = output.Write([]byte("\npanic: x\n" + strings.Repeat("x", 3*maxKept)))
	close(s.done)
	if s.failure() == nil || s.running() == nil {
		t.Error("got no failure after a line that matches Failure, or no error after the end")
	}
	if n := len(s.output()); n > 2*maxKept {
		t.Errorf("got a log of %d bytes, want at most %d", n, 2*maxKept)
	}
}

func TestResultCheckFindsProblems(t *testing.T) {
	token := answer{Token: "a", Type: "Bearer", ExpiresIn: 600, http: true}
	changed := func(change func(*answer)) []answer {
		a := token
		change(&a)
		return []answer{token, a, token, token}
	}
	tokens := []answer{token, token, token, token}
	refused := answer{Error: "server_error"}
	refusals := []answer{refused, refused, refused, refused}
	once, refusedOnce := tally{requests: 1, granted: 1}, tally{requests: 1, failedLogons: 1}
	for name, test := range map[string]struct {
		result
		ok bool
	}{
		"good":              {result{tally: once, tokens: 4, hits: 3, answers: tokens}, true},
		"never asked":       {result{}, false},
		"a problem before":  {result{tally: once, tokens: 4, hits: 3, answers: tokens, problem: "x"}, false},
		"two exchanges":     {result{tally: tally{requests: 2, granted: 2}, tokens: 4, hits: 3, answers: tokens}, false},
		"a logon before":    {result{tally: tally{requests: 2, granted: 1, failedLogons: 1}, tokens: 4, hits: 3, answers: tokens}, false},
		"no exchange seen":  {result{tokens: 4, hits: 3, answers: tokens}, false},
		"fewer hits":        {result{tally: once, tokens: 4, hits: 2, answers: tokens}, false},
		"no token":          {result{tally: tally{requests: 1}, answers: refusals}, false},
		"another token":     {result{tally: once, tokens: 4, hits: 3, answers: changed(func(a *answer) { a.Token = "b" })}, false},
		"no life":           {result{tally: once, tokens: 4, hits: 3, answers: changed(func(a *answer) { a.ExpiresIn = 0 })}, false},
		"no type":           {result{tally: once, tokens: 4, hits: 3, answers: changed(func(a *answer) { a.Type = "" })}, false},
		"bound":             {result{tally: once, tokens: 4, hits: 3, answers: changed(func(a *answer) { a.bound = true })}, false},
		"not bound":         {result{row: row{thumbprint: "x"}, tally: once, tokens: 4, hits: 3, answers: tokens}, false},
		"other scope":       {result{row: row{request: map[string]any{"scope": "read"}}, tally: once, tokens: 4, hits: 3, answers: tokens}, false},
		"wrong":             {result{row: row{wrong: true}, tally: refusedOnce, answers: refusals}, true},
		"wrong, asked on":   {result{row: row{wrong: true}, tally: tally{requests: 2, failedLogons: 2}, answers: refusals}, false},
		"wrong, never":      {result{row: row{wrong: true}, answers: refusals}, false},
		"wrong, a token":    {result{row: row{wrong: true}, tally: refusedOnce, tokens: 1, answers: refusals}, false},
		"wrong, other code": {result{row: row{wrong: true}, tally: refusedOnce, answers: append([]answer{{Error: "access_denied"}}, refusals[1:]...)}, false},
	} {
		if got := test.check(); (got == "") != test.ok {
			t.Errorf("%s: got %q, want a problem: %t", name, got, !test.ok)
		}
	}
}

func TestPrintMatrixPrintsNoCredentials(t *testing.T) {
	var out strings.Builder
	bad := printMatrix(&out, "srv", "srv 1.0, node v20", []result{
		{row: row{method: "client_secret_post", key: "secret"}, tally: tally{requests: 1, granted: 1}, tokens: 4, hits: 3, claims: claims{how: "introspected"},
			answers: []answer{{Token: "canary-token"}}},
		{row: row{method: "client_secret_post", key: "secret, scope"}, tokens: 4},
		{row: row{method: "private_key_jwt", key: "PEM", document: map[string]any{"private_key": "canary-key"}}, tally: tally{requests: 1, failedLogons: 1}, problem: "none came"},
	}, 2345*time.Millisecond)
	if bad != 1 {
		t.Errorf("got %d failed rows, want 1", bad)
	}
	for _, want := range []string{
		"srv 1.0, node v20\n\n",
		"srv     client_secret_post  secret         1               0              1          3     introspected  ok\n",
		"srv     client_secret_post  secret, scope  0               0              0          0     not examined  ok\n",
		"srv     private_key_jwt     PEM            1               1              0          0     -             NOT OK: none came\n",
		"3 rows, 1 failed: 2 token requests, 1 failed logons, 1 exchanges, 3 hits, in 2.3 s\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("want %q; got\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "canary") {
		t.Error("a credential was printed")
	}
}

func TestRedactRemovesAllEncodings(t *testing.T) {
	e := new(env)
	e.addSecret("Sp@re: /+%&=~")
	if got := e.redact(`a Sp@re: /+%&=~ b Sp%40re%3A+%2F%2B%25%26%3D~ c Sp@re: /+%\u0026=~ d`); got != "a [redacted] b [redacted] c [redacted] d" {
		t.Errorf("got %q", got)
	}
}
