package main

import (
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tokenvendor/scripts/local/awsjson"
	"tokenvendor/scripts/local/secretsmanager"
	"tokenvendor/shared/oauth/oauthtest"
)

// operated is a local stack with secrets and an authorization server.
type operated struct {
	stack   string
	secrets *secretsmanager.Server
	issuer  *oauthtest.Server
	dir     string
}

func newOperated(t *testing.T) *operated {
	t.Helper()
	o := &operated{secrets: secretsmanager.New(secretsmanager.Config{}), dir: t.TempDir()}
	var err error
	if o.issuer, err = oauthtest.Start(oauthtest.Config{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.issuer.Close)
	server := httptest.NewServer(o.secrets)
	t.Cleanup(server.Close)
	stack := vendor(t)
	text, err := os.ReadFile(stack)
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]any
	if err := json.Unmarshal(text, &members); err != nil {
		t.Fatal(err)
	}
	members["aws_url"], members["client_secret_prefix"], members["policy_secret"] = server.URL, "local/clients/", "local/policy"
	if text, err = json.Marshal(members); err != nil {
		t.Fatal(err)
	}
	o.stack = filepath.Join(o.dir, "stack.json")
	if err := os.WriteFile(o.stack, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return o
}

// document is that of a client of the authorization server, changed by more.
func (o *operated) document(t *testing.T, more map[string]any) string {
	t.Helper()
	members := map[string]any{
		"token_endpoint": o.issuer.TokenEndpoint(), "client_id": "shop", "client_secret": "cnry-secret", "scope": "read",
		"ca_certificates": string(o.issuer.CAPEM()),
	}
	for name, value := range more {
		members[name] = value
	}
	text, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (o *operated) file(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(o.dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func (o *operated) seed(t *testing.T, name, text string) {
	t.Helper()
	if _, err := o.secrets.Seed(name, text); err != nil {
		t.Fatal(err)
	}
}

// run runs a command, none of which may print a credential.
func (o *operated) run(t *testing.T, args ...string) (out, errs string, code int) {
	t.Helper()
	out, errs, code = vendctl(t, append([]string{"--local", o.stack}, args...)...)
	if strings.Contains(out, "cnry-") {
		t.Errorf("%v prints a credential", args)
	}
	return out, errs, code
}

func TestClientIsCheckedAndAdded(t *testing.T) {
	o := newOperated(t)
	o.issuer.Register(oauthtest.Client{ID: "shop", Methods: []string{"client_secret_post"}, Secrets: []string{"cnry-secret"}})
	good := o.file(t, "good.json", o.document(t, nil))
	wrong := o.file(t, "wrong.json", o.document(t, map[string]any{"client_secret": "cnry-wrong"}))
	bad := o.file(t, "bad.json", o.document(t, map[string]any{"Scope": "read", "token_endpoint": "http://cnry-host/token", "client_id": nil}))
	inAWS := o.file(t, "kms.json", `{"token_endpoint": "https://as.example.com/token", "client_id": "c", "kms_key_id": "alias/token-vendor/kept"}`)
	ends := o.file(t, "ends.json", o.document(t, map[string]any{"expires": "2099-01-31"}))
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"client", "check", good}, 0, "client_secret_post"},
		{[]string{"client", "check", ends}, 0, "2099-02-01"},
		{[]string{"client", "check", good, "--exchange"}, 0, "127.0.0.1"},
		{[]string{"client", "check", wrong}, 0, "scope"},
		{[]string{"client", "check", wrong, "--exchange"}, exitCredential, "after five failed logons"},
		{[]string{"client", "check", bad}, exitCredential, "token_endpoint"},
		{[]string{"client", "check", bad + ".none"}, exitNotFound, ""},
		{[]string{"client", "check", "billing"}, exitNotFound, "no such secret"},
		{[]string{"client", "add", "billing", bad}, exitCredential, "scope is meant"},
		{[]string{"client", "add", "billing", wrong}, exitCredential, "invalid_client"},
		{[]string{"client", "add", "team-abc123", good}, exitUsage, "six characters"},
		{[]string{"client", "add", "billing", good}, 0, "version"},
		{[]string{"client", "add", "billing", good}, exitFailed, "exists already"},
		{[]string{"client", "add", "untried", wrong, "--untried"}, 0, "version"},
		{[]string{"client", "check", "billing", "--exchange"}, 0, "client_secret_post"},
		{[]string{"client", "show", "billing"}, 0, "issuer_host"},
		{[]string{"client", "show", "nobody"}, exitNotFound, ""},
		{[]string{"client", "add", "kept", inAWS}, exitFailed, "add it with --untried"},
		{[]string{"client", "add", "kept", inAWS, "--untried"}, 0, "version"},
		{[]string{"client", "list"}, 0, "untried"},
		{[]string{"client", "list"}, 0, "kept"},
		{[]string{"-o", "json", "client", "list"}, 0, `"name":"billing"`},
		{[]string{"-o", "json", "client", "show", "billing"}, 0, `"scope":"read"`},
	} {
		out, errs, code := o.run(t, test.args...)
		if code != test.code || !strings.Contains(out+errs, test.want) {
			t.Errorf("%v: got %d, %q, %q; want %d with %q", test.args, code, out, errs, test.code, test.want)
		}
	}
	if n := o.issuer.FailedLogons("shop"); n != 2 {
		t.Errorf("got %d failed logons, want those of the two wrong exchanges", n)
	}
	// No problem is left out, and none has a value.
	if _, errs, _ := o.run(t, "client", "check", bad); strings.Count(errs, "\n  ") < 3 {
		t.Errorf("got %q, want three problems", errs)
	}
}

// A file whose name has neither a slash nor a dot is taken for a client. If there is none, the error says
// how to name the file.
func TestFileThatIsTakenForAClient(t *testing.T) {
	o := newOperated(t)
	t.Setenv("AWS_REGION", "eu-central-1")
	t.Chdir(o.dir)
	for name, want := range map[string]int{"key": exitNotFound, "KEY_FILE": exitUsage} {
		o.file(t, name, o.document(t, nil))
		if _, errs, code := o.run(t, "client", "check", name); code != want || !strings.Contains(errs, "write ./ before the name") {
			t.Errorf("%s: got %d, %q", name, code, errs)
		}
		if out, errs, code := o.run(t, "client", "check", "./"+name); code != 0 {
			t.Errorf("./%s: got %d, %q, %q", name, code, out, errs)
		}
		if _, errs, code := vendctl(t, "client", "check", name); code != exitUsage || !strings.Contains(errs, "write ./ before the name") {
			t.Errorf("%s without a vendor: got %d, %q", name, code, errs)
		}
	}
	o.seed(t, "local/clients/key", o.document(t, map[string]any{"scope": "stored"}))
	if out, errs, code := o.run(t, "client", "check", "key"); code != 0 || !strings.Contains(out, "stored") {
		t.Errorf("a client: got %d, %q, %q", code, out, errs)
	}
	if _, errs, code := o.run(t, "client", "check", "nobody"); code != exitNotFound || strings.Contains(errs, "./") {
		t.Errorf("without a file: got %d, %q", code, errs)
	}
}

func TestClientRollback(t *testing.T) {
	o := newOperated(t)
	first := o.document(t, map[string]any{"scope": "first"})
	o.seed(t, "local/clients/billing", first)
	if _, errs, code := o.run(t, "client", "rollback", "billing"); code != exitNotFound {
		t.Errorf("without a previous version: got %d, %q", code, errs)
	}
	o.seed(t, "local/clients/billing", o.document(t, map[string]any{"scope": "second"}))
	for _, want := range []string{"first", "second"} {
		if _, errs, code := o.run(t, "client", "rollback", "billing"); code != 0 {
			t.Fatalf("got %d, %q", code, errs)
		}
		if out, _, _ := o.run(t, "client", "show", "billing"); !strings.Contains(out, want) {
			t.Errorf("got %q, want the scope %s", out, want)
		}
	}
}

// The SDK repeats a call whose answer was lost, and the second one fails.
func TestLostAnswerOfSecretsManagerIsNoConflict(t *testing.T) {
	o := newOperated(t)
	o.seed(t, "local/clients/billing", o.document(t, map[string]any{"scope": "first"}))
	o.seed(t, "local/clients/billing", o.document(t, map[string]any{"scope": "second"}))
	o.seed(t, "local/policy", `{"rules": []}`)
	for _, args := range [][]string{{"client", "rollback", "billing"}, {"freeze", "billing"}} {
		calls := o.secrets.Calls("UpdateSecretVersionStage")
		o.secrets.Inject("UpdateSecretVersionStage", 1, awsjson.Fault{Reset: true, Done: true})
		if _, errs, code := o.run(t, args...); code != 0 || errs != "" || o.secrets.Calls("UpdateSecretVersionStage") != calls+2 {
			t.Errorf("%v: got %d, %q", args, code, errs)
		}
		o.secrets.Fail("UpdateSecretVersionStage", 1, "InvalidParameterException")
		if args[0] == "freeze" {
			args[0] = "unfreeze"
		}
		if _, errs, code := o.run(t, args...); code != exitFailed || !strings.Contains(errs, "somebody else") {
			t.Errorf("%v after another change: got %d, %q", args, code, errs)
		}
	}
	if out, _, _ := o.run(t, "client", "show", "billing"); !strings.Contains(out, "first") {
		t.Errorf("got %q, want the scope of the previous version", out)
	}
}

// A server that does not answer says nothing about the credential.
func TestTemporaryFailureIsNotTheCredentials(t *testing.T) {
	o := newOperated(t)
	o.issuer.Register(oauthtest.Client{ID: "shop", Methods: []string{"client_secret_post"}, Secrets: []string{"cnry-secret"}})
	o.issuer.Misbehave(oauthtest.Answer(503, "", ""))
	good := o.file(t, "good.json", o.document(t, nil))
	for _, args := range [][]string{{"client", "check", good, "--exchange"}, {"client", "add", "billing", good}} {
		if _, errs, code := o.run(t, args...); code != exitTemporary || !strings.Contains(errs, "try again later") || strings.Contains(errs, "not valid") {
			t.Errorf("%v: got %d, %q", args, code, errs)
		}
	}
}

// A client that does not exist can be frozen, but its name may be mistyped.
func TestUnknownClientIsNamed(t *testing.T) {
	o := newOperated(t)
	o.seed(t, "local/policy", `{"rules": []}`)
	o.seed(t, "local/clients/billing", o.document(t, nil))
	text, err := os.ReadFile(o.stack)
	if err != nil {
		t.Fatal(err)
	}
	log := o.file(t, "log", "")
	o.file(t, "stack.json", strings.Replace(string(text), "{", `{"log": "`+log+`", `, 1))
	for _, command := range []string{"freeze", "unfreeze", "who-holds"} {
		for name, want := range map[string]string{"billing": "", "bilng": "vendctl: warning: there is no client bilng now: check the name\n"} {
			if out, errs, code := o.run(t, command, name); code != 0 || errs != want || out == "" {
				t.Errorf("%s %s: got %d, %q, %q", command, name, code, out, errs)
			}
		}
	}
}

func TestFreeze(t *testing.T) {
	o := newOperated(t)
	if _, errs, code := o.run(t, "freeze", "payroll"); code != exitNotFound {
		t.Errorf("without a policy: got %d, %q", code, errs)
	}
	// The local stack without -policy has the name of a secret that has no effect.
	text, err := os.ReadFile(o.stack)
	if err != nil {
		t.Fatal(err)
	}
	o.seed(t, "local/policy", `{"rules": []}`)
	o.file(t, "stack.json", strings.Replace(string(text), "{", `{"policy_mode": "iam", `, 1))
	if _, errs, code := o.run(t, "freeze", "payroll"); code != exitNotFound || !strings.Contains(errs, "start the local stack with -policy FILE") {
		t.Errorf("a stack without a policy: got %d, %q", code, errs)
	}
	o.file(t, "stack.json", string(text))
	o.seed(t, "local/policy", `{"freeze": ["old-*"], "rules": [{"name": "all", "callers": ["direct:*"], "clients": ["*"]}]}`)
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"freeze", "payroll"}, 0, "is frozen"},
		{[]string{"freeze", "payroll"}, 0, "says so already"},
		{[]string{"freeze", "old-x"}, 0, "says so already"},
		{[]string{"unfreeze", "old-x"}, exitFailed, "several clients"},
		{[]string{"unfreeze", "payroll"}, 0, "not frozen any more"},
		{[]string{"unfreeze", "payroll"}, 0, "says so already"},
	} {
		if out, errs, code := o.run(t, test.args...); code != test.code || !strings.Contains(out+errs, test.want) {
			t.Errorf("%v: got %d, %q, %q; want %d with %q", test.args, code, out, errs, test.code, test.want)
		}
	}
	o.seed(t, "local/policy", `{"rules": 1}`)
	if _, errs, code := o.run(t, "freeze", "payroll"); code != exitFailed || !strings.Contains(errs, "not valid") {
		t.Errorf("a broken policy: got %d, %q", code, errs)
	}
}
