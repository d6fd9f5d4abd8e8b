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

// lambdaFunction is the compiled function with an authorization server that counts logons.
type lambdaFunction struct {
	*runtimeapi.Runtime
	server *oauthtest.Server
	logs   *output
}

func newLambda(t *testing.T, listener net.Listener, life time.Duration, cfg runtimeapi.Config) *lambdaFunction {
	t.Helper()
	s := oauthtest.NewServer(t, oauthtest.Config{Listener: listener})
	s.Register(oauthtest.Client{ID: "id", Methods: []string{"client_secret_post"}, Secrets: []string{testSecret}, Lifetime: life})
	e := newEnv(t)
	e.secrets["real"] = e.document(t, map[string]any{"token_endpoint": s.TokenEndpoint(), "ca_certificates": string(s.CAPEM())})
	l := &lambdaFunction{server: s, logs: new(output)}
	cfg.Stdout, cfg.Stderr = l.logs, l.logs
	l.Runtime = e.start(t, cfg)
	return l
}

// ask asks for a token with a scope, and returns it or the type of the error.
func (l *lambdaFunction) ask(t *testing.T, scope string) (token, failure string) {
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
		t.Errorf("got expires_in %d, %v; want a positive one", a.ExpiresIn, err)
	}
	return a.AccessToken, a.ErrorType
}

// must asks for a token, and fails the test if there is none.
func (l *lambdaFunction) must(t *testing.T, scope string) (token string) {
	t.Helper()
	token, failure := l.ask(t, scope)
	if token == "" {
		t.Errorf("got error %q, want a token", failure)
	}
	return token
}

// stop stops the process as Lambda does between events.
func (l *lambdaFunction) stop(t *testing.T) {
	t.Helper()
	if err := l.Freeze(); errors.Is(err, errors.ErrUnsupported) {
		t.Skip("this system has no SIGSTOP")
	} else if err != nil {
		t.Fatal(err)
	}
}

// freeze stops the process for a time. If meanwhile is not nil, it is called then.
func (l *lambdaFunction) freeze(t *testing.T, d time.Duration, meanwhile func()) {
	t.Helper()
	l.stop(t)
	if meanwhile != nil {
		meanwhile()
	}
	time.Sleep(d)
	if err := l.Thaw(); err != nil {
		t.Fatal(err)
	}
}

// wantExchanges fails the test unless the server counted so many exchanges and no failed logon.
func (l *lambdaFunction) wantExchanges(t *testing.T, exchanges int) {
	t.Helper()
	if got, failed := l.server.Exchanges(), l.server.FailedLogons("id"); got != exchanges || failed != 0 {
		t.Errorf("got %d exchanges and %d failed logons, want %d and none", got, failed, exchanges)
	}
}

// breakable is a listener whose connections can be broken without the server.
type breakable struct {
	net.Listener

	mu    sync.Mutex
	conns []*breakableConn // guarded by mu
}

type breakableConn struct {
	*net.TCPConn
	muted chan struct{} // closed when nothing is read any more
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

// Read returns nothing once the connection is muted.
func (c *breakableConn) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	select {
	case <-c.muted:
		select {} // as behind a router that has dropped the connection
	default:
		return n, err
	}
}

// each calls do for all connections so far.
func (b *breakable) each(do func(*breakableConn)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.conns {
		do(c)
	}
	b.conns = nil
}

// The connection of a frozen function dies in each of the ways in which connections die. The
// next token costs a new connection and no error. If no packet tells that the connection is
// dead, one request fails: it is not known whether the server got it, so that it is not repeated
// at once.
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
					t.Errorf("got error %q, want temporarily_unavailable", failure)
				}
				l.must(t, "c")
			} else {
				l.must(t, "b")
			}
			l.wantExchanges(t, 2)
			checkLogs(t, l)
		})
	}
}

func TestFunctionFrozenPastExpiryFetchesAgain(t *testing.T) {
	t.Parallel()
	l := newLambda(t, nil, 3*time.Second, runtimeapi.Config{})
	first := l.must(t, "a")
	if again := l.must(t, "a"); again != first {
		t.Error("got another token before the first expired")
	}
	l.freeze(t, 3*time.Second, nil)
	if after := l.must(t, "a"); after == first {
		t.Error("got an expired token")
	}
	l.wantExchanges(t, 2)
	checkLogs(t, l)
}

// The answer of the server waits in the connection until the function thaws.
func TestFunctionFrozenInTheExchangeUsesTheAnswer(t *testing.T) {
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
	l.freeze(t, time.Second, nil)
	all.Wait()
	l.wantExchanges(t, 1)
	checkLogs(t, l)
}

// Lambda ends a process that does not answer by the deadline, and starts another.
func TestFunctionFrozenPastTheDeadlineIsReplaced(t *testing.T) {
	t.Parallel()
	l := newLambda(t, nil, time.Hour, runtimeapi.Config{Timeout: 2 * time.Second})
	l.must(t, "a")
	pid := l.PID()
	l.stop(t)
	// The event fails if the process had already asked for it. Otherwise it waits for the
	// next process.
	l.ask(t, "b")
	l.must(t, "b")
	if l.PID() == pid {
		t.Error("the frozen process was not ended")
	}
	l.wantExchanges(t, 2)
	checkLogs(t, l)
}

// If the server hangs, one caller or 64 at once get an error before the deadline, and the
// process goes on.
func TestBinaryAnswersBeforeTheDeadline(t *testing.T) {
	t.Parallel()
	var both sync.WaitGroup
	for _, concurrency := range []int{1, 64} {
		l := newLambda(t, nil, time.Hour, runtimeapi.Config{Timeout: 2 * time.Second, MaxConcurrency: concurrency})
		both.Go(func() { l.survivesHang(t, concurrency) })
	}
	both.Wait()
}

// survivesHang lets the server hang while so many callers ask for a token, and then answer again.
func (l *lambdaFunction) survivesHang(t *testing.T, callers int) {
	l.server.Misbehave(oauthtest.Hang)
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			if _, failure := l.ask(t, "a"); failure != "temporarily_unavailable" {
				t.Errorf("%d callers: got error %q, want temporarily_unavailable", callers, failure)
			}
		})
	}
	all.Wait()
	pid := l.PID()
	l.server.Behave()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if token, failure := l.ask(t, "a"); token != "" {
			break
		} else if time.Now().After(end) {
			t.Errorf("%d callers: got error %q 20 s after the server answers again, want a token", callers, failure)
			break
		}
	}
	if l.PID() != pid {
		t.Errorf("%d callers: the process ended", callers)
	}
	checkLogs(t, l)
}

// SIGTERM and SIGKILL end the process whatever it does, and the next process serves.
func TestSignalEndsTheProcessAtOnce(t *testing.T) {
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
			t.Skipf("this system cannot send %v: %v", end, err)
		}
		all.Wait()
		for until := time.Now().Add(10 * time.Second); l.PID() == process.Pid; time.Sleep(time.Millisecond) {
			if time.Now().After(until) {
				t.Fatalf("%v does not end the process within 10 s", end)
			}
		}
		l.must(t, "a")
	}
	if failed := l.server.FailedLogons("id"); failed != 0 {
		t.Errorf("got %d failed logons, want none", failed)
	}
	checkLogs(t, l)
}

// checkLogs fails the test if the process printed a secret or a token.
func checkLogs(t *testing.T, l *lambdaFunction) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	checkOutput(t, &harness{logs: l.logs, stderr: new(output)})
	if strings.Contains(l.logs.String(), "eyJhbGci") {
		t.Error("a token was printed")
	}
}
