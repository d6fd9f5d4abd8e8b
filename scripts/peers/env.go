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

// env is the function, the AWS services that it calls, and a CA for all certificates.
type env struct {
	dir      string
	ca       *oauthtest.CA
	server   *oauthtest.Issued // the certificate of authorization servers
	aws      awsServices
	function *runtimeapi.Runtime
	http     *http.Client // trusts ca
	closers  []func() error

	mu      sync.Mutex
	hits    map[string]int // audit lines with the outcome "hit", by client; guarded by mu
	secrets []string       // secrets and tokens, for redact; guarded by mu
}

// newEnv starts the function and, if awsURL is empty, the services of the local stack;
// awsURL and tablesURL are as in newExternalAWS. The caller must close env.
func newEnv(binary, awsURL, tablesURL string) (e *env, err error) {
	e = &env{hits: make(map[string]int)}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.close())
		}
	}()
	if e.dir, err = os.MkdirTemp("", "token-vendor-peers-"); err != nil {
		return e, err
	}
	e.closers = append(e.closers, func() error { return os.RemoveAll(e.dir) })
	if e.ca, err = oauthtest.NewCA("peers"); err != nil {
		return e, err
	}
	if e.server, err = e.ca.Issue(oauthtest.Leaf{CommonName: "server", Hosts: []string{"127.0.0.1", "localhost"}}); err != nil {
		return e, err
	}
	e.trustCA()
	if awsURL == "" {
		e.aws, err = e.newLocalAWS()
	} else {
		e.aws, err = newExternalAWS(awsURL, tablesURL)
	}
	if err != nil {
		return e, err
	}
	return e, e.startFunction(binary)
}

func (e *env) startFunction(binary string) (err error) {
	e.function, err = runtimeapi.Start(runtimeapi.Config{
		Binary: binary, FunctionName: "token-vendor", Region: region, Account: account, Timeout: answerTime, MaxConcurrency: 64,
		Stdout: &lineWriter{each: e.audit}, Stderr: io.Discard,
		Env: e.vars(),
	})
	if err == nil {
		e.closers = append(e.closers, e.function.Close)
	}
	return err
}

// vars returns the environment variables of all functions.
func (e *env) vars() []string {
	return append(e.aws.vars(), "AWS_ACCESS_KEY_ID=AKIAPEERS", "AWS_SECRET_ACCESS_KEY=peers", "ALLOW_PRIVATE_ENDPOINTS=true")
}

// endFunction ends the function. Afterwards all its audit lines have been counted.
func (e *env) endFunction() error { return e.function.Close() }

// trustCA makes the HTTP client for the servers, which trusts the CA and follows no
// redirects.
func (e *env) trustCA() {
	roots := x509.NewCertPool()
	roots.AddCert(e.ca.Certificate)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	e.http = &http.Client{
		Transport: transport, Timeout: 10 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	e.closers = append(e.closers, func() error { transport.CloseIdleConnections(); return nil })
}

// audit counts a line of the function's output.
func (e *env) audit(text []byte) {
	var event struct{ Client, Outcome string }
	if json.Unmarshal(text, &event) != nil || event.Outcome != "hit" {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.hits[event.Client]++
}

// hitsOf returns how many requests the function answered with the client's cached token.
// The count is complete after endFunction.
func (e *env) hitsOf(client string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.hits[client]
}

// addSecret adds a secret or a token that redact removes.
func (e *env) addSecret(text string) {
	if text == "" {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.secrets = append(e.secrets, text)
}

// redact removes secrets and tokens, as they are and as JSON, forms and paths encode them.
func (e *env) redact(text string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, secret := range e.secrets {
		quoted, _ := json.Marshal(secret) // a string can always be encoded
		for _, form := range []string{secret, strings.Trim(string(quoted), `"`), url.QueryEscape(secret), url.PathEscape(secret)} {
			text = strings.ReplaceAll(text, form, "[redacted]")
		}
	}
	return text
}

func (e *env) serve(handler http.Handler) (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	s := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.Serve(listener) }()
	e.closers = append(e.closers, s.Close)
	return "http://" + listener.Addr().String(), nil
}

// close ends everything in the reverse order of its start.
func (e *env) close() error {
	var errs []error
	for i := len(e.closers) - 1; i >= 0; i-- {
		errs = append(errs, e.closers[i]())
	}
	e.closers = nil
	return errors.Join(errs...)
}

// answer is the function's answer to one request.
type answer struct {
	Token     string  `json:"access_token"`
	Type      string  `json:"token_type"`
	ExpiresIn float64 `json:"expires_in"`
	Scope     string
	Error     string

	http  bool // the request was an event of API Gateway
	bound bool // the answer warns that the token is bound to a certificate; http only
}

// direct sends a request by a direct invoke.
func (e *env) direct(ctx context.Context, client string, request map[string]any) (answer, error) {
	payload := map[string]any{"client": client}
	for name, value := range request {
		payload[name] = value
	}
	text, err := json.Marshal(payload)
	if err != nil {
		return answer{}, err
	}
	result, err := e.function.Invoke(ctx, runtimeapi.Invocation{Payload: text, Qualifier: "direct"})
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

// gateway sends a request by an event of an API Gateway REST API.
func (e *env) gateway(ctx context.Context, client string, request map[string]any) (answer, error) {
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
	result, err := e.function.Invoke(ctx, runtimeapi.Invocation{Payload: event, Qualifier: "http"})
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
