package radar

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

var start = time.Date(2026, time.November, 24, 0, 30, 0, 0, time.UTC)

// after returns the events of hourly looks over some days, as "days passed: type".
func after(days int, look func(at time.Time) Observation) []string {
	var h History
	var got []string
	for hour := range 24 * days {
		at := start.Add(time.Duration(hour) * time.Hour)
		o := look(at)
		o.At, o.Client = at, "billing"
		text, _ := json.Marshal(h)
		h = History{}
		_ = json.Unmarshal(text, &h)
		h.Observe(o)
		for _, e := range h.Pending {
			got = append(got, fmt.Sprintf("%d: %s", hour/24, strings.TrimPrefix(e.Type, "Credential")))
		}
		h.Pending = nil
	}
	return got
}

func TestEventsAboutAnEnd(t *testing.T) {
	year, week := start.AddDate(-1, 0, 0), start.AddDate(0, 0, -1)
	for name, test := range map[string]struct {
		from, to time.Time
		days     int
		want     []string
	}{
		"a year":         {year, start.AddDate(0, 0, 60), 62, []string{"15: Expiring", "30: Expiring", "46: Expiring", "53: Expiring", "57: Expiring", "59: Expiring", "60: Expired"}},
		"seen late":      {year, start.AddDate(0, 0, 5), 6, []string{"0: Expiring", "2: Expiring", "4: Expiring", "5: Expired"}},
		"seen too late":  {year, start.AddDate(0, 0, -3), 3, []string{"0: Expired"}},
		"a week":         {week, week.AddDate(0, 0, 7), 7, []string{"1: Expiring", "3: Expiring", "6: Expired"}},
		"47 days":        {start, start.AddDate(0, 0, 47), 48, []string{"17: Expiring", "33: Expiring", "40: Expiring", "44: Expiring", "46: Expiring", "47: Expired"}},
		"unknown start":  {time.Time{}, start.AddDate(0, 0, 46), 5, []string{"1: Expiring"}},
		"no end":         {year, time.Time{}, 5, nil},
		"a day, renewed": {start, start.AddDate(0, 0, 1), 1, []string{"0: Expiring", "0: Expiring"}},
	} {
		for _, what := range []string{"certificate", "secret"} {
			got := after(test.days, func(time.Time) Observation {
				term := Term{ID: "x", From: test.from, To: test.to}
				if what == "secret" {
					return Observation{Secret: term, State: Good}
				}
				return Observation{Certificate: term, State: Good}
			})
			if !slices.Equal(got, test.want) {
				t.Errorf("%s of %s: got %q, want %q", what, name, got, test.want)
			}
		}
	}
}

