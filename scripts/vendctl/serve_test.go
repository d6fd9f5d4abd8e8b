package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// lambda is a double of the extensions API.
type lambda struct {
	events chan string
	asked  chan string
	// deadline is how long an invocation may take.
	deadline time.Duration
}

func (l *lambda) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.asked <- r.Method + " " + r.URL.Path + " " + r.Header.Get("Lambda-Extension-Name") + r.Header.Get("Lambda-Extension-Identifier")
	w.Header().Set("Lambda-Extension-Identifier", "id-1")
	if strings.HasSuffix(r.URL.Path, "/next") {
		event := <-l.events
		_, _ = fmt.Fprintf(w, `{"eventType":%q,"deadlineMs":%d}`, event, time.Now().Add(l.deadline).UnixMilli())
	}
}

// startExtension serves as an extension, and returns when that waits for an event.
func (l *lambda) startExtension(t *testing.T, stack string, log io.Writer) (listen string, ended chan int) {
	t.Helper()
	l.events, l.asked = make(chan string, 3), make(chan string, 10)
	api := httptest.NewServer(l)
	t.Cleanup(api.Close)
	t.Setenv("AWS_LAMBDA_RUNTIME_API", strings.TrimPrefix(api.URL, "http://"))
	file := filepath.Join(t.TempDir(), "secret")
	ended, listen = make(chan int, 1), freeAddress(t)
	go func() {
		ended <- run(t.Context(), []string{"--local", stack, "serve", "-q", "--listen", listen, "--local-secret-file", file, "--lambda-extension", "--prefetch", "billing,nobody"}, io.Discard, log)
	}()
	for _, want := range []string{"POST /2020-01-01/extension/register vendctl", "GET /2020-01-01/extension/event/next id-1"} {
		if got := <-l.asked; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	return listen, ended
}

// The process of an extension is frozen between invocations. It calls the vendor in an invocation
// only, and ends with the environment.
func TestServeAsLambdaExtension(t *testing.T) {
	l, log := &lambda{deadline: time.Minute}, new(bytes.Buffer)
	listen, ended := l.startExtension(t, vendor(t), log)
	l.events <- "INVOKE"
	<-l.asked                                              // the work of the invocation is done
	resp, err := http.Get("http://" + listen + "/healthz") //nolint:noctx // a test
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	l.events <- "SHUTDOWN"
	if code := <-ended; code != 0 || !strings.Contains(log.String(), "prefetch of nobody") || strings.Contains(log.String(), "prefetch of billing") {
		t.Errorf("got %d, %q, want one failed prefetch", code, log.String())
	}
	t.Setenv("AWS_LAMBDA_RUNTIME_API", "")
	file := filepath.Join(t.TempDir(), "secret")
	if _, errs, code := vendctl(t, "--local", vendor(t), "serve", "-q", "--listen", freeAddress(t), "--local-secret-file", file, "--lambda-extension"); code != exitUsage {
		t.Errorf("outside of Lambda: got %d, %q", code, errs)
	}
}

// A vendor that hangs does not hold an invocation to its deadline.
func TestExtensionLeavesTimeToTheInvocation(t *testing.T) {
	hanging := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}))
	defer func() {
		hanging.CloseClientConnections()
		hanging.Close()
	}()
	stack := vendor(t)
	text, err := os.ReadFile(stack)
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]any
	if err := json.Unmarshal(text, &members); err != nil {
		t.Fatal(err)
	}
	members["token_url"] = hanging.URL + "/prod/token"
	if text, err = json.Marshal(members); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(stack, text, 0o600); err != nil {
		t.Fatal(err)
	}
	l := &lambda{deadline: time.Second}
	_, ended := l.startExtension(t, stack, io.Discard)
	l.events <- "INVOKE"
	begun := time.Now()
	<-l.asked
	if took := time.Since(begun); took > l.deadline {
		t.Errorf("the work of the invocation took %v, want less than its deadline of %v", took, l.deadline)
	}
	l.events <- "SHUTDOWN"
	<-ended
}

// serveOnce runs serve until it ends, and returns where it listens and its local secret.
func serveOnce(t *testing.T, ctx context.Context, args ...string) (address, secret string, ended chan int) {
	t.Helper()
	return serveWriting(t, ctx, io.Discard, args...)
}

