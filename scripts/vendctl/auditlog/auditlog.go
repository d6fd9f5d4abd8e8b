// Package auditlog reads the audit lines of a vendor: those of the local stack from its log file,
// those of a stack in AWS from CloudWatch Logs.
package auditlog

import (
	"bytes"
	"context"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Line is one audit line. Its fields are those of shared/audit/README.md. Raw is the line as it was
// written.
type Line struct {
	Schema       int       `json:"schema"`
	Type         string    `json:"type"`
	Time         time.Time `json:"time"`
	RequestID    string    `json:"request_id"`
	Source       string    `json:"source"`
	SourceIP     string    `json:"source_ip"`
	Caller       string    `json:"caller"`
	CallerID     string    `json:"caller_id"`
	Session      string    `json:"session"`
	Client       string    `json:"client"`
	DryRun       bool      `json:"dry_run"`
	Allowed      bool      `json:"allowed"`
	Mode         string    `json:"mode"`
	Rule         string    `json:"rule"`
	Nearest      string    `json:"nearest_rule"`
	Failed       string    `json:"failed"`
	Outcome      string    `json:"outcome"`
	Ahead        bool      `json:"ahead"`
	Status       int       `json:"status"`
	Error        string    `json:"error"`
	Detail       string    `json:"detail"`
	TokenSHA256  string    `json:"token_sha256"`
	ExpiresAt    int64     `json:"expires_at"`
	Audience     string    `json:"audience"`
	Resource     []string  `json:"resource"`
	ScopeAsked   []string  `json:"scope_asked"`
	ScopeGranted []string  `json:"scope_granted"`

	Raw json.RawMessage `json:"-"`
}

// Asked reports whether a caller asked for the token. The vendor asks itself for its first request,
// for the radar and for orders of jobs, and tries a second credential (shadow). Nobody gets these
// tokens.
func (l *Line) Asked() bool {
	return l.Type == "decision" && !l.Ahead && l.Source != "prefetch" && l.Source != "radar"
}

// Query says which lines are read. Empty members restrict nothing.
type Query struct {
	// From and To are when the decision began; To is not part of it.
	From, To time.Time
	// Client and Caller are values of the line.
	Client, Caller string
	// TokenSHA256 holds the value of the line.
	TokenSHA256 []string
	// Refused: only decisions that brought no token.
	Refused bool
}

// Log is where lines come from.
type Log interface {
	// Read calls each for the lines of q, the older ones first. Decisions that overlap may be in
	// either order. It ends with the error of each.
	Read(ctx context.Context, q Query, each func(*Line) error) error
}

// parse returns a line of a log; nil: it is another one, such as a metric's.
func parse(text []byte) *Line {
	if !bytes.Contains(text, []byte(`"schema":`)) {
		return nil
	}
	l := &Line{}
	if json.Unmarshal(text, l) != nil || l.Schema == 0 || l.Type == "" {
		return nil
	}
	l.Raw = bytes.Clone(bytes.TrimSpace(text))
	return l
}

// has reports whether q means a line.
func (q *Query) has(l *Line) bool {
	switch {
	case !q.From.IsZero() && l.Time.Before(q.From), !q.To.IsZero() && !l.Time.Before(q.To):
		return false
	case q.Client != "" && l.Client != q.Client, q.Caller != "" && l.Caller != q.Caller:
		return false
	case len(q.TokenSHA256) > 0 && !slices.Contains(q.TokenSHA256, l.TokenSHA256):
		return false
	}
	return !q.Refused || !l.Allowed && !l.DryRun
}

// Valid reports whether the texts of q can be values of a line. They become part of a query of
// CloudWatch Logs.
func (q *Query) Valid() bool {
	text := regexp.MustCompile(`^[A-Za-z0-9:/_+=,.@-]*$`)
	return text.MatchString(q.Client) && text.MatchString(q.Caller) && text.MatchString(strings.Join(q.TokenSHA256, ""))
}