// A certificate that is renewed has events of its own, and one that expired works again.
func TestRenewedCertificate(t *testing.T) {
	got := after(10, func(at time.Time) Observation {
		o := Observation{Certificate: Term{ID: "old", From: start.AddDate(-1, 0, 0), To: start.AddDate(0, 0, 2)}, State: Good}
		if at.Sub(start) >= 2*day {
			o.State = Failing
		}
		if at.Sub(start) >= 3*day {
			o.Certificate, o.State = Term{ID: "new", From: at, To: start.AddDate(0, 0, 17)}, Good
		}
		return o
	})
	if want := []string{"0: Expiring", "1: Expiring", "2: Expired", "3: Recovered"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestEventsAboutTheState(t *testing.T) {
	for states, want := range map[string]string{
		"good good":                                                   "",
		"rejected rejected rejected":                                  "CredentialRejected",
		"rejected unknown good good":                                  "CredentialRejected CredentialRecovered",
		"temporarily_failing good":                                    "",
		"temporarily_failing good temporarily_failing good":           "",
		"temporarily_failing temporarily_failing temporarily_failing": "CredentialUnusable",
		"temporarily_failing temporarily_failing good":                "CredentialUnusable CredentialRecovered",
		"failing failing good failing":                                "CredentialUnusable CredentialRecovered CredentialUnusable",
		"rejected failing rejected good":                              "CredentialRejected CredentialUnusable CredentialRecovered",
		"candidate_refused rejected candidate_refused":                "CandidateRefused CredentialRejected",
		"candidate_refused candidate_refused rejected good":           "CandidateRefused CredentialRejected CredentialRecovered",
		"unknown unknown":                                             "",
	} {
		var h History
		var got []string
		for i, state := range strings.Fields(states) {
			h.Observe(Observation{At: start.Add(time.Duration(i) * time.Hour), State: State(state), Version: "v1", Problem: "p"})
			for _, e := range h.Pending {
				got = append(got, e.Type)
				if (e.Detail.Problem == "p") != (e.Type != Recovered) || e.Detail.NextStep == "" {
					t.Errorf("%s: got detail %+v", states, e.Detail)
				}
			}
			h.Pending = nil
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: got %q, want %q", states, got, want)
		}
	}
}

// A refused version may not be tried; another one may.
func TestMayProbe(t *testing.T) {
	for state, want := range map[State]bool{Good: true, Refused: false, StandIn: false, Failing: true, Temporary: true} {
		var h History
		h.Observe(Observation{At: start, State: state, Version: "v1"})
		if h.MayProbe("v1") != want || !h.MayProbe("v2") {
			t.Errorf("%s: got %t for the version and %t for another, want %t and true", state, h.MayProbe("v1"), h.MayProbe("v2"), want)
		}
	}
}

// A client is unused 90 days after its last use, or after it was seen first; once, until it is
// used again.
func TestUnusedClient(t *testing.T) {
	used := map[int]bool{10: true, 110: true}
	var last time.Time
	got := after(210, func(at time.Time) Observation {
		if n := int(at.Sub(start) / day); used[n] {
			last = at.Truncate(day)
		}
		return Observation{State: Good, Used: last}
	})
	if want := []string{"100: Unused", "200: Unused"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// An outage does not make a refused version one that may be tried, and a state that is not known is
// what it was.
func TestRefusedVersionIsRemembered(t *testing.T) {
	var h History
	for _, state := range []State{Refused, Failing, Unknown} {
		h.Observe(Observation{At: start, State: state, Version: "v1"})
	}
	h.Observe(Observation{At: start, State: Failing})
	if h.MayProbe("v1") || !h.MayProbe("v2") || h.State(Unknown) != Refused || h.State(Good) != Good {
		t.Errorf("got %+v, state %s", h, h.State(Unknown))
	}
	h.Observe(Observation{At: start, State: Good, Version: "v1"})
	if !h.MayProbe("v1") || h.State(Unknown) != Unknown {
		t.Errorf("got %+v after it was good", h)
	}
}

// A run that comes late is not of a new day, and a bus that takes nothing has the newest events.
func TestLateRunAndPending(t *testing.T) {
	var h History
	for i := range 40 {
		state := []State{Refused, Good}[i%2]
		if newDay := h.Observe(Observation{At: start.Add(-time.Duration(i) * time.Hour), State: state}); newDay != (i == 0) {
			t.Errorf("look %d: got a new day: %t", i, newDay)
		}
	}
	if len(h.Pending) != maxPending || h.Pending[maxPending-1].Type != Recovered {
		t.Errorf("got %d pending events, the last %+v", len(h.Pending), h.Pending[len(h.Pending)-1])
	}
}

// A new day is one of UTC, and the history changes each day, so that it is kept.
func TestHistoryChangesEachDay(t *testing.T) {
	var h History
	var days int
	texts := make(map[string]bool)
	for hour := range 72 {
		if h.Observe(Observation{At: start.Add(time.Duration(hour) * time.Hour), State: Good}) {
			days++
		}
		text, _ := json.Marshal(h)
		texts[string(text)] = true
	}
	if days != 3 || len(texts) != 3 {
		t.Errorf("got %d new days and %d texts, want 3", days, len(texts))
	}
}

// A certificate of a week is no alarm in the first two thirds of its life.
func TestDue(t *testing.T) {
	week := Term{From: start, To: start.Add(7 * day)}
	for left, want := range map[time.Duration]bool{6 * day: false, 3 * day: false, 2 * day: true, -day: true} {
		if got := week.Due(week.To.Add(-left)); got != want {
			t.Errorf("%v left: got %t, want %t", left, got, want)
		}
	}
	for _, term := range []Term{{To: start}, {From: start.AddDate(-1, 0, 0), To: start}} {
		if !term.Due(start.Add(-10 * day)) {
			t.Errorf("%+v is not due", term)
		}
	}
}
