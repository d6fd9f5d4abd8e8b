package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"tokenvendor/scripts/local/runtimeapi"
	"tokenvendor/shared/oauth/oauthtest"
)

// line waits for the audit line of a client and returns its detail. The output comes through a
// pipe, so that it may be later than the answer.
func line(t *testing.T, logs *output, client string) (detail string) {
	t.Helper()
	for range 200 {
		for text := range strings.Lines(logs.String()) {
			var l struct{ Client, Detail string }
			if json.Unmarshal([]byte(text), &l) == nil && l.Client == client && l.Detail != "" {
				return l.Detail
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%s: got no audit line with a detail", client)
	return ""
}

// brokenSecrets is Secrets Manager with the secrets of e, and with one for each of its errors.
func brokenSecrets(t *testing.T, e *env) string {
	const user = "User: arn:aws:sts::111122223333:assumed-role/cnry/cnry is not authorized to perform: secretsmanager:GetSecretValue on resource: cnry-kms"
	answers := map[string][2]string{
		"missing":        {"ResourceNotFoundException", "Secrets Manager can't find the specified secret."},
		"without-value":  {"ResourceNotFoundException", "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT"},
		"deleted":        {"InvalidRequestException", "You can't perform this operation on the secret because it was marked for deletion."},
		"iam":            {"AccessDeniedException", user},
		"kms":            {"AccessDeniedException", "Access to KMS is not allowed"},
		"policy-missing": {"ResourceNotFoundException", "Secrets Manager can't find the specified secret."},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var in struct{ SecretId string } //nolint:revive,staticcheck // AWS's spelling
		_ = json.Unmarshal(body, &in)
		answer, ok := answers[strings.TrimPrefix(in.SecretId, testPrefix)]
		if !ok {
			r.Body = io.NopCloser(strings.NewReader(string(body)))
			e.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{"__type": answer[0], "Message": answer[1]})
	}))
	t.Cleanup(server.Close)
	return "AWS_ENDPOINT_URL_SECRETS_MANAGER=" + server.URL
}

// The operator sees what is wrong with a secret. The callers get one answer for all secrets that
// are not there.
func TestBinarySaysWhyASecretCannotBeRead(t *testing.T) {
	logs := new(output)
	function := startBinary(t, runtimeapi.Config{MaxConcurrency: 1, Stdout: logs, Stderr: logs, Env: []string{brokenSecrets(t, newEnv(t)), "CLIENT_SECRET_PREFIX=" + testPrefix}})
	bodies := make(map[string]bool)
	id := regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}`)
	for _, test := range []struct{ client, want, code string }{
		{"missing", "no such secret", "access_denied"},
		{"without-value", "the secret has no value with the label AWSCURRENT", "access_denied"},
		{"deleted", "the secret is scheduled for deletion", "access_denied"},
		{"iam", "access denied by IAM", "server_error"},
		{"kms", "access denied by KMS: check kms:Decrypt", "server_error"},
	} {
		result, err := function.Invoke(t.Context(), runtimeapi.Invocation{Payload: []byte(`{"client":"` + test.client + `"}`), Qualifier: "direct"})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(result.Payload), `"`+test.code+`"`) {
			t.Errorf("%s: got %s, want %s", test.client, result.Payload, test.code)
		}
		if test.code == "access_denied" {
			bodies[id.ReplaceAllString(string(result.Payload), "")] = true
		}
		if got := line(t, logs, test.client); !strings.Contains(got, test.want) {
			t.Errorf("%s: got the detail %q, want %q", test.client, got, test.want)
		}
	}
	if len(bodies) != 1 {
		t.Errorf("got %d different answers for secrets that are not there, want one", len(bodies))
	}
	checkCanaries(t, "the output", logs.String())
}

func TestBinarySaysThatThePolicyIsMissing(t *testing.T) {
	logs := new(output)
	function := startBinary(t, runtimeapi.Config{MaxConcurrency: 1, Stdout: logs, Stderr: logs, Env: []string{
		brokenSecrets(t, newEnv(t)), "CLIENT_SECRET_PREFIX=" + testPrefix, "POLICY_MODE=document", "POLICY_SECRET_ID=policy-missing",
	}})
	if _, err := function.Invoke(t.Context(), runtimeapi.Invocation{Payload: []byte(`{"client":"billing"}`), Qualifier: "direct"}); err != nil {
		t.Fatal(err)
	}
	if got := line(t, logs, "billing"); !strings.Contains(got, "there is no policy (POLICY_SECRET_ID): secretsmanager: no such secret") || strings.Contains(got, "client") {
		t.Errorf("got the detail %q, want one about the policy and no client", got)
	}
}

// Errors of the authorization server and of certificates say what to check.
func TestBinarySaysWhatToCheck(t *testing.T) {
	a := newStack(t)
	until := time.Now().Add(-time.Hour).UTC().Truncate(time.Second)
	expired, err := oauthtest.SelfSigned(oauthtest.Leaf{CommonName: "old", NotAfter: until})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, answer, detail string // answer: a part of the caller's answer
		members              members
	}{
		{"wrong-secret", "status 401", "compare client_id, client_secret, token_endpoint_auth_method and, with a certificate, its SHA-256 fingerprint", members{"client_secret": "cnry-other"}},
		{"locked", "status 401", "after five failed logons SAP's servers answer so for an hour", members{"client_secret": "cnry-another"}},
		{"wrong-path", "check token_endpoint", "check token_endpoint", members{"client_secret": "cnry-secret-wrong-path", "token_endpoint": a.issuer.URL() + "/cnry-path"}},
		{"expired", "certificate has expired", "it was valid until " + until.Format(time.RFC3339), members{
			"certificate": oauthtest.CertificatePEM(expired.Chain...), "private_key": a.keyPEM(expired.Key), "token_endpoint_auth_method": "self_signed_tls_client_auth",
		}},
		{"shut", "could not be reached", "it does not accept connections", members{"client_secret": "cnry-secret-shut", "token_endpoint": "https://127.0.0.1:1/"}},
	} {
		a.client(test.name, oauthtest.Client{}, test.members)
		before := a.answers.Len()
		if a.ask(test.name) {
			t.Errorf("%s: got a token", test.name)
		}
		answer := a.answers.String()[before:]
		if !strings.Contains(answer, test.answer) || strings.Contains(answer, "fingerprint") {
			t.Errorf("%s: got %s, want %q and no advice for operators", test.name, answer, test.answer)
		}
		if got := line(t, a.logs, test.name); !strings.Contains(got, test.detail) {
			t.Errorf("%s: got the detail %q, want %q", test.name, got, test.detail)
		}
	}
	for i, test := range []struct{ text, want string }{
		{"{\n  \"client_id\": \"cnry\",\n}", "a comma before } or ] at line 3, column 1"},
		{`{'client_id': 'cnry'}`, "a single quote: use double quotes at line 1, column 2"},
		{`"{\"client_id\":\"cnry\"}"`, "client_secret is missing"}, // a document in a string is read
	} {
		name := fmt.Sprintf("syntax-%d", i)
		a.store("token-vendor/clients/"+name, test.text)
		a.ask(name)
		if got := line(t, a.logs, name); !strings.Contains(got, test.want) {
			t.Errorf("%q: got the detail %q, want %q", test.text, got, test.want)
		}
	}
	checkCanaries(t, "the output", a.logs.String())
	checkCanaries(t, "an answer", a.answers.String())
}
