package main

import (
	"crypto"
	"encoding/json"
	"fmt"
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

// unreliable is an AWS endpoint that can be made to fail with texts that nobody may
// see.
type unreliable struct {
	next http.Handler
	code atomic.Pointer[string] // nil: it works
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

func (u *unreliable) fail(code string) {
	if u.code.Store(&code); code == "" {
		u.code.Store(nil)
	}
}

// aviary is a function in its own process with everything around it, and a canary in
// everything that must not be seen.
type aviary struct {
	t        *testing.T
	issuer   *oauthtest.Server
	secrets  *secretsmanager.Server
	keys     *kms.Server
	table    *dynamodb.Server
	aws      map[string]*unreliable // by service
	function *runtimeapi.Runtime
	logs     *output
	answers  strings.Builder
	// hidden are further texts that must not be seen.
	hidden []string
}

func newAviary(t *testing.T, env ...string) *aviary {
	t.Helper()
	binary, err := buildBinary()
	if err != nil {
		t.Fatal(err)
	}
	const region, account = "eu-central-1", "111122223333"
	a := &aviary{t: t, issuer: oauthtest.NewServer(t, oauthtest.Config{}), aws: make(map[string]*unreliable), logs: new(output)}
	a.secrets = secretsmanager.New(secretsmanager.Config{Region: region, Account: account})
	a.keys = kms.New(kms.Config{Region: region, Account: account})
	a.table = dynamodb.New(dynamodb.Config{Region: region, Account: account})
	if _, err := a.keys.AddKey("SYMMETRIC_DEFAULT", "cache"); err != nil {
		t.Fatal(err)
	}
	if err := a.table.AddTable("cache", "name", "expires_at"); err != nil {
		t.Fatal(err)
	}
	env = append([]string{
		"AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY=cnry-aws-key", "AWS_SESSION_TOKEN=cnry-aws-session",
		"ENVELOPE_PROOF=" + testProof, "HTTP_ALIAS=" + testAlias, "ALLOW_PRIVATE_ENDPOINTS=true",
		"CACHE_TABLE=cache", "CACHE_KMS_KEY_ID=alias/cache", "WEB_IDENTITY_AUDIENCES=" + a.issuer.Issuer(),
	}, env...)
	for service, next := range map[string]http.Handler{"SECRETS_MANAGER": a.secrets, "KMS": a.keys, "DYNAMODB": a.table, "STS": http.NotFoundHandler()} {
		a.aws[service] = &unreliable{next: next}
		server := httptest.NewServer(a.aws[service])
		t.Cleanup(server.Close)
		env = append(env, "AWS_ENDPOINT_URL_"+service+"="+server.URL)
	}
	a.function, err = runtimeapi.Start(runtimeapi.Config{
		Binary: binary, FunctionName: "cnry-function", Region: region, Account: account, Timeout: 20 * time.Second,
		MaxConcurrency: 8, Stdout: a.logs, Stderr: a.logs, Env: env,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.function.Close() })
	return a
}

// client registers a client and stores its document; members go into the document.
func (a *aviary) client(name string, register oauthtest.Client, members map[string]any) {
	a.t.Helper()
	register.ID = "cnry-id-" + name
	if register.Methods == nil {
		register.Methods, register.Secrets = []string{"client_secret_post", "client_secret_basic"}, []string{"cnry-secret-" + name}
	}
	a.issuer.Register(register)
	document := map[string]any{"token_endpoint": a.issuer.TokenEndpoint(), "client_id": register.ID, "ca_certificates": string(a.issuer.CAPEM())}
	for member, value := range members {
		document[member] = value
	}
	text, err := json.Marshal(document)
	if err != nil {
		a.t.Fatal(err)
	}
	a.store("token-vendor/clients/"+name, string(text))
}

func (a *aviary) store(name, text string) {
	a.t.Helper()
	if _, err := a.secrets.Seed(name, text); err != nil {
		a.t.Fatal(err)
	}
}

// invoke sends a payload, keeps the answer without the token that belongs there, and
// reports whether there was one.
func (a *aviary) invoke(payload string) bool {
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

func (a *aviary) ask(client string) bool { return a.invoke(`{"client":"` + client + `"}`) }

// keyPEM makes a key whose lines must not be seen.
func (a *aviary) keyPEM(key crypto.Signer) string {
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

// search looks through all that somebody can read who has neither the secrets nor the
// keys: the function's output, its answers, and the table.
func (a *aviary) search() {
	a.t.Helper()
	items, err := json.Marshal(a.table.Items("cache"))
	if err != nil {
		a.t.Fatal(err)
	}
	if len(a.table.Items("cache")) == 0 {
		a.t.Error("nothing is in the table, so nothing was searched there")
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

// TestNoOutputShowsASecret drives every kind of credential, every misbehaviour of an
// authorization server and every failure of AWS through the compiled function at the
// most and the least talkative level.
func TestNoOutputShowsASecret(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the function and runs it")
	}
	for _, level := range []string{"debug", "error"} {
		t.Run(level, func(t *testing.T) {
			disk := t.TempDir()
			a := newAviary(t, "LOG_LEVEL="+level, "TMPDIR="+disk, "HOME="+disk)
			a.credentials()
			a.brokenDocuments()
			a.badServers()
			a.badAWS()
			a.search()
			// S-25: nothing is written to disk.
			if files, err := os.ReadDir(disk); err != nil || len(files) > 0 {
				t.Errorf("the function left %d files behind, %v", len(files), err)
			}
		})
	}
}

// credentials gets a token by each kind of credential, and then by a wrong one.
func (a *aviary) credentials() {
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
			a.t.Errorf("no token for %s: %s", name, a.logs.String())
		}
		// The same credential, and none that this client has.
		register := jwt(public)
		if name == "kms" {
			register = jwt(key.Public())
		}
		members := map[string]any{}
		for member, value := range c.members {
			members[member] = value
		}
		if name == "kms" {
			if _, err := a.keys.AddKey("ECC_NIST_P256", "token-vendor/wrong-kms"); err != nil {
				a.t.Fatal(err)
			}
			members["kms_key_id"] = "alias/token-vendor/wrong-kms"
		}
		a.client("wrong-"+name, register, members)
		for range 2 {
			if a.ask("wrong-" + name) {
				a.t.Errorf("a wrong %s brought a token", name)
			}
		}
	}
}

// brokenDocuments are read in vain; each has canaries where it is broken.
func (a *aviary) brokenDocuments() {
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
			a.t.Errorf("document %d brought a token", i)
		}
	}
	for i, text := range []string{"cnry", `{"client_id":"cnry`, `{"cnry":"cnry"}`, `["cnry"]`, `"cnry"`, ` `, "cnry\x00"} {
		name := fmt.Sprintf("text-%d", i)
		a.store("token-vendor/clients/"+name, text)
		a.ask(name)
	}
}

// badServers answer with canaries in every place of an answer.
func (a *aviary) badServers() {
	for i, fault := range []oauthtest.Fault{
		oauthtest.Answer(500, "text/html", "<h1>cnry-body</h1>"), oauthtest.Answer(200, "application/json", `{"cnry":"cnry"}`),
		oauthtest.Answer(200, "application/json", `{"access_token":"cnry\r\ntoken","token_type":"Bearer"}`),
		oauthtest.Answer(200, "application/json", `{"access_token":"cnry-token","token_type":"cnry-type"}`),
		// A code and a description that follow RFC 6749 are for the caller.
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

// badAWS fails with texts that hold ARNs and accounts.
func (a *aviary) badAWS() {
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
				a.t.Errorf("%s with %s: a token", service, code)
			}
			endpoint.fail("")
		}
	}
}
