package apigateway

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

const (
	region = "eu-central-1"
	role   = "arn:aws:sts::111122223333:assumed-role/billing-job/run-1"
	user   = "arn:aws:iam::444455556666:user/ops/jane"
)

// session and longTerm are the principals of the tests. session may have all clients,
// longTerm only billing.
var (
	session  = aws.Credentials{AccessKeyID: "ASIAEXAMPLE", SecretAccessKey: "secret/of+the role", SessionToken: "IQoJ+/token=="}
	longTerm = aws.Credentials{AccessKeyID: "AKIAEXAMPLE", SecretAccessKey: "secret/of+the user"}
	// now is the time of the API and of the signer.
	now = time.Date(2026, 11, 23, 0, 2, 3, 0, time.UTC)
)

// api is a Server behind a real listener, with the events that reached the function.
type api struct {
	url    string
	events []proxyEvent
	raw    []map[string]any
	log    bytes.Buffer
}

func newAPI(t *testing.T, change func(*Config)) *api {
	t.Helper()
	a := &api{}
	cfg := config(func(_ context.Context, payload []byte) ([]byte, error) {
		var e proxyEvent
		var raw map[string]any
		if err := json.Unmarshal(payload, &e); err != nil {
			t.Error(err)
		}
		if err := json.Unmarshal(payload, &raw); err != nil {
			t.Error(err)
		}
		a.events, a.raw = append(a.events, e), append(a.raw, raw)
		return []byte(`{"statusCode":200,"body":"ok"}`), nil
	})
	cfg.AccessLog = &a.log
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(s)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Start()
	t.Cleanup(server.Close)
	a.url = server.URL
	return a
}

func config(invoke func(context.Context, []byte) ([]byte, error)) Config {
	arn := "arn:aws:execute-api:" + region + ":123456789012:abc123/local/POST/token/"
	return Config{
		Region: region, Account: "123456789012", APIID: "abc123", Stage: "local",
		StageVariables: map[string]string{"envelopeProof": "proof"},
		Principals: []Principal{
			{AccessKeyID: session.AccessKeyID, SecretAccessKey: session.SecretAccessKey, SessionToken: session.SessionToken,
				ARN: role, Allow: []string{arn + "*"}},
			{AccessKeyID: longTerm.AccessKeyID, SecretAccessKey: longTerm.SecretAccessKey,
				ARN: user, Allow: []string{arn + "billing"}},
		},
		Invoke: invoke,
		Now:    func() time.Time { return now },
	}
}

// signedCall describes a request that is changed before and after it is signed.
type signedCall struct {
	credentials aws.Credentials
	method      string // empty: POST
	path        string // empty: /local/token/billing
	body        string
	region      string
	service     string
	at          time.Duration // from now
	before      func(*http.Request)
	after       func(*http.Request)
}

func (a *api) request(t *testing.T, c signedCall) *http.Request {
	t.Helper()
	if c.credentials.AccessKeyID == "" {
		c.credentials = session
	}
	req, err := http.NewRequestWithContext(t.Context(), or(c.method, "POST"), a.url+or(c.path, "/local/token/billing"), strings.NewReader(c.body))
	if err != nil {
		t.Fatal(err)
	}
	if c.before != nil {
		c.before(req)
	}
	sum := sha256.Sum256([]byte(c.body))
	err = v4.NewSigner().SignHTTP(t.Context(), c.credentials, req, hex.EncodeToString(sum[:]),
		or(c.service, "execute-api"), or(c.region, region), now.Add(c.at))
	if err != nil {
		t.Fatal(err)
	}
	if c.after != nil {
		c.after(req)
	}
	return req
}

func or(value, fallback string) string {
	if value == "" {
		return fallback
	}
	return value
}

type reply struct {
	status int
	header http.Header
	body   string
}

func (a *api) send(t *testing.T, c signedCall) reply {
	t.Helper()
	return do(t, a.request(t, c))
}

func do(t *testing.T, req *http.Request) reply {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, string(body)}
}
