package oauthtest

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A Fault answers a token request instead of the server, or changes the answer of next,
// which is the server. done is closed when the server closes.
type Fault func(w http.ResponseWriter, r *http.Request, next http.Handler, done <-chan struct{})

// Answer answers with status, media type and body.
func Answer(status int, contentType, body string) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler, _ <-chan struct{}) {
		if contentType != "" {
			w.Header().Set("Content-Type", contentType)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// RefuseWith answers with status and an error code (RFC 6749 section 5.2).
func RefuseWith(status int, code, description string) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler, _ <-chan struct{}) {
		writeError(w, status, code, description)
	}
}

// HTML429 throttles as XSUAA's proxy does, with a page instead of JSON. retryAfter is the
// header Retry-After; empty: no header.
func HTML429(retryAfter string) Fault {
	page := Answer(http.StatusTooManyRequests, "text/html", "<html><body><h1>429 Too Many Requests</h1><hr>nginx</body></html>")
	return withHeader("Retry-After", retryAfter, page)
}

// Redirect answers with a redirect.
func Redirect(status int, location string) Fault {
	return withHeader("Location", location, Answer(status, "", ""))
}

func withHeader(name, value string, f Fault) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler, done <-chan struct{}) {
		if value != "" {
			w.Header().Set(name, value)
		}
		f(w, r, next, done)
	}
}

// WrongContentType sends a valid answer as text/html.
func WrongContentType(w http.ResponseWriter, r *http.Request, next http.Handler, _ <-chan struct{}) {
	answer := record(next, r)
	answer.header.Set("Content-Type", "text/html")
	answer.send(w, answer.body.Bytes())
}

// recorder records an answer. Package net/http/httptest would add its flag to the command
// of the local stack.
type recorder struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

func (a *recorder) Header() http.Header         { return a.header }
func (a *recorder) WriteHeader(code int)        { a.code = code }
func (a *recorder) Write(p []byte) (int, error) { return a.body.Write(p) }

func record(next http.Handler, r *http.Request) *recorder {
	answer := &recorder{header: make(http.Header), code: http.StatusOK}
	next.ServeHTTP(answer, r)
	return answer
}

// send sends the answer with another body.
func (a *recorder) send(w http.ResponseWriter, body []byte) {
	maps.Copy(w.Header(), a.header)
	w.WriteHeader(a.code)
	_, _ = w.Write(body)
}

// Rewrite changes the body of a valid answer after the token was issued. Use it for a body
// that [Members] cannot express.
func Rewrite(change func(body []byte) []byte) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler, _ <-chan struct{}) {
		answer := record(next, r)
		body := answer.body.Bytes()
		if answer.code == http.StatusOK {
			body = change(body)
		}
		answer.send(w, body)
	}
}

// Members changes members of a valid answer; a nil value removes one. It panics if a value
// cannot be encoded as JSON.
func Members(changes map[string]any) Fault {
	raw := make(map[string]json.RawMessage, len(changes))
	for name, value := range changes {
		text, err := json.Marshal(value)
		if err != nil {
			panic("oauthtest: a changed member is not JSON: " + err.Error())
		}
		raw[name] = text
	}
	return Rewrite(func(body []byte) []byte {
		var members map[string]json.RawMessage
		if json.Unmarshal(body, &members) != nil {
			return body
		}
		maps.Copy(members, raw)
		maps.DeleteFunc(members, func(_ string, value json.RawMessage) bool { return string(value) == "null" })
		changed, err := json.Marshal(members)
		if err != nil {
			panic("internal error: impossible: " + err.Error())
		}
		return changed
	})
}

// Late waits before it passes the request on. It stops when the client gives up.
func Late(d time.Duration) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler, done <-chan struct{}) {
		wait(r, d, done)
		next.ServeHTTP(w, r)
	}
}

// wait breaks the connection when the client gives up or the server closes, because
// returning would send an answer.
func wait(r *http.Request, d time.Duration, done <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return
	case <-r.Context().Done():
	case <-done:
	}
	panic(http.ErrAbortHandler)
}

// Hang never answers. It stops when the client gives up or the server closes.
func Hang(_ http.ResponseWriter, r *http.Request, _ http.Handler, done <-chan struct{}) {
	wait(r, math.MaxInt64, done)
}

// LateBody sends the header of a valid answer and waits before the body.
func LateBody(d time.Duration) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler, done <-chan struct{}) {
		answer := record(next, r)
		answer.send(w, nil)
		_ = http.NewResponseController(w).Flush()
		wait(r, d, done)
		_, _ = w.Write(answer.body.Bytes())
	}
}

// Drip sends a valid answer byte by byte, with a pause before each.
func Drip(pause time.Duration) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler, done <-chan struct{}) {
		answer := record(next, r)
		answer.send(w, nil)
		for _, b := range answer.body.Bytes() {
			wait(r, pause, done)
			_, _ = w.Write([]byte{b})
			_ = http.NewResponseController(w).Flush()
		}
	}
}

// Reset resets the connection without processing the request.
func Reset(w http.ResponseWriter, _ *http.Request, _ http.Handler, _ <-chan struct{}) { reset(w) }

// Lost issues the token and resets the connection before it is sent.
func Lost(w http.ResponseWriter, r *http.Request, next http.Handler, _ <-chan struct{}) {
	record(next, r)
	reset(w)
}

func reset(w http.ResponseWriter) {
	connection, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if t, ok := connection.(interface{ NetConn() net.Conn }); ok {
		if tcp, ok := t.NetConn().(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
			// Closing the TLS connection would send a close_notify first.
			_ = tcp.Close()
			return
		}
	}
	_ = connection.Close()
}

// Truncated sends half of the body of a valid answer.
func Truncated(w http.ResponseWriter, r *http.Request, next http.Handler, _ <-chan struct{}) {
	answer := record(next, r)
	body := answer.body.Bytes()
	answer.header.Set("Content-Length", strconv.Itoa(len(body)))
	answer.send(w, body[:len(body)/2])
}

// Huge answers with n bytes of spaces, which are valid before JSON.
func Huge(status int, n int) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler, _ <-chan struct{}) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.CopyN(w, spaces{}, int64(n))
	}
}

// Bomb answers with n bytes of spaces, compressed.
func Bomb(n int) Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler, _ <-chan struct{}) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = io.CopyN(z, spaces{}, int64(n))
		_ = z.Close()
	}
}

// spaces is an endless reader of spaces.
type spaces struct{}

func (spaces) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// HugeHeader answers with a header of n bytes.
func HugeHeader(n int) Fault {
	return withHeader("X-Filler", strings.Repeat("x", n), Answer(http.StatusOK, "application/json", "{}"))
}

// Echo refuses the request and repeats the credential in error_description.
func Echo(status int, code string) Fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler, _ <-chan struct{}) {
		_ = r.ParseForm()
		_, secret, _ := r.BasicAuth()
		writeError(w, status, code, fmt.Sprintf("bad: %s %s %s %s",
			r.Form.Get("client_secret"), r.Form.Get("client_assertion"), r.Header.Get("Authorization"), secret))
	}
}

// DateSkew shifts the header Date by d.
func DateSkew(d time.Duration) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler, _ <-chan struct{}) {
		w.Header().Set("Date", time.Now().Add(d).UTC().Format(http.TimeFormat))
		next.ServeHTTP(w, r)
	}
}

func writeError(w http.ResponseWriter, status int, code, description string) {
	writeJSON(w, status, map[string]any{"error": code, "error_description": description})
}

func writeJSON(w http.ResponseWriter, status int, members map[string]any) {
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(members)
}
