package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"sync"
	"time"

	"tokenvendor/scripts/local/runtimeapi"
	"tokenvendor/shared/oauth/oauthtest"
)

const (
	// recoveryTime bounds the time from the end of the trouble to a token: the first failure
	// is remembered for at most 5 seconds.
	recoveryTime = 15 * time.Second
	// errorTime bounds the time to an error, and tokenTime that to a token during the
	// trouble: an attempt may take 5 seconds, a server that is later has failed, and the machine
	// may be busy.
	errorTime, tokenTime = 14 * time.Second, 10 * time.Second
	// memoryLimit is more than a process uses that reads at most 1 MiB of an answer.
	memoryLimit = 64 << 20
	// refused is the trouble that no proxy sees.
	refused = "refused"
	// unknownName is the trouble that no proxy can make: DNS does not know the server's
	// name. It lasts as long as the process.
	unknownName = "name unknown to DNS"
)

var errNotMet = errors.New("the trouble was not met")

// target is a server that is in trouble, and the kind of client whose token is asked for.
type target struct {
	name, server string // server is a key of env.urls
	variable     string // names the server to the function; empty: the client's document does
	client       clientKind
	optional     bool // there must be a token without this server
}

func targets() []target {
	return []target{
		{name: "authorization server", server: "authorization server"},
		{name: "Secrets Manager", server: "Secrets Manager", variable: "AWS_ENDPOINT_URL_SECRETS_MANAGER"},
		{name: "KMS, client's key", server: "KMS", variable: "AWS_ENDPOINT_URL_KMS", client: withKey},
		{name: "STS", server: "STS", variable: "AWS_ENDPOINT_URL_STS", client: withRole},
		{name: "DynamoDB", server: "DynamoDB", variable: "AWS_ENDPOINT_URL_DYNAMODB", optional: true},
		{name: "KMS, table's key", server: "KMS", variable: "AWS_ENDPOINT_URL_KMS", optional: true},
	}
}

// troubleCase is one kind of trouble in front of one server, for one process, and its
// result.
type troubleCase struct {
	target
	trouble oauthtest.Trouble
	id      string // of the client and of its scope

	code     string        // of the error during the trouble; empty: a token
	answered time.Duration // to the first answer
	recovery time.Duration // from the end of the trouble to a token
	memory   int64         // peak of the process, in bytes; 0: not known
	problem  string        // empty: none
}

// troubles makes every kind of trouble in front of every server, one at a time: each for a
// new process, which is asked for one token during the trouble and after it.
func troubles(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("troubles", flag.ContinueOnError)
	processes := flags.Int("processes", 16, "how many processes at once")
	only := flags.String("only", "", "the name of one trouble; empty: all")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *processes < 1 {
		return errors.New("troubles: -processes must be at least 1")
	}
	all := troubleCases(*only)
	if len(all) == 0 {
		return fmt.Errorf("troubles: there is none called %q", *only)
	}
	e, err := newEnv(ctx, envConfig{life: time.Hour, table: true})
	if err != nil {
		return err
	}
	if err := e.makeTableKey(ctx); err != nil {
		return errors.Join(err, e.close())
	}
	slots := make(chan struct{}, *processes)
	var running sync.WaitGroup
	for _, row := range all {
		for i := range row {
			slots <- struct{}{}
			running.Go(func() {
				defer func() { <-slots }()
				row[i].run(ctx, e)
			})
		}
	}
	running.Wait()
	return errors.Join(printTroubles(out, all), e.close())
}

// troubleCases returns a row for each kind of trouble, or for one, with a case for every
// target.
func troubleCases(only string) (all [][]troubleCase) {
	for i, trouble := range append(oauthtest.Troubles(), oauthtest.Trouble{Name: unknownName}) {
		if only != "" && only != trouble.Name {
			continue
		}
		var row []troubleCase
		for j, target := range targets() {
			row = append(row, troubleCase{target: target, trouble: trouble, id: fmt.Sprintf("t%d-%d", i, j)})
		}
		all = append(all, row)
	}
	return all
}

