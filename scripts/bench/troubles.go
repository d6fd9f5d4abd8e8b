package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"tokenvendor/scripts/local/runtimeapi"
	"tokenvendor/shared/oauth/oauthtest"
)

const (
	// recoveryTime bounds how long it may take until there is a token when all is well
	// again: the first failure is remembered for at most 5 seconds.
	recoveryTime = 15 * time.Second
	// errorTime bounds how long an error may take, and tokenTime a token: that of a server
	// which is later than the 5 seconds that an attempt may take is not waited for.
	errorTime, tokenTime = 14 * time.Second, 6800 * time.Millisecond
	// mostMemory is more than a process holds that reads no more than 1 MiB of an answer.
	mostMemory = 64 << 20
	// refused is the trouble that no proxy sees.
	refused = "refused"
	// nameless is the trouble that no proxy makes: DNS does not know the server's name. It
	// lasts as long as the process.
	nameless = "name unknown to DNS"
)

var errNotMet = errors.New("nobody met the trouble")

// place is a server that is in trouble, and whose token is asked for meanwhile.
type place struct {
	name, server string // as in the ground's urls
	variable     string // that tells the function where it is; empty: the client's document does
	client       clientKind
	// needless: there is a token all the same.
	needless bool
}

func places() []place {
	return []place{
		{name: "authorization server", server: "authorization server"},
		{name: "Secrets Manager", server: "Secrets Manager", variable: "AWS_ENDPOINT_URL_SECRETS_MANAGER"},
		{name: "KMS, client's key", server: "KMS", variable: "AWS_ENDPOINT_URL_KMS", client: withKey},
		{name: "STS", server: "STS", variable: "AWS_ENDPOINT_URL_STS", client: withRole},
		{name: "DynamoDB", server: "DynamoDB", variable: "AWS_ENDPOINT_URL_DYNAMODB", needless: true},
		{name: "KMS, table's key", server: "KMS", variable: "AWS_ENDPOINT_URL_KMS", needless: true},
	}
}

// hardship is one server in one trouble before one process, and what came of it.
type hardship struct {
	place
	trouble oauthtest.Trouble
	// id names the client, and the scope that it asks for.
	id string

	first   string        // the error's code while it lasts; empty: a token
	after   time.Duration // until then
	again   time.Duration // from the trouble's end to a token
	memory  int64         // that the process held at most; 0: not known
	problem string
}

// straits is the ground for all hardships.
type straits struct {
	*ground
	binary string
}

// troubles makes every trouble before every server, one at a time: each before a process
// of its own that has just begun, and asks for one token meanwhile and afterwards.
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
	all := hardships(*only)
	if len(all) == 0 {
		return fmt.Errorf("troubles: there is none called %q", *only)
	}
	s, stop, err := newStraits(ctx)
	if err != nil {
		return err
	}
	room := make(chan struct{}, *processes)
	var working sync.WaitGroup
	for _, row := range all {
		for i := range row {
			room <- struct{}{}
			working.Go(func() {
				defer func() { <-room }()
				s.undergo(ctx, &row[i])
			})
		}
	}
	working.Wait()
	return errors.Join(printHardships(out, all), stop())
}

// hardships returns a row for each trouble, or for one, with every place in it.
func hardships(only string) (all [][]hardship) {
	for i, trouble := range append(oauthtest.Troubles(), oauthtest.Trouble{Name: nameless}) {
		if only != "" && only != trouble.Name {
			continue
		}
		var row []hardship
		for j, place := range places() {
			row = append(row, hardship{place: place, trouble: trouble, id: fmt.Sprintf("t%d-%d", i, j)})
		}
		all = append(all, row)
	}
	return all
}

// newStraits builds the function and starts the servers.
func newStraits(ctx context.Context) (s *straits, stop func() error, err error) {
	dir, err := os.MkdirTemp("", "token-vendor-bench-")
	if err != nil {
		return nil, nil, err
	}
	s = &straits{binary: filepath.Join(dir, "token")}
	if err = build(ctx, dir, &candidate{name: "token", pkg: "functions/token"}); err == nil {
		s.ground, err = newGround(dir, drill{life: time.Hour, table: true})
	}
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	stop = func() error { s.ground.stop(); return os.RemoveAll(dir) }
	if err := s.prepare(ctx); err != nil {
		return nil, nil, errors.Join(err, stop())
	}
	return s, stop, nil
}

