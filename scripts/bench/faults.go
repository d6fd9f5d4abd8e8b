package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tokenvendor/scripts/local/awsjson"
	"tokenvendor/shared/oauth/oauthtest"
)

const (
	// faultScopes are so many different tokens, which live for faultLife, so that most of
	// the time some of them are being fetched.
	faultScopes = 40
	faultLife   = 6 * time.Second
	// answerTime is what Lambda gives the function.
	answerTime = 25 * time.Second
)

// faults sends requests while everything that the function stands on fails at random,
// and counts what must not be.
func faults(ctx context.Context, args []string, out io.Writer) (err error) {
	flags := flag.NewFlagSet("faults", flag.ContinueOnError)
	requests := flags.Int("requests", 10_000, "how many requests are sent")
	processes := flags.Int("processes", 8, "processes of the function")
	seed := flags.Uint64("seed", uint64(time.Now().UnixNano()), "of the random numbers; the same seed makes about the same faults") // #nosec G115 -- any number will do
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *requests < 1 || *processes < 1 {
		return errors.New("faults: -requests and -processes must be at least 1")
	}
	fmt.Fprintf(out, "%d requests, %d processes, -seed %d\n", *requests, *processes, *seed)
	dir, err := os.MkdirTemp("", "token-vendor-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := build(ctx, dir, &candidate{name: "token", pkg: "functions/token"}); err != nil {
		return err
	}
	g, err := newGround(dir, drill{life: faultLife, table: true})
	if err != nil {
		return err
	}
	defer g.stop()
	s := &storm{ground: g, random: rand.New(rand.NewPCG(*seed, 1)), tokens: make(map[string]string), errors: make(map[string]int)} // #nosec G404 -- faults are no secrets
	f := &formation{ground: g, drill: drill{processes: *processes}, out: out, logs: s}
	defer func() { err = errors.Join(err, f.stop()) }()
	if err := f.start(ctx, filepath.Join(dir, "token")); err != nil {
		return err
	}
	s.blow(ctx, f, *requests)
	s.calm(ctx, f)
	return s.report(out, *processes)
}

// storm is the faults, and what came of them.
type storm struct {
	ground *ground

	mu       sync.Mutex
	random   *rand.Rand        // guarded by mu
	tokens   map[string]string // scope by token; guarded by mu
	errors   map[string]int    // by code; guarded by mu
	problems []string          // what must not be; guarded by mu
	made     int               // faults; guarded by mu
	slowest  time.Duration     // guarded by mu
	granted  int               // guarded by mu
}

func (s *storm) pick(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.random.IntN(n)
}

func (s *storm) problem(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.problems) < 20 {
		s.problems = append(s.problems, fmt.Sprintf(format, args...))
	}
}

// Write takes what the processes print, and looks for what may not be there.
func (s *storm) Write(text []byte) (int, error) {
	for _, never := range []string{firstSecret, secondSecret, "eyJhbGci"} {
		if bytes.Contains(text, []byte(never)) {
			s.problem("a secret or a token was printed")
		}
	}
	return len(text), nil
}

// issuerFaults are what the authorization server does instead of answering well. None of
// them refuses the credential: that would end the drill by the fuse.
func issuerFaults() []oauthtest.Fault {
	return []oauthtest.Fault{
		oauthtest.Late(300 * time.Millisecond), oauthtest.Late(7 * time.Second), oauthtest.Hang, oauthtest.Reset, oauthtest.Lost, oauthtest.Truncated,
		oauthtest.LateBody(400 * time.Millisecond), oauthtest.LateBody(8 * time.Second), oauthtest.Drip(time.Millisecond),
		oauthtest.Redirect(http.StatusFound, "https://127.0.0.1:1/"), oauthtest.Redirect(http.StatusTemporaryRedirect, "https://127.0.0.1:1/"),
		oauthtest.Huge(http.StatusOK, 100<<20), oauthtest.Huge(http.StatusInternalServerError, 100<<20), oauthtest.Bomb(100 << 20), oauthtest.HugeHeader(2 << 20),
		oauthtest.HTML429(""), oauthtest.HTML429("1"), oauthtest.WrongContentType, oauthtest.DateSkew(time.Hour),
		oauthtest.Answer(http.StatusServiceUnavailable, "text/html", "<html>"), oauthtest.Answer(http.StatusOK, "text/html", "<html>"),
		oauthtest.Answer(http.StatusOK, "application/json", "{"), oauthtest.Echo(http.StatusBadRequest, "invalid_request"),
		oauthtest.Members(map[string]any{"expires_in": "soon"}), oauthtest.Members(map[string]any{"access_token": nil}),
	}
}

// blow sends the requests. In the middle the secret is rotated.
func (s *storm) blow(ctx context.Context, f *formation, requests int) {
	list := issuerFaults()
	s.ground.issuer.Misbehave(func(w http.ResponseWriter, r *http.Request, next http.Handler, done <-chan struct{}) {
		if i := s.pick(2 * len(list)); i < len(list) {
			s.count()
			list[i](w, r, next, done)
			return
		}
		next.ServeHTTP(w, r)
	})
	blowing, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	all.Go(func() { s.upsetAWS(blowing) })
	var sent atomic.Int64
	var callers sync.WaitGroup
	for i := range f.ships {
		callers.Go(func() {
			for n := sent.Add(1); n <= int64(requests) && ctx.Err() == nil; n = sent.Add(1) {
				if n == int64(requests)/2 {
					if err := s.ground.rotate(); err != nil {
						s.problem("the secret was not rotated: %v", err)
					}
				}
				s.ask(f, i, fmt.Sprint("s", s.pick(faultScopes)))
			}
		})
	}
	callers.Wait()
	cancel()
	all.Wait()
}

