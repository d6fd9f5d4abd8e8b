package main

import (
	"crypto"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tokenvendor/scripts/local/dynamodb"
	"tokenvendor/scripts/local/kms"
	"tokenvendor/scripts/local/runtimeapi"
	"tokenvendor/scripts/local/secretsmanager"
	"tokenvendor/shared/oauth/oauthtest"
)

const canaryARN = "arn:aws:kms:eu-central-1:111122223333:key/cnry-key"

// unreliable is an AWS endpoint that can be made to fail with texts that no output may hold.
type unreliable struct {
	next http.Handler
	code atomic.Pointer[string] // of the error of every call; nil: none
}

func (u *unreliable) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	code := u.code.Load()
	switch {
	case code == nil:
		u.next.ServeHTTP(w, r)
	case strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded"):
		w.WriteHeader(http.StatusForbidden)
		_, _ = fmt.Fprintf(w, `<ErrorResponse><Error><Code>%s</Code><Message>cnry-message %s</Message></Error></ErrorResponse>`, *code, canaryARN)
	default:
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{"__type": *code, "message": "cnry-message " + canaryARN, "cnry-member": "cnry-value"})
	}
}

// fail lets every call fail with this code; empty: none.
func (u *unreliable) fail(code string) {
	if u.code.Store(&code); code == "" {
		u.code.Store(nil)
	}
}

// stack is the compiled function with an authorization server and all services of AWS. All
// values that no output may hold begin with "cnry-", or are in hidden.
type stack struct {
	t        *testing.T
	issuer   *oauthtest.Server
	secrets  *secretsmanager.Server
	keys     *kms.Server
	table    *dynamodb.Server
	aws      map[string]*unreliable // by service
	function *runtimeapi.Runtime
	logs     *output
	answers  strings.Builder
	// hidden are tokens and lines of keys.
	hidden []string
}

func newStack(t *testing.T, env ...string) *stack {
	t.Helper()
	const region, account = "eu-central-1", "111122223333"
	a := &stack{t: t, issuer: oauthtest.NewServer(t, oauthtest.Config{}), aws: make(map[string]*unreliable), logs: new(output)}
	a.secrets = secretsmanager.New(secretsmanager.Config{Region: region, Account: account})
	a.keys = kms.New(kms.Config{Region: region, Account: account})
	a.table = dynamodb.New(dynamodb.Config{Region: region, Account: account})
	if _, err := a.keys.AddKey("SYMMETRIC_DEFAULT", "cache"); err != nil {
		t.Fatal(err)
	}
	if err := a.table.AddTable("cache", "name", "expires_at"); err != nil {
		t.Fatal(err)
	}
	env = append([]string{"CACHE_TABLE=cache", "CACHE_KMS_KEY_ID=alias/cache", "WEB_IDENTITY_AUDIENCES=" + a.issuer.Issuer()}, env...)
	for service, next := range map[string]http.Handler{"SECRETS_MANAGER": a.secrets, "KMS": a.keys, "DYNAMODB": a.table, "STS": http.NotFoundHandler()} {
		a.aws[service] = &unreliable{next: next}
		server := httptest.NewServer(a.aws[service])
		t.Cleanup(server.Close)
		env = append(env, "AWS_ENDPOINT_URL_"+service+"="+server.URL)
	}
	a.function = startBinary(t, runtimeapi.Config{MaxConcurrency: 8, Stdout: a.logs, Stderr: a.logs, Env: env})
	return a
}

// client registers a client and stores its document, changed by members.
func (a *stack) client(name string, register oauthtest.Client, members map[string]any) {
	a.t.Helper()
	register.ID = "cnry-id-" + name
	if register.Methods == nil {
		register.Methods, register.Secrets = []string{"client_secret_post", "client_secret_basic"}, []string{"cnry-secret-" + name}
	}
	a.issuer.Register(register)
	document := map[string]any{"token_endpoint": a.issuer.TokenEndpoint(), "client_id": register.ID, "ca_certificates": string(a.issuer.CAPEM())}
	maps.Copy(document, members)
	text, err := json.Marshal(document)
	if err != nil {
		a.t.Fatal(err)
	}
	a.store("token-vendor/clients/"+name, string(text))
}

func (a *stack) store(name, text string) {
	a.t.Helper()
	if _, err := a.secrets.Seed(name, text); err != nil {
		a.t.Fatal(err)
	}
}

// invoke sends a payload, records the answer without its token, and reports whether there was a
// token.
func (a *stack) invoke(payload string) bool {
	a.t.Helper()
	result, err := a.function.Invoke(a.t.Context(), runtimeapi.Invocation{Payload: []byte(payload), Qualifier: "direct"})
	if err != nil {
		a.t.Fatal(err)
	}
	var answer struct {
		Token string `json:"access_token"`
	}
	_ = json.Unmarshal(result.Payload, &answer)
	text := string(result.Payload)
	if answer.Token != "" {
		a.hidden = append(a.hidden, answer.Token)
		text = strings.ReplaceAll(text, answer.Token, "")
	}
	a.answers.WriteString(text + "\n")
	return answer.Token != ""
}

