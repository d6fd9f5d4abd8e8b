// Package audit writes one line of JSON for each decision about a token, before the
// token leaves: who asked for what, whether it was allowed and by which rule, where
// the token came from and until when it is good. A token is named by its SHA-256, a
// credential by the version of its secret.
//
// An [Event] has named fields of plain types only, so that nothing gets into the
// log that nobody meant to write there. The package imports the standard library
// and ask only.
package audit

import (
	"io"
	"time"

	"tokenvendor/shared/ask"
)

// Schema is the version of the line's format. It rises when a field changes its
// meaning; fields may be added at any time.
const Schema = 1

// Type is what a line is about.
type Type string

// The types.
const (
	// Decision: somebody asked for a token.
	Decision Type = "decision"
	// Forged: somebody sent an event that only API Gateway, or a queue, a bus or a
	// schedule, may send.
	Forged Type = "forged"
	// Shadow: a second credential was tried; nobody got its token.
	Shadow Type = "shadow"
)

// Source is the way in.
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
	Prefetch Source = "prefetch" // the function itself, when it starts
	Unknown  Source = "unknown"  // an event of no shape that is known
)

// Origin is where a request came from, beside the caller's name. What an event says
// that nobody believes does not belong there.
type Origin struct {
	Source Source
	// CallerID is the unique id of the caller's role or user (AROA…), which a role
	// of the same name that is made later does not have.
	CallerID string
	// Session is the name that the caller chose for its session.
	Session string
	// SourceIP and VPCE are the address and the VPC endpoint it came from.
	SourceIP, VPCE string
	// MessageID is the id of the message or the event that asked.
	MessageID string
	// Alias is the function's alias that was invoked.
	Alias string
	// GatewayRequestID and ExtendedRequestID join the line to API Gateway's access
	// log.
	GatewayRequestID, ExtendedRequestID string
	// GatewayTime is the gateway's clock.
	GatewayTime time.Time
	// Forged means that the event did not come from where its shape says.
	Forged bool
}

// Event is one decision. The zero value of a member is left out of the line, except
// of those that every line has: Type, Time, RequestID, Source, Caller, Client,
// Allowed and Outcome.
type Event struct {
	Type      Type
	Time      time.Time
	RequestID string
	Origin    Origin
	// Caller is the normalised principal.
	Caller string
	// Client is the client's name; empty when what was asked for is no name.
	Client string
	// ClaimID names the claim that was made or redeemed.
	ClaimID string
	// DryRun: no token was asked for, only whether there would be one.
	DryRun bool

	// Ask is what was asked for; the zero value if it was refused.
	ask.Ask

	Allowed bool
	// Mode is the policy's: iam, document or audit. Rule is which rule allowed it;
	// WouldDeny says that none did, and that the policy only watches. Nearest and
	// Failed are the rule that came nearest and what failed in it.
	Mode, Rule      string
	WouldDeny       bool
	Nearest, Failed string

	// Outcome says where the token came from, or denied, failed, explained.
	Outcome string
	// Status, Error and Detail are those of the answer; UpstreamStatus and
	// UpstreamError what the authorization server answered.
	Status              int
	Error, Detail       string
	UpstreamStatus      int
	UpstreamError       string
	CorrelationID       string // what the authorization server's log calls it
	FuseUntil           time.Time
	IssuerHost, Method  string
	TokenSHA256         string
	GrantedScope        []string
	ExpiresAt           time.Time
	RefreshAfter        time.Duration
	SecretVersion       string
	CertificateBound    bool
	CertificateNotAfter time.Time
	Duration            time.Duration
}

// Config configures a [Log].
type Config struct {
	// Output takes whole lines, one a call; required. It must be safe for
	// concurrent use.
	Output io.Writer
	// Version is the build that decides; empty: not said.
	Version string
}

// Log writes events. It is safe for concurrent use.
type Log struct{ cfg Config }

// New returns a Log.
func New(cfg Config) *Log { return &Log{cfg: cfg} }

// Write writes the line of e. When it returns an error, the line may be missing, and
// what e says must not happen.
func (l *Log) Write(e *Event) error {
	line := e.json(l.cfg.Version)
	n, err := l.cfg.Output.Write(line)
	if err == nil && n < len(line) {
		err = io.ErrShortWrite
	}
	return err
}
