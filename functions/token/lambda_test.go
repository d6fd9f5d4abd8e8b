package main

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tokenvendor/scripts/local/runtimeapi"
	"tokenvendor/shared/oauth/oauthtest"
)

// inLambda is the compiled function before an authorization server that counts logons.
type inLambda struct {
	*runtimeapi.Runtime
	server *oauthtest.Server
	logs   *output
}

func newLambda(t *testing.T, listener net.Listener, life time.Duration, cfg runtimeapi.Config) *inLambda {
	t.Helper()
	if testing.Short() {
		t.Skip("builds the function and runs it")
	}
	s := oauthtest.NewServer(t, oauthtest.Config{Listener: listener})
	s.Register(oauthtest.Client{ID: "id", Methods: []string{"client_secret_post"}, Secrets: []string{testSecret}, Lifetime: life})
	w := newEnv(t)
	w.secrets["real"] = w.document(t, map[string]any{"token_endpoint": s.TokenEndpoint(), "ca_certificates": string(s.CAPEM())})
	l := &inLambda{server: s, logs: new(output)}
	cfg.Stdout, cfg.Stderr = l.logs, l.logs
	l.Runtime = runFunction(t, w, cfg)
	return l
}

// ask asks for a token with a scope, and returns it or the error's type.
func (l *inLambda) ask(t *testing.T, scope string) (token, failure string) {
	t.Helper()
	result, err := l.Invoke(t.Context(), runtimeapi.Invocation{Payload: []byte(`{"client":"real","scope":"` + scope + `"}`)})
	if err != nil {
		t.Error(err)
		return "", "none"
	}
	var a struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int    `json:"expires_in"`
		ErrorType   string `json:"errorType"`
	}
	if err := json.Unmarshal(result.Payload, &a); err != nil || a.AccessToken != "" && a.ExpiresIn <= 0 {
		t.Errorf("%v, %d seconds left", err, a.ExpiresIn)
	}
	return a.AccessToken, a.ErrorType
}

// must asks for a token that must be had.
func (l *inLambda) must(t *testing.T, scope string) (token string) {
	t.Helper()
	token, failure := l.ask(t, scope)
	if token == "" {
		t.Errorf("no token: %s", failure)
	}
	return token
}

// freeze stops the process for a time, in which it may be that something happens.
func (l *inLambda) freeze(t *testing.T, d time.Duration, meanwhile func()) {
	t.Helper()
	if err := l.Freeze(); errors.Is(err, errors.ErrUnsupported) {
		t.Skip("this system has no SIGSTOP")
	} else if err != nil {
		t.Fatal(err)
	}
	meanwhile()
	time.Sleep(d)
	if err := l.Thaw(); err != nil {
		t.Fatal(err)
	}
}

func (l *inLambda) costs(t *testing.T, exchanges int) {
	t.Helper()
	if got, failed := l.server.Exchanges(), l.server.FailedLogons("id"); got != exchanges || failed != 0 {
		t.Errorf("%d exchanges and %d failed logons, want %d and none", got, failed, exchanges)
	}
}

// breakable is a listener whose connections can be broken behind the server's back.
type breakable struct {
	net.Listener

	mu    sync.Mutex
	conns []*breakableConn // guarded by mu
}

type breakableConn struct {
	*net.TCPConn
	muted chan struct{} // closed: it neither reads nor writes any more
}

func (b *breakable) Accept() (net.Conn, error) {
	conn, err := b.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &breakableConn{conn.(*net.TCPConn), make(chan struct{})}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.conns = append(b.conns, c)
	return c, nil
}

// Read hands on nothing once the connection is muted.
func (c *breakableConn) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	select {
	case <-c.muted:
		select {} // as behind a router that forgot the connection
	default:
		return n, err
	}
}

// each does something to all connections so far.
func (b *breakable) each(do func(*breakableConn)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.conns {
		do(c)
	}
	b.conns = nil
}

// TestThawedFunctionReconnects: the connection that a frozen function held is dead when it thaws, in any
// of the ways that connections die. The next token costs a new connection and no error;
// only where nothing says that it is dead, one attempt is lost to it: whether the server
// got that one can't be known, so it is not repeated at once.
func TestThawedFunctionReconnects(t *testing.T) {
	for name, die := range map[string]func(*breakableConn){
		"FIN":     func(c *breakableConn) { _ = c.Close() },
		"RST":     func(c *breakableConn) { _ = c.SetLinger(0); _ = c.Close() },
		"silence": func(c *breakableConn) { close(c.muted) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			b := &breakable{Listener: listener}
			l := newLambda(t, b, time.Hour, runtimeapi.Config{})
			l.must(t, "a")
			l.freeze(t, 100*time.Millisecond, func() { b.each(die) })
			if name == "silence" {
				if _, failure := l.ask(t, "b"); failure != "temporarily_unavailable" {
					t.Errorf("the error is %q", failure)
				}
				l.must(t, "c")
			} else {
				l.must(t, "b")
			}
			l.costs(t, 2)
			checkLogs(t, l)
		})
	}
}