// undergo runs one process through its hardship; another, if the first did not get as far
// as that: who waits too long for the table at a busy moment never asks KMS for its key.
func (s *straits) undergo(ctx context.Context, h *hardship) {
	err := s.bear(ctx, h)
	for again := 0; errors.Is(err, errNotMet) && again < 5; again++ {
		h.id += "-again"
		err = s.bear(ctx, h)
	}
	if err != nil {
		h.problem = err.Error()
		return
	}
	h.problem = s.judge(h)
}

// bear asks one new process for a token while the trouble lasts, and then until it comes.
func (s *straits) bear(ctx context.Context, h *hardship) (err error) {
	proxy, err := oauthtest.StartProxy(oauthtest.ProxyConfig{Target: s.urls[h.server], CA: s.issuer.CA()})
	if err != nil {
		return err
	}
	defer proxy.Close()
	url := proxy.URL()
	if h.trouble.Name == nameless {
		url = "https://token-vendor.invalid" // RFC 6761 section 6.4
	}
	env, endpoint := s.env, s.issuer.TokenEndpoint()
	if h.variable == "" {
		endpoint = url + oauthtest.TokenPath
	} else {
		env = append(env[:len(env):len(env)], h.variable+"="+url)
	}
	if err := errors.Join(s.admit(h.client, h.id, endpoint, time.Hour), proxy.Make(h.trouble)); err != nil {
		return err
	}
	function, end, err := s.process(env)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	begin := time.Now()
	if h.first, err = ask(ctx, function, h.id); err != nil {
		return err
	}
	h.after, h.memory = time.Since(begin), peak(function.PID())
	if proxy.Strayed() > 0 {
		return errors.New("a redirect was followed")
	}
	if h.trouble.Name == nameless {
		return nil
	}
	if proxy.Met() == 0 && h.trouble.Name != refused {
		return errNotMet
	}
	if err := proxy.Make(oauthtest.Trouble{}); err != nil {
		return err
	}
	return h.recover(ctx, function)
}

// process starts one; end also says what it printed that it must not.
func (s *straits) process(env []string) (function *runtimeapi.Runtime, end func() error, err error) {
	w := &watcher{storm: &storm{stacks: make([]int, 1)}}
	function, err = runtimeapi.Start(runtimeapi.Config{
		Binary: s.binary, FunctionName: "bench", Region: region, Account: account, MemoryMB: 256, Timeout: answerTime, Stdout: w, Stderr: w, Env: env,
	})
	return function, func() error {
		err := function.Close()
		for _, problem := range w.storm.problems {
			err = errors.Join(err, errors.New(problem))
		}
		return err
	}, err
}

// prepare lets a process that has no trouble make the table's key: while one that cannot
// tries to, all others wait for it.
func (s *straits) prepare(ctx context.Context) error {
	if err := s.admit(withSecret, "first", s.issuer.TokenEndpoint(), time.Hour); err != nil {
		return err
	}
	for range 5 {
		function, end, err := s.process(s.env)
		if err != nil {
			return err
		}
		_, err = ask(ctx, function, "first")
		if err = errors.Join(err, end()); err != nil || s.keys.Calls("GenerateDataKey") > 0 {
			return err
		}
	}
	return errors.New("this machine is too slow for the table")
}

// recover asks until there is a token.
func (h *hardship) recover(ctx context.Context, function *runtimeapi.Runtime) (err error) {
	begin := time.Now()
	for code := h.first; code != ""; h.again = time.Since(begin) {
		if time.Since(begin) > recoveryTime {
			return errors.New("no token after it: " + code)
		}
		time.Sleep(100 * time.Millisecond)
		if code, err = ask(ctx, function, h.id); err != nil {
			return err
		}
	}
	return nil
}

// ask asks for the client's token and returns the error's code; empty: there was one.
func ask(ctx context.Context, function *runtimeapi.Runtime, client string) (code string, err error) {
	result, err := function.Invoke(ctx, runtimeapi.Invocation{Payload: []byte(`{"client":"` + client + `","scope":"` + client + `"}`)})
	if err != nil {
		return "", err
	}
	s := &storm{tokens: make(map[string]string), errors: make(map[string]int)}
	failed := result.FunctionError != ""
	s.look(result.Payload, failed, client, 0)
	if len(s.problems) > 0 {
		return "", errors.New(s.problems[0])
	}
	var a struct{ ErrorType string }
	if failed {
		err = json.Unmarshal(result.Payload, &a)
	}
	return a.ErrorType, err
}

// judge says what is not as it must be; empty: nothing.
func (s *straits) judge(h *hardship) string {
	asked := 0
	for _, r := range s.issuer.Requests() {
		if r.Form.Get("scope") == h.id {
			asked++
		}
	}
	return h.judge(asked, s.issuer.FailedLogons(h.id))
}
