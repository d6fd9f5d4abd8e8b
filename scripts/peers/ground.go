package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"tokenvendor/scripts/local/runtimeapi"
	"tokenvendor/shared/oauth/oauthtest"
)

const (
	region  = "eu-central-1"
	account = "123456789012"
)

// ground is the function with the AWS services that it needs, and a CA for everybody.
type ground struct {
	dir      string
	ca       *oauthtest.CA
	server   *oauthtest.Issued
	aws      cloud
	function *runtimeapi.Runtime
	http     *http.Client // trusts ca
	closers  []func() error

	mu     sync.Mutex
	hit    map[string]int // audit lines that say "hit", by client; guarded by mu
	hidden []string       // what no output may have; guarded by mu
}

// newGround starts the function; awsURL and tablesURL are as in newTheirs, and empty for
// the AWS of the local stack.
func newGround(binary, awsURL, tablesURL string) (g *ground, err error) {
	g = &ground{hit: make(map[string]int)}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.close())
		}
	}()
	if g.dir, err = os.MkdirTemp("", "token-vendor-peers-"); err != nil {
		return g, err
	}
	g.closers = append(g.closers, func() error { return os.RemoveAll(g.dir) })
	if g.ca, err = oauthtest.NewCA("peers"); err != nil {
		return g, err
	}
	if g.server, err = g.ca.Issue(oauthtest.Leaf{CommonName: "server", Hosts: []string{"127.0.0.1", "localhost"}}); err != nil {
		return g, err
	}
	g.trustCA()
	if awsURL == "" {
		g.aws, err = g.newOurs()
	} else {
		g.aws, err = newTheirs(awsURL, tablesURL)
	}
	if err != nil {
		return g, err
	}
	return g, g.startFunction(binary)
}

func (g *ground) startFunction(binary string) (err error) {
	g.function, err = runtimeapi.Start(runtimeapi.Config{
		Binary: binary, FunctionName: "token-vendor", Region: region, Account: account, Timeout: answerTime, MaxConcurrency: 64,
		Stdout: &lines{each: g.audit}, Stderr: io.Discard,
		Env: g.environment(),
	})
	if err == nil {
		g.closers = append(g.closers, g.function.Close)
	}
	return err
}

// environment is that of all functions.
func (g *ground) environment() []string {
	return append(g.aws.env(), "AWS_ACCESS_KEY_ID=AKIAPEERS", "AWS_SECRET_ACCESS_KEY=peers", "ALLOW_PRIVATE_ENDPOINTS=true")
}

// endFunction ends the function; then all its audit lines have been counted.
func (g *ground) endFunction() error { return g.function.Close() }

// trustCA makes the client that talks to servers: it follows no redirects.
func (g *ground) trustCA() {
	roots := x509.NewCertPool()
	roots.AddCert(g.ca.Certificate)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	g.http = &http.Client{
		Transport: transport, Timeout: 10 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	g.closers = append(g.closers, func() error { transport.CloseIdleConnections(); return nil })
}

// audit takes a line of the function's output.
func (g *ground) audit(text []byte) {
	var event struct{ Client, Outcome string }
	if json.Unmarshal(text, &event) != nil || event.Outcome != "hit" {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hit[event.Client]++
}

// hits returns how often the function had the client's token. It is all there is only
// after endFunction.
func (g *ground) hits(client string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.hit[client]
}

// hide keeps a secret or a token out of what redact returns.
func (g *ground) hide(text string) {
	if text == "" {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hidden = append(g.hidden, text)
}

// redact removes what was hidden, as it is and as JSON and forms write it.
func (g *ground) redact(text string) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, secret := range g.hidden {
		quoted, _ := json.Marshal(secret) // a string always has a form in JSON
		for _, form := range []string{secret, strings.Trim(string(quoted), `"`), url.QueryEscape(secret), url.PathEscape(secret)} {
			text = strings.ReplaceAll(text, form, "[redacted]")
		}
	}
	return text
}

func (g *ground) serve(handler http.Handler) (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	s := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.Serve(listener) }()
	g.closers = append(g.closers, s.Close)
	return "http://" + listener.Addr().String(), nil
}

// close ends everything, the last started first.
func (g *ground) close() error {
	var errs []error
	for i := len(g.closers) - 1; i >= 0; i-- {
		errs = append(errs, g.closers[i]())
	}
	g.closers = nil
	return errors.Join(errs...)
}

// answer is what came of asking the function for a token.
type answer struct {
	Token     string  `json:"access_token"`
	Type      string  `json:"token_type"`
	ExpiresIn float64 `json:"expires_in"`
	Scope     string
	Error     string

	http  bool // it came as an answer of API Gateway
	bound bool // which says that the token is bound to a certificate
}

// direct asks by a direct invoke.
func (g *ground) direct(ctx context.Context, client string, request map[string]any) (answer, error) {
	payload := map[string]any{"client": client}
	for name, value := range request {
		payload[name] = value
	}
	text, err := json.Marshal(payload)
	if err != nil {
		return answer{}, err
	}
	result, err := g.function.Invoke(ctx, runtimeapi.Invocation{Payload: text, Qualifier: "direct"})
	if err != nil {
		return answer{}, err
	}
	var a answer
	if result.FunctionError != "" {
		var failure struct{ ErrorType string }
		err = json.Unmarshal(result.Payload, &failure)
		return answer{Error: failure.ErrorType}, err
	}
	return a, json.Unmarshal(result.Payload, &a)
}

// gateway asks by the event of an API Gateway REST API.
func (g *ground) gateway(ctx context.Context, client string, request map[string]any) (answer, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return answer{}, err
	}
	event, err := json.Marshal(map[string]any{
		"resource": "/token/{client}", "path": "/token/" + client, "httpMethod": "POST", "pathParameters": map[string]string{"client": client},
		"headers": map[string]string{"Content-Type": "application/json"}, "body": string(body), "isBase64Encoded": false,
		"requestContext": map[string]any{"path": "/v1/token/" + client, "identity": map[string]string{"userArn": "arn:aws:iam::" + account + ":user/peers"}},
	})
	if err != nil {
		return answer{}, err
	}
	result, err := g.function.Invoke(ctx, runtimeapi.Invocation{Payload: event, Qualifier: "http"})
	if err != nil {
		return answer{}, err
	}
	var proxy struct {
		Headers map[string]string
		Body    string
	}
	if err := json.Unmarshal(result.Payload, &proxy); err != nil {
		return answer{}, err
	}
	a := answer{http: true}
	err = json.Unmarshal([]byte(proxy.Body), &a)
	a.bound = strings.Contains(proxy.Headers["Token-Vendor-Warning"], "certificate-bound")
	return a, err
}
