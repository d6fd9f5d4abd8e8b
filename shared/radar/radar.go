// Package radar decides what to tell operators about a client's credential: that it ends soon,
// has ended, was refused, is not used, or works again. [History.Observe] compares what was
// found of a client now with what is known of it, and returns the events, each once.
//
// It imports the standard library only, reads no clock, and calls no server.
package radar

import (
	"slices"
	"time"
)

const day = 24 * time.Hour

// unusedAfter is how long no caller uses a client before that is an event.
const unusedAfter = 90 * day

// shortLife is a lifetime below which there are events at thirds of it, as for the certificates
// of a week of SAP BTP.
const shortLife = 15 * day

// failuresInRow is how often a client fails for a temporary reason before that is an event: a
// server that restarts is none.
const failuresInRow = 2

// The detail types of the events.
const (
	Expiring         = "CredentialExpiring"
	Expired          = "CredentialExpired"
	Rejected         = "CredentialRejected"
	CandidateRefused = "CandidateRefused"
	// Unusable: there is no token for another reason than a refusal.
	Unusable  = "CredentialUnusable"
	Unused    = "CredentialUnused"
	Recovered = "CredentialRecovered"
)

// Types returns the detail types of all events.
func Types() []string {
	return []string{Expiring, Expired, Rejected, CandidateRefused, Unusable, Unused, Recovered}
}

// State is what a look at a client found out about its tokens.
type State string

// The states.
const (
	// Unknown: nothing was tried, as for a client that the policy has frozen. It changes
	// nothing.
	Unknown State = "unknown"
	// Good: there is a token.
	Good State = "good"
	// Refused: the authorization server refuses the credential. StandIn: it refuses that of
	// the new version of the secret, and another one serves.
	Refused State = "rejected"
	StandIn State = "candidate_refused"
	// Failing: there is no token for another reason; Temporary, for one that may pass.
	Failing   State = "failing"
	Temporary State = "temporarily_failing"
)

// Term is the time for which a credential is valid.
type Term struct {
	// ID names what is valid: the fingerprint of a certificate, or a version of the secret.
	ID string
	// From may be zero: it is not known. To is zero if there is no end.
	From, To time.Time
}

// Left returns the whole days that are left, negative after the end.
func (t Term) Left(now time.Time) int {
	left := t.To.Sub(now)
	if left < 0 {
		left -= day - 1
	}
	return int(left / day)
}

// Due reports whether the end of a credential may be an alarm if it is near: one of a short life is
// always near its end, and is due in the last third.
func (t Term) Due(now time.Time) bool {
	life := t.To.Sub(t.From)
	return t.From.IsZero() || life >= shortLife || t.To.Sub(now) <= life/3
}

// Observation is what a look at a client found.
type Observation struct {
	// At is when.
	At     time.Time
	Client string
	// Version is that of the secret, and IssuerHost the host of the token endpoint; both may
	// be empty.
	Version, IssuerHost string
	// Method is how the client authenticates.
	Method string
	// Certificate and Secret are how long the certificate is valid, and, as its operator says,
	// the credential.
	Certificate, Secret Term
	State               State
	// Problem says why the state is not good. It holds no value of the document.
	Problem string
	// Proven is when the credential obtained a token, and Used the last day on which a caller
	// got one; zero: that is not known.
	Proven, Used time.Time
}

// History is what is kept of a client between two looks. The zero value is that of a client
// that was never seen. Its JSON is stored.
type History struct {
	// Day is that of the last look, or of a later one.
	Day string `json:"day"`
	// Seen is when the client was seen first, Used and Proven are those of [Observation], in
	// Unix seconds.
	Seen   int64 `json:"seen"`
	Used   int64 `json:"used,omitempty"`
	Proven int64 `json:"proven,omitempty"`
	// Certificate and Secret say which events about an end were sent.
	Certificate sent `json:"certificate,omitzero"`
	Secret      sent `json:"secret,omitzero"`
	// Told are the types of the events about the state since it was good, and Version what they
	// are about.
	Told    []string `json:"told,omitempty"`
	Version string   `json:"version,omitempty"`
	// Failures is how often in a row the client failed for a temporary reason.
	Failures int `json:"failures,omitempty"`
	// Unused means that the event was sent.
	Unused bool `json:"unused,omitempty"`
	// Pending are the events that are not sent yet, the oldest first.
	Pending []Event `json:"pending,omitempty"`
}

// maxPending is how many events wait for a bus that takes none.
const maxPending = 8

// sent says how many of the events about the end of ID were sent.
type sent struct {
	ID    string `json:"id,omitempty"`
	Stage int    `json:"stage,omitempty"`
}

// MayProbe reports whether the credential of a version may be tried: not if the authorization
// server refused it, since each failed logon brings the client closer to being locked. A token
// that a caller gets with it, or a new version, is what ends that.
func (h *History) MayProbe(version string) bool { return h.refused() == "" || h.Version != version }