func (s *storm) count() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.made++
}

// upsetAWS makes calls of AWS fail, a few at a time.
func (s *storm) upsetAWS(ctx context.Context) {
	type upset func(operation string, times int, f awsjson.Fault)
	calls := []struct {
		operation string
		inject    upset
	}{
		{"GetSecretValue", s.ground.secrets.Inject}, {"GetItem", s.ground.table.Inject}, {"UpdateItem", s.ground.table.Inject}, {"Decrypt", s.ground.keys.Inject},
	}
	kinds := []awsjson.Fault{
		{Code: "ThrottlingException"}, {Code: "InternalServerError"}, {Hang: true}, {Reset: true}, {Reset: true, Done: true},
		{Delay: 40 * time.Millisecond}, {Delay: 200 * time.Millisecond}, {Delay: 2 * time.Second}, {Body: "{"}, {Body: "{}"}, {Body: "<html>"},
	}
	for ctx.Err() == nil {
		call, kind := calls[s.pick(len(calls))], kinds[s.pick(len(kinds))]
		call.inject(call.operation, 1+s.pick(3), kind)
		s.count()
		select {
		case <-time.After(time.Duration(20+s.pick(150)) * time.Millisecond):
		case <-ctx.Done():
		}
	}
	for _, call := range calls {
		call.inject(call.operation, 0, awsjson.Fault{})
	}
}

// ask sends one request to one process and looks at the answer.
func (s *storm) ask(f *formation, i int, scope string) (granted bool) {
	ship := f.ships[i]
	ship.mu.Lock()
	defer ship.mu.Unlock()
	ship.sent++
	took, failed, err := ship.p.send([]byte(`{"client":"billing","scope":"`+scope+`"}`), fmt.Sprintf("ship-%d-%d", i, ship.sent))
	if err != nil {
		s.problem("a process ended: %v", err)
		return false
	}
	if took > answerTime {
		s.problem("an answer took %v", took)
	}
	return s.look(ship.p.answer.Bytes(), failed, scope, took)
}

func (s *storm) look(answer []byte, failed bool, scope string, took time.Duration) (granted bool) {
	var a struct {
		AccessToken string `json:"access_token"`
		Scope       string `json:"scope"`
		ExpiresIn   int64  `json:"expires_in"`
		ErrorType   string `json:"errorType"`
	}
	if err := json.Unmarshal(answer, &a); err != nil {
		s.problem("an answer is not JSON")
		return false
	}
	if failed {
		if bytes.Contains(answer, []byte(firstSecret)) || bytes.Contains(answer, []byte(secondSecret)) || bytes.Contains(answer, []byte("eyJhbGci")) {
			s.problem("an error holds a secret or a token")
		}
		if !strings.Contains("temporarily_unavailable server_error", a.ErrorType) || a.ErrorType == "" {
			s.problem("the error %s", a.ErrorType)
		}
	} else if problem := expired(a.AccessToken); problem != "" || a.ExpiresIn < 0 {
		s.problem("%s, %d seconds left", problem, a.ExpiresIn)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slowest = max(s.slowest, took)
	if failed {
		s.errors[a.ErrorType]++
		return false
	}
	s.granted++
	if first, seen := s.tokens[a.AccessToken]; seen && first != scope || a.Scope != scope {
		s.problems = append(s.problems, "a token of another scope")
	}
	s.tokens[a.AccessToken] = scope
	return true
}

// expired says what is wrong with a token of oauthtest's; empty: nothing.
func expired(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "not a token of the authorization server"
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct {
		Exp int64 `json:"exp"`
	}
	// The server's exp is in whole seconds, and so up to one early.
	if err != nil || json.Unmarshal(text, &claims) != nil || claims.Exp < time.Now().Unix() {
		return "an expired token"
	}
	return ""
}

// calm waits until every token can be had again from every process.
func (s *storm) calm(ctx context.Context, f *formation) {
	s.ground.issuer.Behave()
	var all sync.WaitGroup
	for i := range f.ships {
		all.Go(func() {
			for n := range faultScopes {
				end := time.Now().Add(time.Minute)
				for !s.ask(f, i, fmt.Sprint("s", n)) {
					if time.Now().After(end) || ctx.Err() != nil {
						s.problem("no token a minute after the last fault")
						return
					}
					time.Sleep(200 * time.Millisecond)
				}
			}
		})
	}
	all.Wait()
}

func (s *storm) report(out io.Writer, processes int) error {
	c := s.ground.counts()
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(out, "  faults              %6d\n  tokens              %6d\n", s.made, s.granted)
	for _, code := range []string{"temporarily_unavailable", "server_error"} {
		fmt.Fprintf(out, "  %-23s %d\n", code, s.errors[code])
	}
	fmt.Fprintf(out, "  different tokens    %6d\n  token requests      %6d\n  failed logons       %6d\n  slowest answer      %6v\n", len(s.tokens), c.asked, c.failedLogons, s.slowest.Round(time.Millisecond))
	// With the table one for the fleet; without it, which happens here, one a process.
	if c.failedLogons > processes {
		s.problems = append(s.problems, "more failed logons than the fuse allows")
	}
	if len(s.problems) > 0 {
		return errors.New(strings.Join(s.problems, "; "))
	}
	fmt.Fprintln(out, "  no wrong token, no expired one, no secret in any output, an answer to everybody")
	return nil
}
