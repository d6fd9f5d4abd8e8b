package main

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"tokenvendor/scripts/local/kms"
	"tokenvendor/scripts/local/runtimeapi"
	"tokenvendor/scripts/local/secretsmanager"
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
	secrets  *secretsmanager.Server
	keys     *kms.Server
	function *runtimeapi.Runtime
	closers  []func() error
}

func newGround(binary string) (g *ground, err error) {
	g = &ground{
		secrets: secretsmanager.New(secretsmanager.Config{Region: region, Account: account}),
		keys:    kms.New(kms.Config{Region: region, Account: account}),
	}
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
	if g.server, err = g.ca.Issue(oauthtest.Leaf{CommonName: "server", Hosts: []string{"127.0.0.1"}}); err != nil {
		return g, err
	}
	secretsURL, err := g.serve(g.secrets)
	if err != nil {
		return g, err
	}
	keysURL, err := g.serve(g.keys)
	if err != nil {
		return g, err
	}
	g.function, err = runtimeapi.Start(runtimeapi.Config{
		Binary: binary, FunctionName: "token-vendor", Region: region, Account: account, Timeout: 25 * time.Second,
		Stdout: discard{}, Stderr: discard{},
		Env: []string{
			"AWS_ACCESS_KEY_ID=AKIAPEERS", "AWS_SECRET_ACCESS_KEY=peers", "ALLOW_PRIVATE_ENDPOINTS=true",
			"AWS_ENDPOINT_URL_SECRETS_MANAGER=" + secretsURL, "AWS_ENDPOINT_URL_KMS=" + keysURL,
		},
	})
	if err == nil {
		g.closers = append(g.closers, g.function.Close)
	}
	return g, err
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

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

// tls is what a server needs to speak TLS, and to verify clients.
func (g *ground) tls() map[string]string {
	key, err := oauthtest.KeyPEM(g.server.Key)
	if err != nil {
		return nil
	}
	return map[string]string{"key": key, "certificate": oauthtest.CertificatePEM(g.server.Chain...), "client_ca": oauthtest.CertificatePEM(g.ca.Certificate)}
}

// answer is what came of asking the function for a token.
type answer struct {
	Token     string  `json:"access_token"`
	Type      string  `json:"token_type"`
	ExpiresIn float64 `json:"expires_in"`
	Scope     string
	Error     string

	bound bool // the answer says that the token is bound to a certificate
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
	var a answer
	err = json.Unmarshal([]byte(proxy.Body), &a)
	a.bound = strings.Contains(proxy.Headers["Token-Vendor-Warning"], "certificate-bound")
	return a, err
}
