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

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"tokenvendor/scripts/local/secretsmanager"
)

// fakeAWS answers as CloudFormation for the stack vendor with these outputs, for the stack other
// without any, and for the stack expired as to credentials that have expired.
func fakeAWS(t *testing.T, outputs map[string]string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var members strings.Builder
		if r.FormValue("StackName") == "vendor" {
			for name, value := range outputs {
				_, _ = fmt.Fprintf(&members, "<member><OutputKey>%s</OutputKey><OutputValue>%s</OutputValue></member>", name, value)
			}
		} else if r.FormValue("StackName") == "expired" {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `<ErrorResponse><Error><Type>Sender</Type><Code>ExpiredToken</Code><Message>cnry-x</Message></Error></ErrorResponse>`)
			return
		} else if r.FormValue("StackName") != "other" {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `<ErrorResponse><Error><Type>Sender</Type><Code>ValidationError</Code><Message>Stack with id x does not exist</Message></Error></ErrorResponse>`)
			return
		}
		_, _ = fmt.Fprintf(w, `<DescribeStacksResponse><DescribeStacksResult><Stacks><member><StackName>x</StackName>`+
			`<CreationTime>2026-11-01T00:00:00Z</CreationTime><StackStatus>CREATE_COMPLETE</StackStatus><Outputs>%s</Outputs></member></Stacks></DescribeStacksResult></DescribeStacksResponse>`, members.String())
	}))
	t.Cleanup(server.Close)
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": awsCanary, "AWS_REGION": "eu-central-1", "AWS_ENDPOINT_URL_CLOUDFORMATION": server.URL, "TOKEN_URL": "", "TOKEN_STACK": "", "AWS_CA_BUNDLE": "",
	} {
		t.Setenv(name, value)
	}
}

// The vendor's URL comes from CloudFormation.
func TestStackNamesTheVendor(t *testing.T) {
	stack := vendor(t)
	var file localStack
	text, err := os.ReadFile(stack)
	if err != nil || json.Unmarshal(text, &file) != nil {
		t.Fatal(err)
	}
	fakeAWS(t, map[string]string{"TokenUrl": file.TokenURL})
	for name, want := range map[string]int{"vendor": 0, "other": exitNotFound, "none": exitNotFound} {
		if out, errs, code := vendctl(t, "--stack", name, "get", "billing"); code != want || (out == opaque+"\n") != (want == 0) {
			t.Errorf("%s: got %d, %q, %q, want %d", name, code, out, errs, want)
		}
	}
	if _, _, code := vendctl(t, "--stack", "vendor", "--local", stack, "get", "billing"); code != exitUsage {
		t.Errorf("--stack and --local: got %d", code)
	}
}

// Credentials that have expired, or need MFA, lead to an error that says so.
func TestCredentialsThatCannotBeUsedAreNamed(t *testing.T) {
	fakeAWS(t, nil)
	if out, errs, code := vendctl(t, "--stack", "expired", "get", "billing"); code != exitFailed || out != "" || !strings.Contains(errs, "log in again") || strings.Contains(errs, "--api") {
		t.Errorf("get: got %d, %q, %q", code, out, errs)
	}
	if out, _, code := vendctl(t, "--stack", "expired", "doctor", "-o", "json"); code != exitFailed || !strings.Contains(out, `{"check":"credentials","result":"warning"`) || !strings.Contains(out, `{"check":"stack","result":"failed","detail":"--stack: CloudFormation answers ExpiredToken: the AWS credentials`) {
		t.Errorf("doctor: got %d, %q", code, out)
	}
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, []byte("[profile code]\nrole_arn = arn:aws:iam::111122223333:role/cnry\nsource_profile = base\nmfa_serial = arn:aws:iam::111122223333:mfa/cnry\n[profile base]\naws_access_key_id = AKIA\naws_secret_access_key = "+awsCanary+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CONFIG_FILE", file)
	if out, errs, code := vendctl(t, "--stack", "vendor", "--profile", "code", "doctor"); code != exitFailed || !strings.Contains(errs, "MFA") || !strings.Contains(out, "credentials  failed") {
		t.Errorf("a profile with MFA: got %d, %q, %q", code, out, errs)
	}
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true", "AWS_SHARED_CREDENTIALS_FILE": file + ".none"} {
		t.Setenv(name, value)
	}
	if out, _, code := vendctl(t, "--stack", "vendor", "doctor"); code != exitFailed || !strings.Contains(out, "there are none that can be used") || strings.Contains(out, "stack") {
		t.Errorf("no credentials: got %d, %q", code, out)
	}
}

