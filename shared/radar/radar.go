// Package radar decides what to tell operators about a client's credential: that it ends soon,
// has ended, was refused, is not used, or works again. [History.Observe] compares what was
// found of a client now with what is known of it, and returns the events, each once.
//
// It imports the standard library only, reads no clock, and calls no server.
package radar

import (
	"slices"
	"strconv"
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
	// Day is that of the last look, so that the JSON changes once a day; see
	// [tokenvendor/shared/fleet.HistoryRow].
	Day string `json:"day"`
	// Seen is when the client was seen first, Used and Proven are those of [Observation], in
	// Unix seconds.
	Seen   int64 `json:"seen"`
	Used   int64 `json:"used,omitempty"`
	Proven int64 `json:"proven,omitempty"`
	// Certificate and Secret say which events about an end were sent.
	Certificate sent `json:"certificate,omitzero"`
	Secret      sent `json:"secret,omitzero"`
	// Trouble is the event that was sent last about the state, and Version what it was about;
	// empty: the state was good.
	Trouble string `json:"trouble,omitempty"`
	Version string `json:"version,omitempty"`
	// Failures is how often in a row the client failed for a temporary reason.
	Failures int `json:"failures,omitempty"`
	// Unused means that the event was sent.
	Unused bool `json:"unused,omitempty"`
}

// sent says how many of the events about the end of ID were sent.
type sent struct {
	ID    string `json:"id,omitempty"`
	Stage int    `json:"stage,omitempty"`
}

// Event is what operators are told.
type Event struct {
	Type   string
	Detail Detail
}

// Detail is the detail of an event. Its members have the form of those of AWS Certificate
// Manager.
//
// Source: docs.aws.amazon.com/acm/latest/userguide/supported-events.html
type Detail struct {
	Client string
	// Kind is certificate or secret for the end of a credential, else the method of client
	// authentication.
	Kind        string
	Version     string `json:",omitempty"`
	Fingerprint string `json:",omitempty"`
	NotAfter    string `json:",omitempty"`
	// DaysToExpiry is negative after the end; nil: there is none.
	DaysToExpiry *int   `json:",omitempty"`
	IssuerHost   string `json:",omitempty"`
	LastProven   string `json:",omitempty"`
	LastUsed     string `json:",omitempty"`
	Problem      string `json:",omitempty"`
	NextStep     string
}

// MayProbe reports whether the credential of a version may be tried: not if the authorization
// server refused it, since each failed logon brings the client closer to being locked. A token
// that a caller gets with it, or a new version, is what ends that.
func (h *History) MayProbe(version string) bool {
	return (h.Trouble != Rejected && h.Trouble != CandidateRefused) || h.Version != version
}

// Observe updates h, and returns the events that follow. newDay means that o is the first look
// of a day (UTC).
func (h *History) Observe(o Observation) (events []Event, newDay bool) {
	today := o.At.UTC().Format(time.DateOnly)
	newDay, h.Day = h.Day != today, today
	if h.Seen == 0 {
		h.Seen = o.At.Unix()
	}
	h.Proven = max(h.Proven, unix(o.Proven))
	certificate, secret := o.ends(&h.Certificate, o.Certificate), o.ends(&h.Secret, o.Secret)
	if !o.Certificate.To.IsZero() && !o.At.Before(o.Certificate.To) && o.State != Good {
		// Why it fails is known.
		o.State, h.Trouble, h.Version = Unknown, Expired, o.Version
	}
	for _, e := range []string{certificate, secret, h.trouble(o), h.unused(o)} {
		if e != "" {
			events = append(events, Event{Type: e})
		}
	}
	for i := range events {
		term, kind := o.Secret, "secret"
		if i == 0 && certificate != "" {
			term, kind = o.Certificate, "certificate"
		}
		events[i].Detail = h.detail(o, events[i].Type, term, kind)
	}
	return events, newDay
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
	var found string
	switch o.State {
	case Good:
		h.Failures = 0
		if h.Trouble != "" {
			h.Trouble, h.Version = "", ""
			return Recovered
		}
		return ""
	case Refused:
		found = Rejected
	case StandIn:
		found = CandidateRefused
	case Failing:
		found = Unusable
	case Temporary:
		if h.Failures++; h.Failures < failuresInRow {
			return ""
		}
		found = Unusable
	default:
		return ""
	}
	if found == h.Trouble && (o.Version == h.Version || found == Unusable) {
		return ""
	}
	h.Trouble, h.Version = found, o.Version
	return found
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

func (h *History) detail(o Observation, kind string, term Term, what string) Detail {
	d := Detail{Client: o.Client, Kind: o.Method, Version: o.Version, IssuerHost: o.IssuerHost, LastProven: stamp(h.Proven), NextStep: next(kind)}
	if h.Used != 0 {
		d.LastUsed = time.Unix(h.Used, 0).UTC().Format(time.DateOnly)
	}
	if kind != Expiring && kind != Expired {
		if kind != Unused && kind != Recovered {
			d.Problem = o.Problem
		}
		return d
	}
	left := term.Left(o.At)
	d.Kind, d.NotAfter, d.DaysToExpiry = what, term.To.UTC().Format(time.RFC3339), &left
	if what == "certificate" {
		d.Fingerprint = term.ID
	}
	return d
}

func stamp(seconds int64) string {
	if seconds == 0 {
		return ""
	}
	return time.Unix(seconds, 0).UTC().Format(time.RFC3339)
}

// next returns what the operator does now.
func next(kind string) string {
	switch kind {
	case Expiring:
		return "Create a new credential at the authorization server, and write it as a new version of the client's secret before the end."
	case Expired:
		return "Create a new credential at the authorization server, and write it as a new version of the client's secret now."
	case Rejected:
		return "Compare the document with the authorization server (vendctl client check NAME --exchange), and write a new version of the client's secret."
	case CandidateRefused:
		return "The version before serves. Correct the new one, or go back to the old one with vendctl client rollback NAME."
	case Unusable:
		return "Correct what Problem names; vendctl client check NAME shows all problems."
	case Unused:
		return "No caller has got a token for " + strconv.Itoa(int(unusedAfter/day)) + " days. Delete the client and its credential, or keep it knowingly."
	}
	return "Nothing: the client gets tokens again."
}