// serveWriting is serveOnce with a writer of the log.
func serveWriting(t *testing.T, ctx context.Context, log io.Writer, args ...string) (address, secret string, ended chan int) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	address, ended = freeAddress(t), make(chan int, 1)
	go func() {
		ended <- run(ctx, append([]string{"--local", vendor(t), "serve", "-q", "--listen", address, "--local-secret-file", file}, args...), log, io.Discard)
	}()
	for range 2000 {
		if text, err := os.ReadFile(file); err == nil && len(text) > 0 {
			return address, string(text), ended
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("no local secret")
	return "", "", nil
}

// An answer that has begun reaches the program, though the server ends: after the first token, or
// by a signal.
func TestServeFinishesAnswers(t *testing.T) {
	for _, oneshot := range []bool{true, false} {
		begun, finish := make(chan struct{}, 1), make(chan struct{})
		api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "first half, ")
			_ = http.NewResponseController(w).Flush()
			begun <- struct{}{}
			<-finish
			_, _ = io.WriteString(w, "second half")
		}))
		ctx, stop := context.WithCancel(t.Context())
		args := []string{"--route", "a=billing@" + api.URL}
		if oneshot {
			args = append(args, "--oneshot")
		}
		address, secret, ended := serveOnce(t, ctx, args...)
		time.AfterFunc(100*time.Millisecond, func() {
			<-begun
			if !oneshot {
				stop()
				time.Sleep(100 * time.Millisecond)
			}
			close(finish)
		})
		resp, err := http.Get("http://" + address + "/r/a/~" + secret + "/") //nolint:noctx // a test
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if string(body) != "first half, second half" || err != nil {
			t.Errorf("oneshot %v: got %q, %v", oneshot, body, err)
		}
		if code := <-ended; code != 0 {
			t.Errorf("oneshot %v: got the exit code %d", oneshot, code)
		}
		stop()
		api.Close()
	}
}

func TestOneshotLosesNoToken(t *testing.T) {
	for range 20 {
		address, secret, ended := serveOnce(t, t.Context(), "--oneshot")
		resp, err := http.PostForm("http://"+address+"/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {"billing"}, "client_secret": {secret}}) //nolint:noctx // a test
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("got %d, %v", resp.StatusCode, err)
		}
		_ = resp.Body.Close()
		<-ended
	}
}

// systemd starts what depends on the endpoint when that is ready.
func TestServeTellsSystemd(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenPacket("unixgram", socket) //nolint:noctx // a test
	if err != nil {
		t.Skip("no such sockets")
	}
	defer func() { _ = conn.Close() }()
	t.Setenv("NOTIFY_SOCKET", socket)
	ctx, stop := context.WithCancel(t.Context())
	address, _, ended := serveOnce(t, ctx)
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	message := make([]byte, 100)
	n, _, err := conn.ReadFrom(message)
	if err != nil || string(message[:n]) != "READY=1" {
		t.Errorf("got %q, %v", message[:n], err)
	}
	resp, err := http.Get("http://" + address + "/healthz") //nolint:noctx // a test
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	stop()
	<-ended
}

// Wrong flags end serve before it says that it is ready.
func TestServeChecksItsFlagsFirst(t *testing.T) {
	dir := t.TempDir()
	notify, socket, file := filepath.Join(dir, "notify"), filepath.Join(dir, "s"), filepath.Join(dir, "secret")
	conn, err := net.ListenPacket("unixgram", notify) //nolint:noctx // a test
	if err != nil {
		t.Skip("no such sockets")
	}
	defer func() { _ = conn.Close() }()
	t.Setenv("NOTIFY_SOCKET", notify)
	for _, args := range [][]string{
		{"--route", "a=billing@https://h.example", "--route", "a=jwt@https://h.example"},
		{"--local-secret-group", "no-such-group-at-all"},
		{"--local-secret-group", "-7"},
		{"--lambda-extension"}, // outside of Lambda
	} {
		_, errs, code := vendctl(t, append([]string{"--local", vendor(t), "serve", "--socket", socket, "--local-secret-file", file}, args...)...)
		if code != exitUsage || strings.Contains(errs, "token endpoint") {
			t.Errorf("%v: got %d, %q, want only a message", args, code, errs)
		}
	}
	for _, name := range []string{socket, file} {
		if _, err := os.Lstat(name); err == nil {
			t.Errorf("serve left %s", filepath.Base(name))
		}
	}
	_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if n, _, err := conn.ReadFrom(make([]byte, 100)); err == nil {
		t.Errorf("systemd got %d bytes", n)
	}
}

// service-key is the probe of a container: an old local secret is not enough.
func TestServiceKeyNeedsTheEndpoint(t *testing.T) {
	status := http.StatusServiceUnavailable
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	defer other.Close()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, listen := range []string{freeAddress(t), strings.TrimPrefix(other.URL, "http://")} {
		for _, command := range []string{"service-key", "vcap"} {
			if out, errs, code := vendctl(t, command, "x", "--listen", listen, "--local-secret-file", file); code != exitTemporary || out != "" || !strings.Contains(errs, listen) {
				t.Errorf("%s: got %q, %q, %d, want the exit code 5", command, out, errs, code)
			}
		}
	}
	status = http.StatusOK
	if out, errs, code := vendctl(t, "service-key", "x", "--listen", strings.TrimPrefix(other.URL, "http://"), "--local-secret-file", file); code != 0 || out == "" || errs != "" {
		t.Errorf("got %q, %q, %d, want a key", out, errs, code)
	}
}