// With --direct the function is invoked and its errors have the same exit codes.
func TestDirectInvokesTheFunction(t *testing.T) {
	const arn = "arn:aws:lambda:eu-central-1:111122223333:function:vendor"
	lambda := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var request struct{ Client, Scope string }
		if r.URL.Path != "/2015-03-31/functions/"+arn+":direct/invocations" || json.NewDecoder(r.Body).Decode(&request) != nil || request.Scope != "read" ||
			!strings.Contains(r.Header.Get("Authorization"), "/eu-central-1/lambda/aws4_request") {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		if request.Client == "nobody" {
			w.Header().Set("X-Amz-Function-Error", "Unhandled")
			_, _ = io.WriteString(w, `{"errorType":"access_denied","errorMessage":"no"}`)
			return
		}
		_, _ = fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer"}`, opaque)
	}))
	defer lambda.Close()
	fakeAWS(t, map[string]string{"FunctionArn": arn})
	t.Setenv("AWS_ENDPOINT_URL", lambda.URL)
	for _, flags := range [][]string{{"--stack", "vendor", "--direct"}, {"--api", arn + ":direct"}} {
		for name, want := range map[string]int{"billing": 0, "nobody": exitRefused} {
			if out, errs, code := vendctl(t, append(flags, "get", name, "--scope", "read")...); code != want || (out == opaque+"\n") != (want == 0) {
				t.Errorf("%v %s: got %d, %q, %q, want %d", flags, name, code, out, errs, want)
			}
		}
	}
	if _, _, code := vendctl(t, "--api", "https://vendor.example/token", "--direct", "get", "billing"); code != exitUsage {
		t.Errorf("--direct and a URL: got %d, want %d", code, exitUsage)
	}
}

func TestNamesOfClientsAreCompleted(t *testing.T) {
	out, _, code := vendctl(t, "--local="+vendor(t), "__complete", "get", "")
	if code != 0 || !strings.HasPrefix(out, "billing\njwt\n") {
		t.Errorf("got %q, %d", out, code)
	}
	for begin, want := range map[string]string{"dead": "dead-letters\t", "--sap ide": "identity\n", "--method priv": "private_key_jwt\n"} {
		args := append([]string{"__complete"}, strings.Fields(begin)...)
		if strings.HasPrefix(begin, "--") {
			args = append([]string{"__complete", "client", "add", "x"}, strings.Fields(begin)...)
		}
		if out, _, code := vendctl(t, args...); code != 0 || !strings.Contains(out, want) {
			t.Errorf("%s: got %q, %d", begin, out, code)
		}
	}
	secrets := secretsmanager.New(secretsmanager.Config{})
	for _, name := range []string{"vendor/clients/billing", "vendor/clients/orders", "vendor/clients/team/x", "other/billing"} {
		if _, err := secrets.Seed(name, "{}"); err != nil {
			t.Fatal(err)
		}
	}
	server := httptest.NewServer(secrets)
	defer server.Close()
	fakeAWS(t, map[string]string{"ClientSecretPrefix": "vendor/clients/"})
	t.Setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", server.URL)
	for begin, want := range map[string]string{"": "billing\norders\n:", "o": "orders\n:"} {
		if out, errs, code := vendctl(t, "--stack", "vendor", "__complete", "get", begin); code != 0 || !strings.HasPrefix(out, want) {
			t.Errorf("%q: got %q, %q, %d, want %q", begin, out, errs, code, want)
		}
	}
}

// lateReader is an [aws.HTTPClient] that reads the request's body while its caller reads the response.
type lateReader struct {
	t *testing.T
	r *http.Request
}

func (l *lateReader) Do(r *http.Request) (*http.Response, error) {
	l.r = r
	return &http.Response{StatusCode: http.StatusOK, Header: make(http.Header), Body: io.NopCloser(io.MultiReader(l, strings.NewReader(`{}`)))}, nil
}

// Read is called by the SDK, which reads the response.
func (l *lateReader) Read([]byte) (int, error) {
	if body, err := io.ReadAll(l.r.Body); err != nil || !strings.Contains(string(body), "QueueUrl") {
		l.t.Errorf("the request's body is closed before the response was read: %q, %v", body, err)
	}
	return 0, io.EOF
}

// The SDK closes its body of a request before it reads the response.
func TestBodyOfARequestOutlivesTheSDKs(t *testing.T) {
	cfg := aws.Config{Region: "eu-central-1", HTTPClient: sdkClient{&lateReader{t: t}}, Credentials: credentials.NewStaticCredentialsProvider("AKIA", awsCanary, "")}
	if _, err := sqs.NewFromConfig(cfg).ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: aws.String("https://sqs.example/1/dead")}); err != nil {
		t.Fatal(err)
	}
}

// No configuration of a command has the client of the SDK itself.
func TestCommandsUseOwnBodies(t *testing.T) {
	t.Setenv("AWS_REGION", "eu-central-1")
	stack, err := (&access{local: vendor(t)}).readStack()
	if err != nil {
		t.Fatal(err)
	}
	remote, err := (&access{}).aws(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, cfg := range []aws.Config{stack.aws(), remote} {
		if _, ok := cfg.HTTPClient.(sdkClient); !ok {
			t.Errorf("got a %T", cfg.HTTPClient)
		}
	}
}