// refused returns the event about a refused credential; empty: it was not refused.
func (h *History) refused() string {
	for _, told := range h.Told {
		if told == Rejected || told == CandidateRefused {
			return told
		}
	}
	return ""
}

// State returns what is known of the client, if now is [Unknown].
func (h *History) State(now State) State {
	switch {
	case now != Unknown || len(h.Told) == 0:
		return now
	case h.Told[len(h.Told)-1] == CandidateRefused:
		return StandIn
	case h.refused() != "":
		return Refused
	}
	return Failing
}

// Observe updates h, and appends the events that follow to h.Pending. newDay means that o is the
// first look of a day (UTC).
func (h *History) Observe(o Observation) (newDay bool) {
	today := o.At.UTC().Format(time.DateOnly)
	if newDay = today > h.Day; newDay {
		h.Day = today
	}
	if h.Seen == 0 {
		h.Seen = o.At.Unix()
	}
	h.Proven = max(h.Proven, unix(o.Proven))
	add := func(kind string, term Term, what string) {
		if kind != "" {
			h.Pending = append(h.Pending, Event{Type: kind, Detail: h.detail(o, kind, term, what)})
		}
	}
	add(o.ends(&h.Certificate, o.Certificate), o.Certificate, "certificate")
	add(o.ends(&h.Secret, o.Secret), o.Secret, "secret")
	if !o.Certificate.To.IsZero() && !o.At.Before(o.Certificate.To) && o.State != Good {
		// Why it fails is known, and was told.
		o.State = Unknown
		h.tell(Expired, o.Version)
	}
	add(h.trouble(o), Term{}, "")
	add(h.unused(o), Term{}, "")
	h.Pending = h.Pending[max(0, len(h.Pending)-maxPending):]
	return newDay
}

// Begin marks the pending events as about to be sent, and drops those that were sent too often
// without an answer. The history is stored before they are sent.
func (h *History) Begin() {
	h.Pending = slices.DeleteFunc(h.Pending, func(e Event) bool { return e.Tries >= maxTries })
	for i := range h.Pending {
		h.Pending[i].Tries++
	}
}

// Refused marks the pending events as not sent, because the bus did not take the first one.
func (h *History) Refused() {
	for i := range h.Pending {
		h.Pending[i].Tries = 0
	}
}

func unix(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

// ends returns the event about the end of a credential; empty: there is none now. Only the
// latest one is sent if several are due.
func (o *Observation) ends(s *sent, t Term) string {
	if t.To.IsZero() {
		return ""
	}
	if s.ID != t.ID {
		*s = sent{ID: t.ID}
	}
	stage, thresholds := 0, thresholds(t)
	left := t.To.Sub(o.At)
	for _, threshold := range thresholds {
		if left <= threshold {
			stage++
		}
	}
	if left <= 0 {
		stage = len(thresholds) + 1
	}
	if stage <= s.Stage {
		return ""
	}
	s.Stage = stage
	if left <= 0 {
		return Expired
	}
	return Expiring
}

// thresholds returns how long before the end there are events, the longest first. None comes
// in the first third of a life.
func thresholds(t Term) []time.Duration {
	all := []time.Duration{45 * day, 30 * day, 14 * day, 7 * day, 3 * day, day}
	if t.From.IsZero() {
		return all
	}
	life := t.To.Sub(t.From)
	if life < shortLife {
		return []time.Duration{life * 2 / 3, life / 3}
	}
	return slices.DeleteFunc(all, func(d time.Duration) bool { return d > life*2/3 })
}

// trouble returns the event about the state; empty: there is none now.
func (h *History) trouble(o Observation) string {
	switch o.State {
	case Good:
		told := len(h.Told) > 0
		h.Failures, h.Told, h.Version = 0, nil, ""
		if told {
			return Recovered
		}
	case Refused:
		return h.tell(Rejected, o.Version)
	case StandIn:
		return h.tell(CandidateRefused, o.Version)
	case Failing:
		return h.tell(Unusable, o.Version)
	case Temporary:
		if h.Failures++; h.Failures >= failuresInRow {
			return h.tell(Unusable, o.Version)
		}
	}
	return ""
}

// tell returns an event about the state, unless it was told since the state was good. A refusal of
// another version is another event.
func (h *History) tell(kind, version string) string {
	if version != "" && version != h.Version {
		h.Told = slices.DeleteFunc(h.Told, func(told string) bool { return told == Rejected || told == CandidateRefused })
		h.Version = version
	}
	if slices.Contains(h.Told, kind) {
		return ""
	}
	h.Told = append(h.Told, kind)
	return kind
}

// unused returns the event about a client that no caller uses; empty: there is none now.
func (h *History) unused(o Observation) string {
	if used := unix(o.Used); used > h.Used {
		h.Used, h.Unused = used, false
	}
	since := time.Unix(max(h.Seen, h.Used), 0)
	if h.Unused || o.At.Sub(since) < unusedAfter {
		return ""
	}
	h.Unused = true
	return Unused
}