// run runs the case, again with another process if the trouble was not met: a process that
// waits too long for the table on a busy machine never asks KMS for the table's key.
func (c *troubleCase) run(ctx context.Context, e *env) {
	err := c.attempt(ctx, e)
	for again := 0; errors.Is(err, errNotMet) && again < 5; again++ {
		c.id += "-again"
		err = c.attempt(ctx, e)
	}
	if err != nil {
		c.problem = err.Error()
		return
	}
	requests := 0
	for _, r := range e.issuer.Requests() {
		if r.Form.Get("scope") == c.id {
			requests++
		}
	}
	c.problem = c.check(requests, e.issuer.FailedLogons(c.id))
}

// attempt asks one new process for a token during the trouble, and then until it gets one.
func (c *troubleCase) attempt(ctx context.Context, e *env) (err error) {
	proxy, err := oauthtest.StartProxy(oauthtest.ProxyConfig{Target: e.urls[c.server], CA: e.issuer.CA()})
	if err != nil {
		return err
	}
	defer proxy.Close()
	url := proxy.URL()
	if c.trouble.Name == unknownName {
		url = "https://token-vendor.invalid" // RFC 6761 section 6.4
	}
	vars, endpoint := e.vars, e.issuer.TokenEndpoint()
	if c.variable == "" {
		endpoint = url + oauthtest.TokenPath
	} else {
		vars = append(vars[:len(vars):len(vars)], c.variable+"="+url)
	}
	if err := errors.Join(e.addClient(c.client, c.id, endpoint, time.Hour), proxy.Make(c.trouble)); err != nil {
		return err
	}
	p, err := e.startChecked(vars)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	begin := time.Now()
	if c.code, err = p.ask(ctx, c.id); err != nil {
		return err
	}
	c.answered, c.memory = time.Since(begin), memory(p.function.PID(), "VmHWM")
	if proxy.Strayed() > 0 {
		return errors.New("a redirect was followed")
	}
	if c.trouble.Name == unknownName {
		return nil
	}
	if proxy.Met() == 0 && c.trouble.Name != refused {
		return errNotMet
	}
	if err := proxy.Make(oauthtest.Trouble{}); err != nil {
		return err
	}
	return c.recover(ctx, p)
}

// recover asks until there is a token.
func (c *troubleCase) recover(ctx context.Context, p *checkedProcess) (err error) {
	begin := time.Now()
	for code := c.code; code != ""; c.recovery = time.Since(begin) {
		if time.Since(begin) > recoveryTime {
			return errors.New("no token after the trouble: " + code)
		}
		time.Sleep(100 * time.Millisecond)
		if code, err = p.ask(ctx, c.id); err != nil {
			return err
		}
	}
	return nil
}

// makeTableKey lets a process without trouble make the table's key: if a process in
// trouble were the first, all others would wait for its attempt.
func (e *env) makeTableKey(ctx context.Context) error {
	if err := e.addClient(withSecret, "first", e.issuer.TokenEndpoint(), time.Hour); err != nil {
		return err
	}
	for range 5 {
		p, err := e.startChecked(e.vars)
		if err != nil {
			return err
		}
		_, err = p.ask(ctx, "first")
		if err = errors.Join(err, p.close()); err != nil || e.keys.Calls("GenerateDataKey") > 0 {
			return err
		}
	}
	return errors.New("this machine is too slow for the table")
}

// checkedProcess is a process of the function whose answers and output are checked.
type checkedProcess struct {
	function *runtimeapi.Runtime
	checks   *checker
}

func (e *env) startChecked(vars []string) (*checkedProcess, error) {
	checks := newChecker(1)
	function, err := e.startFunction(vars, 1, &outputScanner{checker: checks})
	return &checkedProcess{function, checks}, err
}

// close ends the process and returns the problems that were found.
func (p *checkedProcess) close() error { return errors.Join(p.function.Close(), p.checks.err()) }

// ask asks for the client's token and returns the error's code; empty: there was a token.
func (p *checkedProcess) ask(ctx context.Context, client string) (code string, err error) {
	result, err := p.function.Invoke(ctx, runtimeapi.Invocation{Payload: []byte(`{"client":"` + client + `","scope":"` + client + `"}`)})
	if err != nil {
		return "", err
	}
	granted, code := p.checks.checkAnswer(result.Payload, result.FunctionError != "", client, 0)
	if !granted && code == "" {
		err = errors.New("an answer with neither a token nor an error")
	}
	return code, err
}
