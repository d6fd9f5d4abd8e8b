package runtimeapi

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// withCLI enables the tests that need the AWS CLI: go test ./scripts/local/runtimeapi -awscli
var withCLI = flag.Bool("awscli", false, "invoke with the AWS CLI")

func TestAWSCLI(t *testing.T) {
	if !*withCLI {
		t.Skip("the flag -awscli is not set")
	}
	r := start(t, func(c *Config) { c.PrivateAliases = []string{"http"} })
	file := filepath.Join(t.TempDir(), "answer")
	event := filepath.Join(t.TempDir(), "event.json")
	for _, tt := range []struct {
		name, payload string
		args          []string
		printed       string // a part of what the CLI prints
		answer        string // a part of the file it writes
	}{
		{"answer", `{"text":"hello"}`, nil, `"StatusCode": 200`, `"text":"hello"`},
		{"typed error", `{"do":"fail","text":"no"}`, nil, `"FunctionError": "Unhandled"`, `"errorType":"access_denied"`},
		{"qualifier", `{}`, []string{"--qualifier", "direct"}, `"ExecutedVersion": "$LATEST"`, `:function:token:direct"`},
		{"qualifier in the name", `{}`, []string{"--function-name", "token:direct"}, `"StatusCode": 200`, `:function:token:direct"`},
		{"private alias", `{}`, []string{"--qualifier", "http"}, "AccessDeniedException", ""},
		{"another function", `{}`, []string{"--function-name", "other"}, "ResourceNotFoundException", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := os.WriteFile(event, []byte(tt.payload), 0o600); err != nil {
				t.Fatal(err)
			}
			// Both versions of the CLI accept a file of bytes.
			args := append([]string{"lambda", "invoke", "--endpoint-url", r.URL(), "--function-name", "token",
				"--payload", "fileb://" + event}, tt.args...)
			cmd := exec.CommandContext(t.Context(), "aws", append(args, file)...)
			cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID=x", "AWS_SECRET_ACCESS_KEY=x", "AWS_DEFAULT_REGION=us-east-1")
			printed, _ := cmd.CombinedOutput() // the test checks what it prints
			answer, _ := os.ReadFile(file)
			if !strings.Contains(string(printed), tt.printed) || !strings.Contains(string(answer), tt.answer) {
				t.Errorf("printed %s\nanswer %.300s\nwant %s and %s", printed, answer, tt.printed, tt.answer)
			}
		})
	}
}
