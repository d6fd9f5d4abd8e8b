package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenvendor/shared/fault"
	"tokenvendor/shared/fleet"
	"tokenvendor/shared/fleet/fleettest"
	"tokenvendor/shared/oauth/oauthtest"
	"tokenvendor/shared/radar"
	"tokenvendor/shared/registry"
	"tokenvendor/shared/secret"
	"tokenvendor/shared/token"
)

// needsTenant answers like SAP Cloud Identity Services for a multi-tenant application: without
// app_tid no client is known.
func needsTenant(w http.ResponseWriter, r *http.Request, next http.Handler, _ <-chan struct{}) {
	body, _ := io.ReadAll(r.Body)
	form, _ := url.ParseQuery(string(body))
	r.Body = io.NopCloser(bytes.NewReader(body))
	if form.Get("app_tid") == "" {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"error":"invalid_client"}`)
		return
	}
	next.ServeHTTP(w, r)
}

// The probe must not lock out a client whose callers choose what the server requires.
func TestRadarProbeLocksOutAClientThatCallersUse(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		r.clients = nil
		r.watched("multi", map[string]any{"allow_parameters": []string{"app_tid"}})
		r.Server.Misbehave(needsTenant)
		failed := 0
		for i := range 5 {
			if _, kind, text := r.invoke(r.h, fmt.Sprintf(`{"client": "multi", "app_tid": "tenant-%d"}`, i)); kind != "" {
				failed++
				t.Errorf("hour %d: a caller got %s (%s)", i, kind, text)
			}
			r.tick(r.h, "")
			if _, kind, text := r.invoke(r.h, fmt.Sprintf(`{"client": "multi", "app_tid": "other-%d"}`, i)); kind != "" {
				failed++
				t.Errorf("hour %d, after the radar: a caller got %s (%s)", i, kind, text)
			}
			time.Sleep(time.Hour)
		}
		if got := r.told(); failed > 0 || len(got) > 0 {
			t.Errorf("%d calls failed, events %q, failed logons counted %d", failed, got, r.Counted("FailedLogons"))
		}
	})
}

// The probe must not end the token that callers hold.
func TestRadarProbeEndsSingleToken(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		r.clients = nil
		r.watched("single", map[string]any{"single_token": true, "allow_parameters": []string{"scope"}})
		if _, kind, text := r.invoke(r.h, `{"client": "single", "scope": "read"}`); kind != "" {
			t.Fatal(kind, text)
		}
		before := r.Server.Exchanges()
		r.tick(r.h, "")
		if got := r.Server.Exchanges() - before; got != 0 {
			t.Errorf("the radar made %d exchanges while callers hold the only token", got)
		}
	})
}

// A token without expires_in costs one exchange an hour at most.
func TestRadarProbeWithoutExpiresIn(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		r.clients = nil
		r.watched("endless", nil)
		r.Server.Misbehave(oauthtest.Members(map[string]any{"expires_in": nil}))
		r.tick(r.h, "")
		if got := r.Server.Exchanges(); got != 1 {
			t.Errorf("got %d exchanges for one probe, want 1", got)
		}
	})
}

// stubVendor answers examinations.
type stubVendor struct {
	vendor
	x *token.Examination
}

func (v stubVendor) Examine(context.Context, string, token.Probe) (token.Examination, bool) {
	return *v.x, true
}

// That the vendor spares the server says nothing of a credential.
func TestRadarWithheldProbeIsNoTrouble(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		r.clients = nil
		r.watched("one", nil)
		x := &token.Examination{Probed: true, Err: fault.New(fault.Throttled, "the budget of exchanges with the authorization server is used up")}
		x.Proven = true
		r.h.vendor = stubVendor{r.h.vendor, x}
		for range 3 {
			r.tick(r.h, "")
			time.Sleep(time.Hour)
		}
		if got := r.told(); len(got) > 0 {
			t.Errorf("got events %q, want none", got)
		}
	})
}

// A slow server whose probes the end of the run cuts off is not broken.
func TestRadarCutProbeIsNoTrouble(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		r.clients = nil
		for i := range 40 {
			r.watched(fmt.Sprintf("slow-%d", i), nil)
		}
		r.Server.Misbehave(oauthtest.Late(4800 * time.Millisecond))
		for range 12 {
			r.tick(r.h, "")
			time.Sleep(time.Hour)
		}
		if got := r.told(); len(got) > 0 {
			t.Errorf("got events %q, want none", got)
		}
	})
}

// What is known of a client outlives some days without the radar, if the functions are used.
func TestRadarHistoryOutlivesAPause(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		r.clients = nil
		r.watched("wrong", map[string]any{"client_secret": "cnry-wrong"})
		r.certified("expiring", r.Now().AddDate(-1, 0, 0), r.Now().AddDate(0, 0, 20))
		r.tick(r.h, "")
		for range 5 {
			time.Sleep(24 * time.Hour)
			r.order("billing")
		}
		r.tick(r.environment(), "")
		if got := r.told(); len(got) != 2 || r.Server.FailedLogons("wrong") != 1 {
			t.Errorf("got events %q and %d failed logons, want one each", got, r.Server.FailedLogons("wrong"))
		}
	})
}

// A caller of the alias jobs cannot use up the events of a client.
func TestRadarDirectTimeInTheFuture(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		r.clients = nil
		r.certified("one", r.Now().AddDate(-1, 0, 0), r.Now().AddDate(0, 0, 50))
		if _, kind, _ := r.invoke(r.h, `{"radar": ["one"], "time": "2099-01-01T00:00:00Z"}`); kind != "invalid_request" {
			t.Errorf("got error %q, want invalid_request", kind)
		}
		r.bus.told = nil
		for range 60 {
			r.tick(r.h, "")
			time.Sleep(24 * time.Hour)
		}
		if got := r.told(); len(got) < 7 {
			t.Errorf("got events %q, want six that it ends and one that it has ended", got)
		}
	})
}

// That the version before cannot be read now is not a refusal of everything.
func TestRadarPreviousNotReadable(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		r.clients = nil
		r.watched("candidate", nil)
		r.order("candidate")
		r.PutText("candidate", "v2", strings.ReplaceAll(r.document("candidate"), "cnry-secret", "cnry-typo"))
		time.Sleep(time.Hour)
		r.tick(r.h, "")
		down := true
		cfg := r.Config()
		reg := r.Registry()
		old := reg.Previous
		reg.Previous = secret.ReaderFunc(func(ctx context.Context, name string, want secret.Want) (secret.Secret, error) {
			if down {
				return secret.Secret{}, secret.ErrUnavailable
			}
			return old.ReadSecret(ctx, name, want)
		})
		cfg.Clients = registry.New(reg)
		cfg.Fleet = fleet.New(fleet.Config{Table: &r.Table, Keys: &r.Keys, Patience: patience, Now: r.Now})
		h := r.environment()
		h.vendor = realVendor(cfg)
		time.Sleep(time.Hour)
		r.tick(h, "")
		down = false
		time.Sleep(time.Hour)
		r.tick(h, "")
		if got := r.told(); !slices.Equal(got, []string{"candidate CandidateRefused"}) {
			t.Errorf("got events %q, want one CandidateRefused", got)
		}
	})
}

// pickyBus refuses events of one type.
type pickyBus struct {
	*memoryBus
	refuse string
}

func (b *pickyBus) Put(ctx context.Context, source, detailType string, detail []byte) error {
	if detailType == b.refuse {
		return errors.New("down")
	}
	return b.memoryBus.Put(ctx, source, detailType, detail)
}

// An event that was sent is not sent again because another one of the same look was not.
func TestRadarFirstOfTwoEventsOnce(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		r.clients = nil
		r.watched("one", map[string]any{"client_secret": "cnry-wrong", "expires": r.Now().AddDate(0, 0, 10).Format(time.DateOnly)})
		bus := &pickyBus{r.bus, radar.Rejected}
		r.h.bus = bus
		for range 3 {
			r.tick(r.h, "")
			time.Sleep(time.Hour)
		}
		bus.refuse = ""
		r.tick(r.h, "")
		if got := r.told(); len(got) != 2 {
			t.Errorf("got events %q, want one each", got)
		}
	})
}

// tableBus breaks the table once an event is sent.
type tableBus struct {
	*memoryBus
	r *harness
}

func (b *tableBus) Put(ctx context.Context, source, detailType string, detail []byte) error {
	b.r.Table.Misbehave(fleettest.Down)
	return b.memoryBus.Put(ctx, source, detailType, detail)
}

// A history that cannot be written is not lost silently.
func TestRadarHistoryNotWritten(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		r.clients = nil
		r.watched("one", map[string]any{"expires": r.Now().AddDate(0, 0, 10).Format(time.DateOnly)})
		r.h.bus = &tableBus{r.bus, r}
		for range 4 {
			r.tick(r.h, "")
			r.Table.Misbehave(nil)
			time.Sleep(time.Hour)
		}
		if got := r.told(); len(got) != 2 {
			t.Errorf("got events %q, want one that may have been lost and one more", got)
		}
		if r.Counted(countNotExamined) == 0 {
			t.Error("nothing was counted")
		}
	})
}

// A new version of a client with single_token that was never tried is a candidate.
func TestRadarSingleTokenCandidate(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		r.clients = nil
		r.Server.Register(oauthtest.Client{ID: "single", Methods: []string{"client_secret_post"}, Secrets: []string{"cnry-secret"}, Lifetime: 20 * time.Hour})
		r.client("single", map[string]any{"client_id": "single", "single_token": true})
		r.clients = []string{"single"}
		r.tick(r.h, "")
		r.PutText("single", "v2", strings.ReplaceAll(r.document("single"), "cnry-secret", "cnry-typo"))
		r.reports = nil
		time.Sleep(time.Hour)
		r.tick(r.h, `{"radar": ["single"]}`)
		for _, line := range r.reports {
			if line["secret_version"] == "v2" && line["candidate"] != true {
				t.Errorf("got %v, want a candidate", line)
			}
		}
	})
}

// The report of a client says when it was used last, also days later.
func TestRadarReportKeepsLastUse(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		r.clients = nil
		r.watched("one", nil)
		r.order("one")
		for range 5 * 24 {
			r.tick(r.h, "")
			time.Sleep(time.Hour)
		}
		last := r.reports[len(r.reports)-1]
		if last["used"] == nil {
			t.Errorf("got %v, want the day of the last use", last)
		}
	})
}

// A refused credential stays untried if the document could not be read for some hours.
func TestRadarOutageReleasesRefusedCredential(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		r.clients = nil
		r.watched("wrong", map[string]any{"client_secret": "cnry-wrong"})
		for hour := range 60 {
			switch hour {
			case 50:
				r.FailReads(secret.ErrUnavailable)
			case 53:
				r.FailReads(nil)
			}
			r.tick(r.h, "")
			time.Sleep(time.Hour)
		}
		if got := r.told(); len(got) > 2 || r.Server.FailedLogons("wrong") != 1 {
			t.Errorf("got events %q and %d failed logons, want one", got, r.Server.FailedLogons("wrong"))
		}
	})
}

// A policy whose rule grants a scope that the document does not ask for is not open.
func TestRadarOpenPolicyHonorsScope(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		r.clients = nil
		r.watched("one", map[string]any{"scope": "write"})
		r.policy = `{"rules": [{"name": "all", "callers": ["aws:*:role/*"], "clients": ["one"], "scopes": ["read"]}]}`
		results := r.tick(r.environment(), "")
		if r.Counted(countOpen) != 0 {
			t.Errorf("got %+v, counted %d", results, r.Counted(countOpen))
		}
	})
}

// Clients that are examined twice a minute apart around midnight of UTC, the later due time first.
func TestRadarLateRunOfYesterday(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		r.clients = nil
		r.certified("one", r.Now().AddDate(-1, 0, 0), r.Now().AddDate(0, 0, 100))
		yesterday := r.Now().Truncate(24 * time.Hour).Add(24*time.Hour - time.Minute)
		time.Sleep(yesterday.Add(2 * time.Minute).Sub(r.Now()))
		r.tick(r.h, "")
		r.tick(r.h, fmt.Sprintf(`{"radar": true, "time": %q}`, yesterday.UTC().Format(time.RFC3339)))
		r.tick(r.h, "")
		n := 0
		for _, line := range r.reports {
			if line["DaysToExpiry"] != nil {
				n++
			}
		}
		if n > 2 {
			t.Errorf("got %d values of the metric for two days", n)
		}
	})
}

// What an operator reads of a refused credential has the whole advice.
func TestRadarKeepsWholeAdvice(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		r.clients = nil
		r.watched("wrong", map[string]any{"client_secret": "cnry-other"})
		r.tick(r.h, "")
		r.bus.mu.Lock()
		defer r.bus.mu.Unlock()
		if len(r.bus.told) != 1 || !strings.HasSuffix(r.bus.told[0].Detail.Problem, "answer so for an hour") {
			t.Errorf("got %+v", r.bus.told)
		}
	})
}
