// Package audit writes one line of JSON for each decision about a token, before the token
// is returned. The line contains the caller, the request, the decision and its rule, the
// token's origin and its expiry. A token is identified by its SHA-256, a credential by the
// version of its secret.
//
// An [Event] has only named fields of plain types, so that no value gets into the log by
// accident. The package imports only the standard library and ask.
package audit

import (
	"io"
	"sync"
	"time"

	"tokenvendor/shared/ask"
)

// Schema is the version of the line's format. It is increased when a field changes its
// meaning. New fields may be added without a new version.
const Schema = 1

// Type is the kind of an [Event].
type Type string

// The types of events.
const (
	// Decision: a caller asked for a token.
	Decision Type = "decision"
	// Forged: a caller invoked the function with an event that only API Gateway, a
	// queue, an event bus or a schedule may send.
	Forged Type = "forged"
	// Shadow: a second credential was tried. Its token was not returned to a caller.
	Shadow Type = "shadow"
)

// Source is the kind of service that invoked the function.
type Source string

// The sources.
const (
	REST     Source = "rest"     // API Gateway REST API
	HTTP     Source = "http"     // API Gateway HTTP API
	URL      Source = "url"      // Lambda Function URL
	Direct   Source = "direct"   // lambda:Invoke
	SQS      Source = "sqs"      // a message of Amazon SQS
	Bus      Source = "event"    // an event of Amazon EventBridge
	Schedule Source = "schedule" // a schedule of Amazon EventBridge Scheduler
	Prefetch Source = "prefetch" // the function itself, at its start
	Radar    Source = "radar"    // a probe of the credential; see the function batch
	Unknown  Source = "unknown"  // an event of unknown shape
)

// Origin is where a request came from, in addition to the caller's name. Unverified claims
// of an event do not belong here.
type Origin struct {
	Source Source
	// CallerID is the unique id of the caller's role or user (AROA…). A role that is
	// deleted and created again under the same name gets another id.
	CallerID string
	// Session is the session name, which the caller chooses.
	Session string
	// SourceIP and VPCE are the IP address and the VPC endpoint that the request came from.
	SourceIP, VPCE string
	// MessageID is the id of the message or event that contained the request.
	MessageID string
	// Alias is the function's alias that was invoked.
	Alias string
	// GatewayRequestID is the id of the request in API Gateway's access log. For a REST API that
	// log, and not the audit line, also has the extended request id and GatewayTime.
	GatewayRequestID string
	// GatewayTime is when an HTTP API or a Function URL received the request, by its clock.
	GatewayTime time.Time
	// TraceID is the root of the request's X-Amzn-Trace-Id, and Traceparent is that of the
	// W3C Trace Context. The caller may choose both.
	TraceID, Traceparent string
	// Forged means that the event's shape is that of a service that did not send it.
	Forged bool
}

// Event is one decision. Fields with their zero value are left out of the line, except
// Type, Time, RequestID, Source, Caller, Client, Allowed and Outcome.
type Event struct {
	Type      Type
	Time      time.Time
	RequestID string
	Origin    Origin
	// Caller is the normalised principal.
	Caller string
	// Client is the client's name; empty if the request has no valid name.
	Client string
	// ClaimID is the id of the claim that was issued or redeemed.
	ClaimID string
	// DryRun means that the caller asked for the decision only, and for no token.
	DryRun bool
	// Ahead means that the token was fetched ahead, so that no caller got it now.
	Ahead bool

	// Ask is the requested token; the zero value if the request was refused.
	ask.Ask

	Allowed bool
	// Mode is the policy's mode: iam, document or audit. Rule is the rule that allowed the
	// request. WouldDeny means that no rule allowed it, but the policy only audits. Nearest
	// is the rule that came nearest to allowing it, and Failed is the field that did not
	// match.
	Mode, Rule      string
	WouldDeny       bool
	Nearest, Failed string

	// Outcome is where the token came from, or denied, failed or explained.
	Outcome string
	// Status, Error and Detail belong to the response to the caller, UpstreamStatus and
	// UpstreamError to the response of the authorization server.
	Status             int
	Error, Detail      string
	UpstreamStatus     int
	UpstreamError      string
	CorrelationID      string // id in the authorization server's log
	FuseUntil          time.Time
	IssuerHost, Method string
	TokenSHA256        string
	GrantedScope       []string
	ExpiresAt          time.Time
	RefreshAfter       time.Duration
	// SecretVersion is the version of the credential that the token was obtained with, and
	// DocumentVersion that of the document that was read, if it is another.
	SecretVersion       string
	DocumentVersion     string
	CertificateBound    bool
	CertificateNotAfter time.Time
	Duration            time.Duration
}

// Config configures a [Log].
type Config struct {
	// Output receives each line in one call of Write; required. It must be safe for
	// concurrent use.
	Output io.Writer
	// Version identifies the build of the function; empty: lines have no version.
	Version string
}

// Log writes events as lines. It is safe for concurrent use.
type Log struct {
	cfg Config
	// lines has the memory of lines that are written.
	lines sync.Pool
}

// New returns a Log that writes to cfg.Output.
func New(cfg Config) *Log { return &Log{cfg: cfg} }

// Write writes the line of e. If it returns an error, the line may be missing, and the
// caller must not act on the decision.
func (l *Log) Write(e *Event) error {
	to, ok := l.lines.Get().(*line)
	if !ok {
		to = newLine()
	}
	defer l.lines.Put(to)
	to.event(e, l.cfg.Version)
	n, err := l.cfg.Output.Write(to.text)
	if err == nil && n < len(to.text) {
		err = io.ErrShortWrite
	}
	return err
}