func (a *stack) ask(client string) bool { return a.invoke(`{"client":"` + client + `"}`) }

// keyPEM returns a key in PEM, and adds its lines to hidden.
func (a *stack) keyPEM(key crypto.Signer) string {
	a.t.Helper()
	text, err := oauthtest.KeyPEM(key)
	if err != nil {
		a.t.Fatal(err)
	}
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); len(line) == 64 {
			a.hidden = append(a.hidden, line)
		}
	}
	return text
}

// search fails the test if the output of the function, its answers or the table hold a canary,
// a hidden text, a key or an ARN. Principals without access to the secrets and the keys can read
// all three.
func (a *stack) search() {
	a.t.Helper()
	items, err := json.Marshal(a.table.Items("cache"))
	if err != nil {
		a.t.Fatal(err)
	}
	if len(a.table.Items("cache")) == 0 {
		a.t.Error("got an empty table, want rows to search")
	}
	for where, text := range map[string]string{"the output": a.logs.String(), "an answer": a.answers.String(), "the table": string(items)} {
		checkCanaries(a.t, where, text)
		for _, hidden := range a.hidden {
			if strings.Contains(text, hidden) {
				a.t.Errorf("%s holds a token or a line of a key", where)
			}
		}
		for _, part := range []string{"BEGIN", "arn:aws:kms", "arn:aws:secretsmanager", "eyJhbGciOi"} {
			if strings.Contains(text, part) {
				a.t.Errorf("%s holds %q", where, part)
			}
		}
	}
}

// The test uses every kind of credential, every fault of an authorization server and every
// failure of AWS, at the highest and the lowest log level.
func TestNoOutputShowsASecret(t *testing.T) {
	for _, level := range []string{"debug", "error"} {
		t.Run(level, func(t *testing.T) {
			t.Parallel()
			disk := t.TempDir()
			a := newStack(t, "LOG_LEVEL="+level, "TMPDIR="+disk, "HOME="+disk)
			a.credentials()
			a.brokenDocuments()
			a.badServers()
			a.badAWS()
			a.search()
			if files, err := os.ReadDir(disk); err != nil || len(files) > 0 {
				t.Errorf("got %d files on disk, %v; want none", len(files), err)
			}
		})
	}
}

// credentials asks for a token with each kind of credential, and then with a wrong one.
func (a *stack) credentials() {
	key, err := oauthtest.NewKey(oauthtest.RSA2048)
	if err != nil {
		a.t.Fatal(err)
	}
	issued, err := oauthtest.SelfSigned(oauthtest.Leaf{CommonName: "self"})
	if err != nil {
		a.t.Fatal(err)
	}
	if _, err := a.keys.AddKey("ECC_NIST_P256", "token-vendor/kms"); err != nil {
		a.t.Fatal(err)
	}
	public, err := a.keys.Public("alias/token-vendor/kms")
	if err != nil {
		a.t.Fatal(err)
	}
	jwt := func(k crypto.PublicKey) oauthtest.Client {
		return oauthtest.Client{Methods: []string{"private_key_jwt"}, Keys: map[string]crypto.PublicKey{"": k}}
	}
	certificate := map[string]any{"certificate": oauthtest.CertificatePEM(issued.Chain...), "private_key": a.keyPEM(issued.Key), "token_endpoint_auth_method": "self_signed_tls_client_auth"}
	selfSigned := oauthtest.Client{Methods: []string{"self_signed_tls_client_auth"}, Thumbprint: oauthtest.Thumbprint(issued.Chain[0])}
	for name, c := range map[string]struct {
		register oauthtest.Client
		members  map[string]any
	}{
		"post":   {members: map[string]any{"client_secret": "cnry-secret-post"}},
		"basic":  {members: map[string]any{"client_secret": "cnry-secret-basic", "token_endpoint_auth_method": "client_secret_basic"}},
		"jwt":    {jwt(key.Public()), map[string]any{"private_key": a.keyPEM(key)}},
		"kms":    {jwt(public), map[string]any{"kms_key_id": "alias/token-vendor/kms"}},
		"mtls":   {selfSigned, certificate},
		"shadow": {members: map[string]any{"client_secret": "cnry-secret-shadow", "shadow": map[string]any{"client_secret": "cnry-other"}}},
	} {
		a.client(name, c.register, c.members)
		if !a.ask(name) {
			a.t.Errorf("%s: got no token: %s", name, a.logs.String())
		}
		// The same credential, which the server does not know for this client.
		register := jwt(public)
		if name == "kms" {
			register = jwt(key.Public())
		}
		members := maps.Clone(c.members)
		if name == "kms" {
			if _, err := a.keys.AddKey("ECC_NIST_P256", "token-vendor/wrong-kms"); err != nil {
				a.t.Fatal(err)
			}
			members["kms_key_id"] = "alias/token-vendor/wrong-kms"
		}
		a.client("wrong-"+name, register, members)
		for range 2 {
			if a.ask("wrong-" + name) {
				a.t.Errorf("%s: got a token with a wrong credential", name)
			}
		}
	}
}

