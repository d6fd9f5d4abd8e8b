package radar

import (
	"strconv"
	"time"
)

// Event is what operators are told.
type Event struct {
	Type   string
	Detail Detail
	// Tries is how often it was sent, or was about to be, without it being known that it
	// arrived.
	Tries int `json:",omitempty"`
}

// maxTries is how often an event is sent if it is not known whether it arrived.
const maxTries = 2

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
