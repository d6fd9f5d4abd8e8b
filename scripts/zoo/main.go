// Command zoo runs the compiled function with one small TLS server for each oddity of a real
// authorization server, service key or secret. Each server records what it gets, and the
// result is compared with what the oddity needs. The servers have the names of the real ones:
// the function reaches them through a proxy (EGRESS_PROXY) that knows their addresses.
//
// With names of scenarios as arguments, it runs only these.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"tokenvendor/scripts/local/runtimeapi"
	"tokenvendor/scripts/local/secretsmanager"
	"tokenvendor/scripts/local/workdir"
	"tokenvendor/shared/oauth/oauthtest"
)

const (
	region  = "eu-central-1"
	account = "123456789012"
	prefix  = "token-vendor/clients/"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	failed, err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "zoo:", err)
	}
	if err != nil || failed > 0 {
		os.Exit(1)
	}
}

// scenario is one oddity.
type scenario struct {
	// name is the client's. oddity says what is odd, and at which server or product.
	name, oddity string
	// host is the server's name; empty: as.<name>.example.
	host string
	// further are names of the same server, which must be called only as check wants it.
	further []string
	// document returns the secret: a text, or a value that is encoded as JSON.
	document func(z *zoo, host string) any
	// asks are the members of each request beside the client; nil: one request without any.
	asks []string
	// serve is the server's behaviour.
	serve behaviour
	// refused is what the operator's line must contain, if there must be no token.
	refused string
	// check examines what arrived and what was answered.
	check func(v *outcome) error
}

// zoo is the function with everything around it.
type zoo struct {
	ca       *oauthtest.CA
	signers  signers
	proxy    oauthtest.ConnectProxy
	secrets  *secretsmanager.Server
	function *runtimeapi.Runtime
	log      *lines
}

// run runs the scenarios and returns how many failed.
func run(ctx context.Context, names []string) (failed int, err error) {
	dir, err := workdir.New()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, dir.Remove()) }()
	if err := workdir.Compile(ctx, dir); err != nil {
		return 0, err
	}
	z, closeAll, err := start(dir)
	if err != nil {
		return 0, err
	}
	defer closeAll()
	all := slices.Concat(keys(), certificates(z), servers(z), members(z), combinations(z.signers), answers(), metadata())
	ran := 0
	for _, a := range all {
		if len(names) > 0 && !slices.Contains(names, a.name) {
			continue
		}
		ran++
		began := time.Now()
		if err := z.try(ctx, a); err != nil {
			failed++
			fmt.Printf("FAILED: %s: %s: %v\n", a.name, a.oddity, err)
			continue
		}
		fmt.Printf("ok: %-24s %s (%.1f s)\n", a.name, a.oddity, time.Since(began).Seconds())
	}
	if ran == 0 {
		return 0, errors.New("there is no such scenario")
	}
	fmt.Printf("%d oddities, %d failed\n", ran, failed)
	return failed, nil
}

// start starts the function, its secrets and the proxy.
func start(dir *workdir.Dir) (z *zoo, closeAll func(), err error) {
	z = &zoo{log: &lines{}, signers: newSigners(), secrets: secretsmanager.New(secretsmanager.Config{Region: region, Account: account})}
	z.proxy.Addresses = make(map[string]string)
	if z.ca, err = oauthtest.NewCA("zoo"); err != nil {
		return nil, nil, err
	}
	secretsURL, closeSecrets, err := serve(z.secrets)
	if err != nil {
		return nil, nil, err
	}
	proxyURL, closeProxy, err := serve(&z.proxy)
	if err != nil {
		closeSecrets()
		return nil, nil, err
	}
	caFile := filepath.Join(dir.Path(), "ca.pem")
	if err = os.WriteFile(caFile, []byte(oauthtest.CertificatePEM(z.ca.Certificate)), 0o600); err == nil {
		z.function, err = runtimeapi.Start(runtimeapi.Config{
			Binary: dir.Binary("token"), FunctionName: "zoo", Region: region, Account: account, MemoryMB: 256, Timeout: 25 * time.Second,
			Stdout: z.log, Stderr: z.log,
			Env: []string{
				"AWS_ACCESS_KEY_ID=AKIAZOO", "AWS_SECRET_ACCESS_KEY=zoo", "AWS_ENDPOINT_URL_SECRETS_MANAGER=" + secretsURL,
				"EGRESS_PROXY=" + proxyURL, "SSL_CERT_FILE=" + caFile, "SSL_CERT_DIR=" + dir.Path(),
			},
		})
	}
	if err != nil {
		closeSecrets()
		closeProxy()
		return nil, nil, err
	}
	return z, func() {
		_ = z.function.Close()
		closeProxy()
		closeSecrets()
	}, nil
}