// brokenDocuments asks for tokens of broken documents, which have canaries where they are
// broken.
func (a *stack) brokenDocuments() {
	for i, members := range []map[string]any{
		{"client_secret": "cnry-secret", "cnry-member": "cnry-value"},
		{"client_secret": []string{"cnry-secret"}},
		{"client_secret": "cnry-secret\n"},
		{"private_key": "-----BEGIN PRIVATE KEY-----\ncnrycnry\n-----END PRIVATE KEY-----\n"},
		{"pkcs12": "Y25yeQ==", "pkcs12_password": "cnry-password"},
		{"client_secret": "cnry-secret", "token_endpoint": "https://cnry-user:cnry-password@host/"},
		{"client_secret": "cnry-secret", "token_endpoint": "https://169.254.169.254/cnry-path"},
		{"client_secret": "cnry-secret", "ca_certificates": "cnry-pem"},
		{"client_secret": "cnry-secret", "parameters": map[string]any{"x": "cnry\n"}},
		{"client_secret": "cnry-secret", "token_endpoint_auth_method": "cnry-method"},
		{"kms_key_id": "alias/token-vendor/cnry"},
		{"token_endpoint_auth_method": "aws_web_identity", "assertion_audience": "cnry-audience"},
		{"client_secret": "cnry-secret", "shadow": map[string]any{"client_secret": "cnry-shadow\n"}},
	} {
		name := fmt.Sprintf("broken-%d", i)
		a.client(name, oauthtest.Client{}, members)
		if a.ask(name) {
			a.t.Errorf("document %d: got a token", i)
		}
	}
	for i, text := range []string{"cnry", `{"client_id":"cnry`, `{"cnry":"cnry"}`, `["cnry"]`, `"cnry"`, ` `, "cnry\x00"} {
		name := fmt.Sprintf("text-%d", i)
		a.store("token-vendor/clients/"+name, text)
		a.ask(name)
	}
}

// badServers asks for tokens of servers that answer with canaries in every part of the answer.
func (a *stack) badServers() {
	for i, fault := range []oauthtest.Fault{
		oauthtest.Answer(500, "text/html", "<h1>cnry-body</h1>"), oauthtest.Answer(200, "application/json", `{"cnry":"cnry"}`),
		oauthtest.Answer(200, "application/json", `{"access_token":"cnry\r\ntoken","token_type":"Bearer"}`),
		oauthtest.Answer(200, "application/json", `{"access_token":"cnry-token","token_type":"cnry-type"}`),
		// A code and a description that follow RFC 6749 reach the caller.
		oauthtest.Answer(400, "application/json", `{"error":"cnry\u0007error","error_description":"plain words","error_uri":"https://cnry/","cnry":"cnry"}`),
		oauthtest.RefuseWith(401, "invalid_client", "cnry-description"), oauthtest.RefuseWith(400, "invalid_client", "cnry-description"),
		oauthtest.Echo(400, "invalid_request"), oauthtest.Echo(401, "invalid_client"), oauthtest.Echo(500, "server_error"),
		oauthtest.HTML429("cnry"), oauthtest.Redirect(302, "https://cnry.example/cnry-path"), oauthtest.WrongContentType,
		oauthtest.Reset, oauthtest.Lost, oauthtest.Truncated, oauthtest.Huge(400, 2<<20), oauthtest.HugeHeader(2 << 20), oauthtest.DateSkew(time.Hour),
		oauthtest.Members(map[string]any{"refresh_token": "cnry-refresh", "id_token": "cnry-id", "expires_in": "cnry"}),
		oauthtest.Members(map[string]any{"scope": "cnry\"scope"}),
	} {
		name := fmt.Sprintf("fault-%d", i)
		a.client(name, oauthtest.Client{}, map[string]any{"client_secret": "cnry-secret-" + name})
		a.issuer.Misbehave(fault)
		a.ask(name)
		a.issuer.Behave()
	}
}

// badAWS asks for tokens while each service fails with texts that hold ARNs and accounts.
func (a *stack) badAWS() {
	for i, code := range []string{"AccessDeniedException", "ThrottlingException", "InternalServiceError", "DecryptionFailure", "cnry-code cnry"} {
		for service, endpoint := range a.aws {
			name := fmt.Sprintf("aws-%d-%s", i, strings.ToLower(strings.ReplaceAll(service, "_", "-")))
			members := map[string]any{"client_secret": "cnry-secret-" + name}
			switch service {
			case "KMS":
				if _, err := a.keys.AddKey("ECC_NIST_P256", "token-vendor/"+name); err != nil {
					a.t.Fatal(err)
				}
				members = map[string]any{"kms_key_id": "alias/token-vendor/" + name}
			case "STS":
				members = map[string]any{"token_endpoint_auth_method": "aws_web_identity", "assertion_audience": a.issuer.Issuer()}
			}
			a.client(name, oauthtest.Client{}, members)
			endpoint.fail(code)
			if a.ask(name) && service != "DYNAMODB" {
				a.t.Errorf("%s with %s: got a token", service, code)
			}
			endpoint.fail("")
		}
	}
}