// TestFunctionFrozenPastExpiryFetchesAgain: a function that was frozen for longer than its token lives
// hands out another.
func TestFunctionFrozenPastExpiryFetchesAgain(t *testing.T) {
	t.Parallel()
	l := newLambda(t, nil, 3*time.Second, runtimeapi.Config{})
	first := l.must(t, "a")
	if again := l.must(t, "a"); again != first {
		t.Error("a token that lives was not kept")
	}
	l.freeze(t, 3*time.Second, func() {})
	if after := l.must(t, "a"); after == first {
		t.Error("an expired token")
	}
	l.costs(t, 2)
	checkLogs(t, l)
}

// TestFrozenInTheExchange: the answer waits in the connection until the function thaws,
// and counts.
func TestFrozenInTheExchange(t *testing.T) {
	t.Parallel()
	l := newLambda(t, nil, time.Hour, runtimeapi.Config{MaxConcurrency: 64})
	arrived := make(chan struct{}, 1)
	l.server.MisbehaveNext(1, func(w http.ResponseWriter, r *http.Request, next http.Handler, done <-chan struct{}) {
		arrived <- struct{}{}
		oauthtest.Late(300*time.Millisecond)(w, r, next, done)
	})
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() { l.must(t, "a") })
	}
	<-arrived
	l.freeze(t, time.Second, func() {})
	all.Wait()
	l.costs(t, 1)
	checkLogs(t, l)
}

// TestFrozenPastTheDeadline: Lambda ends such a process, and the next one begins anew.
func TestFrozenPastTheDeadline(t *testing.T) {
	t.Parallel()
	l := newLambda(t, nil, time.Hour, runtimeapi.Config{Timeout: 2 * time.Second})
	l.must(t, "a")
	pid := l.PID()
	if err := l.Freeze(); errors.Is(err, errors.ErrUnsupported) {
		t.Skip("this system has no SIGSTOP")
	} else if err != nil {
		t.Fatal(err)
	}
	// The event fails if the process had already asked for it, and else waits for the
	// next process.
	l.ask(t, "b")
	l.must(t, "b")
	if l.PID() == pid {
		t.Error("the process lives on")
	}
	l.costs(t, 2)
	checkLogs(t, l)
}

// TestDeadlineThroughTheBinary: whoever has less time than an exchange takes gets an
// error in time, one or 64 at once, and the process lives on.
func TestDeadlineThroughTheBinary(t *testing.T) {
	for _, concurrency := range []int{1, 64} {
		l := newLambda(t, nil, time.Hour, runtimeapi.Config{Timeout: 2 * time.Second, MaxConcurrency: concurrency})
		l.server.Misbehave(oauthtest.Hang)
		var all sync.WaitGroup
		for range concurrency {
			all.Go(func() {
				if _, failure := l.ask(t, "a"); failure != "temporarily_unavailable" {
					t.Errorf("the error is %q", failure)
				}
			})
		}
		all.Wait()
		pid := l.PID()
		l.server.Behave()
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(100 * time.Millisecond) {
			if token, failure := l.ask(t, "a"); token != "" {
				break
			} else if time.Now().After(end) {
				t.Fatalf("no token afterwards: %s", failure)
			}
		}
		if l.PID() != pid {
			t.Error("the process ended")
		}
		checkLogs(t, l)
	}
}

// TestSignalEndsTheProcessAnywhere: a process that gets SIGTERM or SIGKILL, whatever it does, ends at
// once, and the next one serves.
func TestSignalEndsTheProcessAnywhere(t *testing.T) {
	l := newLambda(t, nil, time.Hour, runtimeapi.Config{MaxConcurrency: 64})
	l.server.Misbehave(oauthtest.Late(20 * time.Millisecond))
	l.must(t, "a")
	for i := range 20 {
		process, err := os.FindProcess(l.PID())
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() { l.ask(t, "b") }) // may fail, but must be answered
		}
		time.Sleep(time.Duration(rand.IntN(40)) * time.Millisecond)
		end := os.Signal(syscall.SIGTERM)
		if i%2 == 0 {
			end = syscall.SIGKILL
		}
		if err := process.Signal(end); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Skipf("%v here: %v", end, err)
		}
		all.Wait()
		for until := time.Now().Add(10 * time.Second); l.PID() == process.Pid; time.Sleep(time.Millisecond) {
			if time.Now().After(until) {
				t.Fatalf("%v does not end the process", end)
			}
		}
		l.must(t, "a")
	}
	if failed := l.server.FailedLogons("id"); failed != 0 {
		t.Errorf("%d failed logons", failed)
	}
	checkLogs(t, l)
}

// checkLogs fails the test if the process printed a secret or a token.
func checkLogs(t *testing.T, l *inLambda) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	checkOutput(t, &harness{logs: l.logs, stderr: new(output)})
	if strings.Contains(l.logs.String(), "eyJhbGci") {
		t.Error("a token was printed")
	}
}
