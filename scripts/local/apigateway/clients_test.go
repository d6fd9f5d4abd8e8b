package apigateway

import (
	"flag"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// The flags enable tests with other implementations of the signature, which need programs
// beside Go: go test ./scripts/local/apigateway -curl -botocore
var (
	withCurl     = flag.Bool("curl", false, "sign with curl --aws-sigv4")
	withBotocore = flag.Bool("botocore", false, "sign with botocore, by python3")
)

// liveAPI returns an API with the clock of this machine, which the programs use too.
func liveAPI(t *testing.T) *api {
	return newAPI(t, func(c *Config) { c.Now = time.Now })
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}

func TestCurl(t *testing.T) {
	if !*withCurl {
		t.Skip("the flag -curl is not set")
	}
	a := liveAPI(t)
	sigv4 := []string{"-sS", "--max-time", "10", "-w", " %{http_code}", "--aws-sigv4", "aws:amz:" + region + ":execute-api"}
	key := []string{"--user", session.AccessKeyID + ":" + session.SecretAccessKey}
	token := []string{"-H", "x-amz-security-token: " + session.SessionToken}
	user := []string{"--user", longTerm.AccessKeyID + ":" + longTerm.SecretAccessKey}
	post := []string{"-X", "POST", a.url + "/local/token/billing"}
	tests := []struct {
		name string
		args [][]string
		want string
	}{
		{"no body", [][]string{key, token, post}, "ok 200"},
		{"form", [][]string{key, token, post, {"-d", "grant_type=client_credentials"}}, "ok 200"},
		{"JSON", [][]string{key, token, post, {"-H", "Content-Type: application/json", "-d", `{"scope":"a b"}`}}, "ok 200"},
		{"long-term key", [][]string{user, post}, "ok 200"},
		{"not allowed", [][]string{user, {"-X", "POST", a.url + "/local/token/payroll"}}, "/POST/token/payroll\"} 403"},
		{"no token", [][]string{key, post}, "is invalid.\"} 403"},
		{"wrong secret", [][]string{{"--user", session.AccessKeyID + ":x"}, token, post}, "} 403"},
		{"other region", [][]string{key, token, post, {"--aws-sigv4", "aws:amz:eu-west-1:execute-api"}}, "valid region.\"} 403"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			args := sigv4
			for _, more := range tt.args {
				args = append(args[:len(args):len(args)], more...)
			}
			if got := run(t, "curl", args...); !strings.HasSuffix(got, tt.want) {
				t.Errorf("got %s, want …%s", got, tt.want)
			}
		})
	}
}

// botocoreCall signs and sends a request. Its arguments are the URL, the region, the key id,
// the secret key, the session token or "", and the body.
const botocoreCall = `
import sys, urllib.request, urllib.error
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
url, region, key, secret, token, body = sys.argv[1:]
r = AWSRequest("POST", url, data=body.encode(), headers={"Content-Type": "application/x-www-form-urlencoded", "X-Spaces": " a   b "})
SigV4Auth(Credentials(key, secret, token or None), "execute-api", region).add_auth(r)
try:
    answer = urllib.request.urlopen(urllib.request.Request(url, body.encode(), dict(r.headers.items()), method="POST"))
except urllib.error.HTTPError as e:
    answer = e
print(answer.read().decode(), answer.getcode(), end="")
`

func TestBotocore(t *testing.T) {
	if !*withBotocore {
		t.Skip("the flag -botocore is not set")
	}
	a := liveAPI(t)
	for _, tt := range []struct {
		name, path, key, secret, token, body string
		want                                 string
	}{
		{"session token", "billing", session.AccessKeyID, session.SecretAccessKey, session.SessionToken, "a=1", "ok 200"},
		{"no body", "billing", session.AccessKeyID, session.SecretAccessKey, session.SessionToken, "", "ok 200"},
		{"long-term key", "billing", longTerm.AccessKeyID, longTerm.SecretAccessKey, "", "a=1", "ok 200"},
		{"encoded path", "bil%20l%2Fing%C3%AD", session.AccessKeyID, session.SecretAccessKey, session.SessionToken, "", "ok 200"},
		{"query", "billing?b=2&a=x%20y&a=1", session.AccessKeyID, session.SecretAccessKey, session.SessionToken, "", "ok 200"},
		{"not allowed", "other", longTerm.AccessKeyID, longTerm.SecretAccessKey, "", "", "} 403"},
		{"wrong secret", "billing", longTerm.AccessKeyID, "x", "", "", "} 403"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := run(t, "python3", "-c", botocoreCall, a.url+"/local/token/"+tt.path, region, tt.key, tt.secret, tt.token, tt.body)
			if !strings.HasSuffix(got, tt.want) {
				t.Errorf("got %s, want …%s", got, tt.want)
			}
		})
	}
}
