package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"tokenvendor/shared/fleet/fleettest"
	"tokenvendor/shared/oauth/oauthtest"
	"tokenvendor/shared/radar"
)

// A row that cannot be opened for a moment is not that of a client that was never seen.
func TestRadarForeignRowIsNotEmpty(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		r.clients = nil
		r.certified("one", r.Now().AddDate(-1, 0, 0), r.Now().AddDate(0, 0, 20))
		// Before midnight, an environment whose clock is ahead has begun tomorrow.
		midnight := r.Now().Truncate(24 * time.Hour).Add(24 * time.Hour)
		time.Sleep(midnight.Add(-2 * time.Hour).Sub(r.Now()))
		slow := r.environment()
		r.tick(slow, "")
		ahead := r.skewed(4 * time.Minute)
		for at := midnight.Add(-5*time.Minute - 30*time.Second); at.Before(midnight.Add(2 * time.Minute)); at = at.Add(1500 * time.Millisecond) {
			time.Sleep(at.Sub(r.Now()))
			r.tick(slow, "")
			r.tick(ahead, "")
		}
		if got := r.told(); len(got) != 1 {
			t.Errorf("got events %q, want one", got)
		}
	})
}

// Two runs at once send each event once.
func TestRadarTwoRunsAtOnce(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		r.clients = nil
		for i := range 30 {
			r.watched(fmt.Sprintf("wrong-%d", i), map[string]any{"client_secret": "cnry-wrong"})
		}
		a, b := r.environment(), r.environment()
		for range 3 {
			done := make(chan struct{})
			go func() { defer close(done); r.tick(a, "") }()
			r.tick(b, "")
			<-done
			time.Sleep(time.Hour)
		}
		if got := r.told(); len(got) != 30 {
			t.Errorf("got %d events, want 30", len(got))
		}
	})
}

// The audit line of a probe that an operator asks for names the operator.
func TestRadarLineNamesOperator(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		r.clients = nil
		r.watched("one", nil)
		r.invoke(r.h, `{"radar": ["one"]}`)
		if line := r.Last(); line.Caller != "direct:jobs" || line.Client != "one" || line.Origin.Source != "radar" {
			t.Errorf("got line %+v", line)
		}
	})
}

// A refused candidate that is refused for longer than the memory of it stays reported.
func TestRadarStateAfterMemory(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		r.clients = nil
		r.watched("wrong", map[string]any{"client_secret": "cnry-wrong"})
		var last radar.State
		for range 80 {
			last = r.tick(r.h, "")[0].State
			time.Sleep(time.Hour)
		}
		if last != radar.Refused {
			t.Errorf("got state %s of a client whose credential was refused and not replaced", last)
		}
	})
}

// That a use could not be noted is made up for by the next use of the same token.
func TestRadarUseNotedLater(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		r.clients = nil
		r.watched("one", nil)
		r.tick(r.h, "") // it is cached
		r.Table.Misbehave(fleettest.Down)
		r.order("one")
		r.Table.Misbehave(nil)
		time.Sleep(time.Minute)
		r.order("one")
		r.reports = nil
		r.tick(r.h, `{"radar": ["one"]}`)
		if r.reports[0]["used"] == nil {
			t.Errorf("got %v, want the day of the use", r.reports[0])
		}
	})
}

// Clients whose server hangs do not keep the radar from the others.
func TestRadarHungServerStarvesOthers(t *testing.T) {
	if testing.Short() {
		t.Skip("thousands of TLS connections")
	}
	run(t, func(t *testing.T, r *harness) {
		r.clients = nil
		for i := range 40 {
			r.watched(fmt.Sprintf("hung-%d", i), nil)
		}
		for i := range 100 {
			r.watched(fmt.Sprintf("good-%d", i), nil)
		}
		r.Server.Misbehave(func(w http.ResponseWriter, q *http.Request, next http.Handler, done <-chan struct{}) {
			body, _ := io.ReadAll(q.Body)
			q.Body = io.NopCloser(bytes.NewReader(body))
			if strings.Contains(string(body), "client_id=hung") {
				oauthtest.Hang(w, q, next, done)
			}
			next.ServeHTTP(w, q)
		})
		missed, runs := 0, 24
		for range runs {
			for _, one := range r.tick(r.h, "") {
				if strings.HasPrefix(one.Client, "good") && one.State != radar.Good {
					missed++
				}
			}
			time.Sleep(time.Hour)
		}
		if missed > runs*100/20 {
			t.Errorf("%d of %d looks at clients that work were left out", missed, runs*100)
		}
		for _, line := range r.told() {
			if strings.HasPrefix(line, "good") {
				t.Errorf("got event %s", line)
			}
		}
	})
}
