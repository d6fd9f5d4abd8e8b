package secretsmanager_test

import (
	"encoding/json"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	local "tokenvendor/scripts/local/secretsmanager"
)

var awscli = flag.Bool("awscli", false, "drive the endpoint with the aws command")

func newServer() *local.Server {
	return local.New(local.Config{Region: "eu-central-1", Account: "123456789012"})
}

func TestWhoMayCall(t *testing.T) {
	s := newServer()
	signed := map[string]string{"Authorization": "AWS4-HMAC-SHA256 x", "X-Amz-Target": "secretsmanager.ListSecrets"}
	for _, tt := range []struct {
		name, host, want string
		change           map[string]string
	}{
		{"a program on this machine", "127.0.0.1:1", "", nil},
		{"by name", "localhost:1", "", nil},
		{"IPv6", "[::1]:1", "", nil},
		{"rebound name", "evil.test:1", "AccessDeniedException", nil},
		{"web page", "127.0.0.1:1", "AccessDeniedException", map[string]string{"Origin": "http://evil.test"}},
		{"unsigned", "127.0.0.1:1", "MissingAuthenticationTokenException", map[string]string{"Authorization": ""}},
		{"unknown operation", "127.0.0.1:1", "UnknownOperationException", map[string]string{"X-Amz-Target": "secretsmanager.Nothing"}},
		{"other service", "127.0.0.1:1", "UnknownOperationException", map[string]string{"X-Amz-Target": "DynamoDB.ListSecrets"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "http://"+tt.host+"/", strings.NewReader("{}"))
			for _, headers := range []map[string]string{signed, tt.change} {
				for k, v := range headers {
					r.Header.Set(k, v)
				}
			}
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			var answer struct {
				Type string `json:"__type"`
			}
			if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || answer.Type != tt.want {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
}

func TestSeedCallsAndFail(t *testing.T) {
	server := newServer()
	ts := httptest.NewServer(server)
	defer ts.Close()
	api := secretsmanager.New(secretsmanager.Options{Region: "eu-central-1", BaseEndpoint: &ts.URL, RetryMaxAttempts: 1, Credentials: newSuite(t).api.Options().Credentials})
	var versions []string
	for _, text := range []string{"one", "two"} {
		version, err := server.Seed("a", text)
		if err != nil {
			t.Fatal(err)
		}
		versions = append(versions, version)
	}
	server.Fail("GetSecretValue", 1, "ThrottlingException")
	in := &secretsmanager.GetSecretValueInput{SecretId: aws.String("a")}
	if _, err := api.GetSecretValue(t.Context(), in); err == nil || !strings.Contains(err.Error(), "ThrottlingException") {
		t.Errorf("error is %v", err)
	}
	out, err := api.GetSecretValue(t.Context(), in)
	if err != nil || *out.SecretString != "two" || *out.VersionId != versions[1] || versions[0] == versions[1] {
		t.Errorf("%v, %v", out, err)
	}
	if n := server.Calls("GetSecretValue"); n != 2 {
		t.Errorf("%d calls, want 2", n)
	}
	if _, err := server.Seed("not a name", "x"); err == nil {
		t.Error("a bad name is taken")
	}
}

// FuzzRequest: whatever comes, the answer is JSON.
func FuzzRequest(f *testing.F) {
	f.Add("GetSecretValue", `{"SecretId":"a"}`)
	f.Add("ListSecrets", `{"NextToken":"-1"}`)
	f.Add("UpdateSecretVersionStage", `{"SecretId":"a","VersionStage":"AWSCURRENT","RemoveFromVersionId":"x"}`)
	f.Add("CreateSecret", `{"Name":"a","SecretBinary":"!"}`)
	f.Fuzz(func(t *testing.T, operation, body string) {
		s := newServer()
		if _, err := s.Seed("a", "one"); err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodPost, "http://localhost/", strings.NewReader(body))
		r.Header.Set("Authorization", "AWS4-HMAC-SHA256 x")
		r.Header.Set("X-Amz-Target", "secretsmanager."+operation)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if !json.Valid(w.Body.Bytes()) || w.Code != 200 && w.Code != 400 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}

// TestAWSCLI drives every operation with the real command.
func TestAWSCLI(t *testing.T) {
	if !*awscli {
		t.Skip("needs the aws command; run with -awscli")
	}
	ts := httptest.NewServer(newServer())
	defer ts.Close()
	v1, v2 := "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"
	for _, step := range []struct{ want, line string }{
		{`"Name": "c/a"`, "create-secret --name c/a --client-request-token " + v1 + " --secret-string one --description d --tags Key=k,Value=v"},
		{`"SecretString": "one"`, "get-secret-value --secret-id c/a"},
		{"AWSPENDING", "put-secret-value --secret-id c/a --client-request-token " + v2 + " --secret-string two --version-stages AWSPENDING"},
		{`"SecretString": "one"`, "get-secret-value --secret-id c/a"},
		{`"Name": "c/a"`, "update-secret-version-stage --secret-id c/a --version-stage AWSCURRENT --move-to-version-id " + v2 + " --remove-from-version-id " + v1},
		{`"SecretString": "two"`, "get-secret-value --secret-id c/a"},
		{"AWSPREVIOUS", "describe-secret --secret-id c/a"},
		{`"c/a"`, "list-secrets --filters Key=name,Values=c/"},
		{`"Name": "c/a"`, "update-secret --secret-id c/a --secret-string three"},
		{`"SecretString": "three"`, "batch-get-secret-value --secret-id-list c/a c/nobody"},
		{"DeletionDate", "delete-secret --secret-id c/a --recovery-window-in-days 7"},
		{"marked for deletion", "get-secret-value --secret-id c/a"},
		{`"Name": "c/a"`, "restore-secret --secret-id c/a"},
		{"DeletionDate", "delete-secret --secret-id c/a --force-delete-without-recovery"},
		{"ResourceNotFoundException", "get-secret-value --secret-id c/a"},
	} {
		args := append([]string{"--endpoint-url", ts.URL, "--region", "eu-central-1", "--output", "json", "secretsmanager"}, strings.Fields(step.line)...)
		cmd := exec.CommandContext(t.Context(), "aws", args...)
		cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID=x", "AWS_SECRET_ACCESS_KEY=x", "AWS_PAGER=")
		// An error is an expected answer too; what it says is compared.
		output, _ := cmd.CombinedOutput()
		if !strings.Contains(string(output), step.want) {
			t.Errorf("%s: %s", step.line, output)
		}
	}
}
