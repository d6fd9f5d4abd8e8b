package apigateway

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// maxEvent is Lambda's limit on an event, in bytes.
const maxEvent = 6 << 20

// call is one request.
type call struct {
	w       http.ResponseWriter
	r       *http.Request
	began   time.Time
	id      string // request id, a UUID
	longID  string // extended request id
	traceID string

	path, query string // as received
	client      string // the last segment of path, as received
	body        []byte
	who         *identity // nil until the signature is verified

	// For the access log.
	status    int
	errorType string
	written   int
	waited    time.Duration // for the function
}

func (s *Server) newCall(w http.ResponseWriter, r *http.Request) *call {
	c := &call{w: w, r: r, began: s.cfg.Now(), id: newUUID(), longID: newExtendedID()}
	c.path, c.query, _ = strings.Cut(r.RequestURI, "?")
	c.traceID = r.Header.Get("X-Amzn-Trace-Id")
	if c.traceID == "" {
		c.traceID = newTraceID(c.began)
	}
	return c
}

// route reports whether a request is POST /<stage>/token/{client}. It compares the path
// as received, because IAM must judge the same path that the function gets.
func (s *Server) route(c *call) bool {
	client, ok := strings.CutPrefix(c.path, "/"+s.cfg.Stage+"/token/")
	c.client = client
	return ok && c.r.Method == http.MethodPost && client != "" && !strings.Contains(client, "/")
}

func (c *call) readBody() *fault {
	body, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, maxBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return tooLong()
	}
	if err != nil {
		return badRequest()
	}
	c.body = body
	return nil
}

// integrate runs the function. As in AWS, a caller that leaves does not stop it.
func (s *Server) integrate(c *call) *fault {
	event, err := s.event(c)
	if err != nil {
		return badRequest()
	}
	if len(event) > maxEvent {
		return tooLong()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.r.Context()), integrationTimeout)
	defer cancel()
	sent := s.cfg.Now()
	answer, err := s.cfg.Invoke(ctx, event)
	c.waited = s.cfg.Now().Sub(sent)
	if ctx.Err() != nil {
		return timedOut()
	}
	if err != nil {
		return badGateway()
	}
	response, err := parseProxyResponse(answer)
	if err != nil {
		return badGateway()
	}
	c.respond(response)
	return nil
}

// log writes a line of the access log. As in AWS, a line that cannot be written is lost.
func (s *Server) log(c *call) {
	if s.cfg.AccessLog == nil {
		return
	}
	line := map[string]any{
		"requestId":          c.id,
		"extendedRequestId":  c.longID,
		"requestTime":        c.began.UTC().Format(requestTimeLayout),
		"ip":                 c.sourceIP(),
		"httpMethod":         c.r.Method,
		"resourcePath":       resourcePath,
		"protocol":           c.r.Proto,
		"status":             c.status,
		"responseLength":     c.written,
		"integrationLatency": c.waited.Milliseconds(),
	}
	if c.who != nil {
		line["caller"] = c.who.ARN
	}
	if c.errorType != "" {
		line["errorType"] = c.errorType
	}
	text, _ := json.Marshal(line)
	s.logMu.Lock()
	defer s.logMu.Unlock()
	_, _ = s.cfg.AccessLog.Write(append(text, '\n'))
}

func (c *call) sourceIP() string {
	host, _, err := net.SplitHostPort(c.r.RemoteAddr)
	if err != nil {
		return c.r.RemoteAddr
	}
	return host
}

// newUUID returns a random UUID (RFC 9562 section 5.4).
func newUUID() string {
	b := randomBytes(16)
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	h := hex.EncodeToString(b)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

func newExtendedID() string {
	return base64.StdEncoding.EncodeToString(randomBytes(11))
}

func newTraceID(now time.Time) string {
	return fmt.Sprintf("Root=1-%08x-%x", now.Unix(), randomBytes(12))
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}