// serve serves plain HTTP on a free port of 127.0.0.1.
func serve(handler http.Handler) (url string, closeServer func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }()
	return "http://" + listener.Addr().String(), func() { _ = server.Close() }, nil
}

// outcome is what happened with one scenario.
type outcome struct {
	scenario
	requests []request
	answers  []map[string]any
	log      string
}

// try runs one scenario.
func (z *zoo) try(ctx context.Context, a scenario) error {
	if a.host == "" {
		a.host = "as." + a.name + ".example"
	}
	s, err := z.open(a)
	if err != nil {
		return err
	}
	defer s.close()
	document := a.document(z, a.host)
	text, ok := document.(string)
	if !ok {
		encoded, err := json.Marshal(document)
		if err != nil {
			return err
		}
		text = string(encoded)
	}
	if _, err := z.secrets.Seed(prefix+a.name, text); err != nil {
		return err
	}
	z.log.take()
	v := &outcome{scenario: a}
	for _, ask := range append(a.asks, "")[:max(len(a.asks), 1)] {
		answer, err := z.ask(ctx, a.name, ask)
		if err != nil {
			return err
		}
		v.answers = append(v.answers, answer)
	}
	v.requests, v.log = s.requests(), z.log.wait(a.name, len(v.answers))
	return v.judge()
}

// ask invokes the function.
func (z *zoo) ask(ctx context.Context, client, members string) (answer map[string]any, err error) {
	event := `{"client": "` + client + `"}`
	if members != "" {
		event = `{"client": "` + client + `", ` + members + `}`
	}
	result, err := z.function.Invoke(ctx, runtimeapi.Invocation{Payload: []byte(event)})
	if err != nil {
		return nil, err
	}
	return answer, json.Unmarshal(result.Payload, &answer)
}

// judge compares what happened with what must happen.
func (v *outcome) judge() error {
	for i, answer := range v.answers {
		_, ok := answer["access_token"].(string)
		switch {
		case ok && v.refused != "":
			return errors.New("got a token, want none")
		case !ok && v.refused == "":
			return fmt.Errorf("got no token from request %d: %s", i+1, v.problem())
		}
	}
	if v.refused != "" && !strings.Contains(v.log, v.refused) {
		return fmt.Errorf("the operator's line is %q, want %q in it", v.problem(), v.refused)
	}
	for _, secret := range []string{theSecret, "PRIVATE KEY", theAPIKey} {
		if strings.Contains(v.log, secret) {
			return errors.New("a secret is in the log")
		}
	}
	if v.check == nil {
		return nil
	}
	return v.check(v)
}

// problem returns what the operator reads.
func (v *outcome) problem() string {
	for line := range strings.Lines(v.log) {
		var entry struct {
			Detail string `json:"detail"`
		}
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Detail != "" {
			return entry.Detail
		}
	}
	return v.log
}

// lines collects the log of the function. It is safe for concurrent use.
type lines struct {
	mu   sync.Mutex
	text strings.Builder // guarded by mu
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// wait is take after the lines of so many decisions about a client arrived, or after two
// seconds: the output of the function is copied while it answers.
func (l *lines) wait(client string, decisions int) string {
	for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if l.decisions(client) >= decisions {
			break
		}
	}
	return l.take()
}

func (l *lines) decisions(client string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.text.String()) {
		if strings.Contains(line, `"type":"decision"`) && strings.Contains(line, `"client":"`+client+`"`) {
			n++
		}
	}
	return n
}

// take returns what was written since the last call.
func (l *lines) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.text.Reset()
	return l.text.String()
}
