package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tokenvendor/scripts/local/secretsmanager"
)

const batchARN = "arn:aws:lambda:eu-central-1:111122223333:function:batch:jobs"

// batchLambda answers an invoke of the batch function by the name of the client.
func batchLambda(t *testing.T, answers map[string]string) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var event struct{ Radar []string }
		body, _ := io.ReadAll(r.Body)
		if r.URL.Path != "/2015-03-31/functions/"+batchARN+"/invocations" || json.Unmarshal(body, &event) != nil || len(event.Radar) != 1 ||
			string(body) != `{"radar":["`+event.Radar[0]+`"]}` || !strings.Contains(r.Header.Get("Authorization"), "/eu-central-1/lambda/aws4_request") {
			t.Errorf("got a call of %s with %s", r.URL.Path, body)
		}
		switch event.Radar[0] {
		case "failed":
			w.Header().Set("X-Amz-Function-Error", "Unhandled")
		case "denied":
			w.WriteHeader(http.StatusForbidden)
		}
		_, _ = io.WriteString(w, answers[event.Radar[0]])
	}))
	t.Cleanup(server.Close)
	return server
}

// Each state has an exit code, in the account of a stack and with the file of a local one.
func TestRereadSaysWhatTheVendorFound(t *testing.T) {
	found := func(name, state, more string) string {
		return fmt.Sprintf(`{"results":[{"client":%q,"state":%q%s}]}`, name, state, more)
	}
	answers := map[string]string{
		"good":      found("good", "good", `,"days_to_expiry":20,"events":["CredentialRecovered","x\u001b"]`),
		"wrong":     found("wrong", "rejected", `,"problem":"server_error: invalid_client\u001b[2J"`),
		"stand-in":  found("stand-in", "candidate_refused", ""),
		"document":  found("document", "failing", `,"problem":"server_error: scope"`),
		"down":      found("down", "temporarily_failing", `,"problem":"temporarily_unavailable: 503"`),
		"no-table":  found("no-table", "unknown", `,"problem":"the shared table cannot be used now"`),
		"nobody":    found("nobody", "unknown", `,"problem":"access_denied"`),
		"new-state": found("new-state", "odd", ""),
		"other":     found("good", "good", ""), "none": `{"results":[]}`, "list": `[]`, "announced": `{"client":"announced","claim":"cnry-claim"}`,
		"failed": `{"errorType":"temporarily_unavailable","errorMessage":"later"}`, "denied": `{"Message":"User: cnry-arn is not authorized"}`,
	}
	lambda := batchLambda(t, answers)
	secrets := secretsmanager.New(secretsmanager.Config{})
	for name := range answers {
		if name != "nobody" {
			if _, err := secrets.Seed("vendor/clients/"+name, "cnry-document"); err != nil {
				t.Fatal(err)
			}
		}
	}
	vault := httptest.NewServer(secrets)
	defer vault.Close()
	fakeAWS(t, map[string]string{"BatchFunctionAlias": batchARN, "ClientSecretPrefix": "vendor/clients/"})
	t.Setenv("AWS_ENDPOINT_URL", lambda.URL)
	t.Setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", vault.URL)
	local := changedStack(t, map[string]any{
		"account": "111122223333", "batch_lambda_url": lambda.URL, "batch_function_name": "batch", "aws_url": vault.URL, "client_secret_prefix": "vendor/clients/",
	})
	for _, stack := range []string{"--stack=vendor", "--local=" + local} {
		for _, test := range []struct {
			name      string
			code      int
			out, errs string
		}{
			{"good", 0, "client good: good, days to its end: 20, events: CredentialRecovered x?\n", ""},
			{"wrong", exitCredential, "client wrong: rejected\n", "client wrong: server_error: invalid_client?[2J"},
			{"stand-in", exitCredential, "client stand-in: candidate_refused\n", "there is no token"},
			{"document", exitCredential, "client document: failing\n", "scope"},
			{"down", exitTemporary, "client down: temporarily_failing\n", "503"},
			{"no-table", exitTemporary, "client no-table: unknown\n", "shared table"},
			{"nobody", exitNotFound, "client nobody: unknown\n", "no such secret"},
			{"new-state", exitFailed, "client new-state: odd\n", "there is no token"},
			{"other", exitFailed, "", "no examination"}, {"none", exitFailed, "", "no examination"}, {"list", exitFailed, "", "no examination"}, {"announced", exitFailed, "", "no examination"},
			{"failed", exitTemporary, "", "later"},
			{"denied", exitRefused, "", "IAM does not allow the call"},
		} {
			out, errs, code := vendctl(t, stack, "client", "reread", test.name)
			if code != test.code || out != test.out || !strings.Contains(errs, test.errs) || strings.Contains(out+errs, "\x1b") || (code != 0) != (errs != "") {
				t.Errorf("%s %s: got %d, %q, %q; want %d, %q, %q", stack, test.name, code, out, errs, test.code, test.out, test.errs)
			}
		}
		out, _, code := vendctl(t, stack, "-o", "json", "client", "reread", "good")
		if code != 0 || out != `{"client":"good","state":"good","days_to_expiry":20,"events":["CredentialRecovered","x\u001b"]}`+"\n" {
			t.Errorf("%s -o json: got %d, %q", stack, code, out)
		}
	}
}

// changedStack is the file of a local stack with other members.
func changedStack(t *testing.T, members map[string]any) string {
	t.Helper()
	var all map[string]any
	text, err := os.ReadFile(vendor(t))
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	for name, value := range members {
		all[name] = value
	}
	if err == nil {
		text, err = json.Marshal(all)
	}
	file := filepath.Join(t.TempDir(), "stack.json")
	if err == nil {
		err = os.WriteFile(file, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func TestRereadNeedsTheBatchFunction(t *testing.T) {
	fakeAWS(t, map[string]string{"TokenUrl": "https://vendor.example/token"})
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--stack=vendor"}, exitNotFound, "no batch function"},
		{[]string{"--local=" + vendor(t)}, exitNotFound, "no batch function"},
		{[]string{"--stack=none"}, exitNotFound, "no such stack"},
		{[]string{"--api=https://vendor.example/token"}, exitUsage, "--stack"},
		{nil, exitUsage, "--stack"},
		{[]string{"--stack=vendor", "-o=x"}, exitUsage, "--output"},
		{[]string{"--local=" + vendor(t), "--as=nobody"}, exitNotFound, ""},
	} {
		if out, errs, code := vendctl(t, append(test.args, "client", "reread", "billing")...); code != test.code || out != "" || !strings.Contains(errs, test.want) {
			t.Errorf("%v: got %d, %q, %q; want %d with %q", test.args, code, out, errs, test.code, test.want)
		}
	}
	if _, _, code := vendctl(t, "--stack=vendor", "client", "reread", "Not-A-Name"); code != exitUsage {
		t.Errorf("a bad name: got %d", code)
	}
}
