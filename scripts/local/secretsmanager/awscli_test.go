package secretsmanager_test

import (
	"flag"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var awscli = flag.Bool("awscli", false, "call the endpoint with the aws command")

func TestAWSCLICallsAllOperations(t *testing.T) {
	if !*awscli {
		t.Skip("needs the aws command; run with -awscli")
	}
	ts := httptest.NewServer(newServer())
	defer ts.Close()
	const v1, v2 = "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"
	for _, step := range []struct{ want, line string }{
		{`"Name": "c/a"`, "create-secret --name c/a --client-request-token " + v1 + " --secret-string one --kms-key-id alias/x --tags Key=k,Value=v"},
		{`"SecretString": "one"`, "get-secret-value --secret-id c/a"},
		{`"AWSPENDING"`, "put-secret-value --secret-id c/a --client-request-token " + v2 + " --secret-string two --version-stages AWSPENDING"},
		{`"SecretString": "one"`, "get-secret-value --secret-id c/a"},
		{`"SecretString": "two"`, "get-secret-value --secret-id c/a --version-stage AWSPENDING"},
		{`"Name": "c/a"`, "update-secret-version-stage --secret-id c/a --version-stage AWSCURRENT --move-to-version-id " + v2 + " --remove-from-version-id " + v1},
		{`"SecretString": "two"`, "get-secret-value --secret-id c/a"},
		{`"AWSPREVIOUS"`, "describe-secret --secret-id c/a"},
		{`"c/a"`, "list-secrets --filters Key=name,Values=c/"},
		{`"Name": "c/a"`, "update-secret --secret-id c/a --secret-string three"},
		{`"SecretString": "three"`, "get-secret-value --secret-id c/a"},
		{`"Value": "v"`, "describe-secret --secret-id c/a"},
		{"!secretsmanager.TagResource", "tag-resource --secret-id c/a --tags Key=k,Value=w"},
		{`"DeletionDate"`, "delete-secret --secret-id c/a --recovery-window-in-days 7"},
		{"!InvalidRequestException", "get-secret-value --secret-id c/a"},
		{`"Name": "c/a"`, "restore-secret --secret-id c/a"},
		{`"DeletionDate"`, "delete-secret --secret-id c/a --force-delete-without-recovery"},
		{"!ResourceNotFoundException", "get-secret-value --secret-id c/a"},
	} {
		output, err := runAWS(t, ts.URL, strings.Fields(step.line)...)
		want, fails := strings.CutPrefix(step.want, "!")
		if !strings.Contains(output, want) || fails != (err != nil) {
			t.Errorf("%s: got %v, %s, want %s", step.line, err, output, step.want)
		}
		t.Log("aws secretsmanager " + strings.Fields(step.line)[0])
	}
}

func TestAWSCLIReadsFilesByteForByte(t *testing.T) {
	if !*awscli {
		t.Skip("needs the aws command; run with -awscli")
	}
	ts := httptest.NewServer(newServer())
	defer ts.Close()
	for name, value := range map[string]string{
		"reserved": "Sp@re: /+%&=ü <\"\\>\n\t'", "largest": strings.Repeat("ü", 65536/2),
	} {
		file := filepath.Join(t.TempDir(), "value")
		if err := os.WriteFile(file, []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
		if output, err := runAWS(t, ts.URL, "create-secret", "--name", name, "--secret-string", "file://"+file); err != nil {
			t.Errorf("%s: %v, %s", name, err, output)
		}
		output, err := runAWS(t, ts.URL, "get-secret-value", "--secret-id", name, "--query", "SecretString", "--output", "text")
		if err != nil || output != value+"\n" {
			t.Errorf("%s: got %v and %d other bytes, want the same %d", name, err, len(output), len(value))
		}
	}
}

// runAWS runs the command without the configuration of its user.
func runAWS(t *testing.T, endpoint string, args ...string) (output string, err error) {
	cmd := exec.CommandContext(t.Context(), "aws", append([]string{"--endpoint-url", endpoint, "--region", "eu-central-1", "--output", "json", "secretsmanager"}, args...)...)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "AWS_") }),
		"AWS_ACCESS_KEY_ID=x", "AWS_SECRET_ACCESS_KEY=x", "AWS_PAGER=", "PYTHONUTF8=1",
		"AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull)
	text, err := cmd.CombinedOutput()
	return string(text), err
}
