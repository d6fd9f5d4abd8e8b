package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"tokenvendor/shared/keypair/keypairtest"
	"tokenvendor/shared/oauth/oauthtest"
	"tokenvendor/shared/radar"
	"tokenvendor/shared/secret"
)

// watched stores a client with a client_id of its own.
func (r *harness) watched(name string, members map[string]any) {
	r.Server.Register(oauthtest.Client{ID: name, Methods: []string{"client_secret_post"}, Secrets: []string{"cnry-secret"}})
	document := map[string]any{"client_id": name}
	maps.Copy(document, members)
	r.client(name, document)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clients = append(r.clients, name)
}

// certified stores a client with a certificate.
func (r *harness) certified(name string, from, to time.Time) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		r.Fatal(err)
	}
	chain := keypairtest.New().Issue(key, func(c *x509.Certificate) { c.NotBefore, c.NotAfter = from, to })
	r.watched(name, map[string]any{
		"client_secret": "", "token_endpoint_auth_method": "private_key_jwt",
		"private_key": keypairtest.KeyPEM(key), "certificate": keypairtest.CertificatePEM(chain),
	})
	r.Server.Register(oauthtest.Client{ID: name, Methods: []string{"private_key_jwt"}, Keys: map[string]crypto.PublicKey{"": key.Public()}})
}

// tick lets the radar run at its time; empty: over all clients.
func (r *harness) tick(h *handler, members string) []result {
	r.Helper()
	if members == "" {
		members = fmt.Sprintf(`{"radar": true, "id": "tick-%d", "time": %q}`, r.Now().Unix(), r.Now().UTC().Format(time.RFC3339))
	}
	answer, kind, text := r.invoke(h, members)
	var out struct{ Results []result }
	if err := json.Unmarshal([]byte(answer), &out); err != nil || kind != "" {
		r.Fatalf("got answer %s, error %q (%s), want results", answer, kind, text)
	}
	return out.Results
}

// told returns the events of the radar as lines, sorted.
func (r *harness) told() []string {
	r.bus.mu.Lock()
	defer r.bus.mu.Unlock()
	var lines []string
	for _, e := range r.bus.told {
		lines = append(lines, e.Detail.Client+" "+e.Type)
	}
	slices.Sort(lines)
	return lines
}

// breakages stores a client for each way of failing, and returns the events that it must cause.
func (r *harness) breakages() []string {
	now, days := r.Now(), func(n float64) time.Duration { return time.Duration(n * 24 * float64(time.Hour)) }
	r.certified("expiring", now.Add(-days(300)), now.Add(days(20)))
	r.certified("week", now.Add(-days(5)), now.Add(days(2))) // crosses a third; it has passed two thirds
	r.certified("expired", now.Add(-days(300)), now.Add(-days(1)))
	r.watched("ends", map[string]any{"expires": now.Add(days(6.5)).UTC().Format(time.RFC3339)})
	r.watched("wrong", map[string]any{"client_secret": "cnry-wrong"})
	r.watched("revoked", nil)
	r.watched("candidate", nil)
	r.watched("no-json", nil)
	r.PutText("no-json", "v2", "cnry-no-json")
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	m := keypairtest.New()
	r.watched("mismatch", map[string]any{"client_secret": "", "private_key": keypairtest.KeyPEM(key), "certificate": m.PEM["rsa.chain"]})
	r.watched("untrusted", map[string]any{"ca_certificates": m.PEM["ca"]})
	r.watched("scope", map[string]any{"scope": "admin"})
	r.Server.Register(oauthtest.Client{ID: "scope", Methods: []string{"client_secret_post"}, Secrets: []string{"cnry-secret"}, Scopes: []string{"read"}})
	r.watched("deleted-at-server", map[string]any{"client_id": "unknown"})
	return []string{
		"candidate CandidateRefused", "deleted-at-server CredentialRejected", "ends CredentialExpiring", "expired CredentialExpired", "expiring CredentialExpiring",
		"mismatch CredentialUnusable", "no-json CredentialUnusable", "revoked CredentialRejected", "scope CredentialUnusable", "untrusted CredentialUnusable",
		"unused CredentialUnused", "week CredentialExpired", "week CredentialExpiring", "wrong CredentialRejected",
	}
}

// The radar reports each of 13 broken clients of 200, each once in three days of hourly runs in
// several environments. A client that works is neither reported nor troubled: a run makes an
// exchange only if less than half of a token's life is left.
func TestRadarReportsEveryBreakageOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("thousands of TLS connections")
	}
	run(t, func(t *testing.T, r *harness) {
		r.watched("unused", nil)
		r.tick(r.h, `{"radar": true, "time": "`+r.Now().AddDate(0, 0, -91).UTC().Format(time.RFC3339)+`"}`)
		want := r.breakages()
		for i := len(r.clients); i < 200; i++ {
			name := fmt.Sprintf("good-%d", i)
			r.watched(name, nil)
			if i%4 > 0 {
				r.Server.Register(oauthtest.Client{ID: name, Methods: []string{"client_secret_post"}, Secrets: []string{"cnry-secret"}, Lifetime: 8 * time.Hour})
			}
		}
		for _, name := range []string{"revoked", "candidate"} {
			r.order(name)
		}
		if err := r.Server.SetSecrets("revoked", "cnry-other"); err != nil {
			t.Fatal(err)
		}
		r.client("candidate", map[string]any{"client_id": "candidate"})
		r.PutText("candidate", "v2", strings.ReplaceAll(r.document("candidate"), "cnry-secret", "cnry-typo"))
		environments := []*handler{r.h, r.environment(), r.environment()}
		for hour := range 72 {
			r.order("good-100") // a client that callers use
			results := r.tick(environments[hour%len(environments)], "")
			if len(results) != 200 {
				t.Fatalf("got %d results, want 200", len(results))
			}
			time.Sleep(time.Hour)
		}
		if got := r.told(); !slices.Equal(got, want) {
			t.Errorf("got events\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		for _, id := range []string{"wrong", "revoked", "candidate"} {
			if got := r.Server.FailedLogons(id); got != 1 {
				t.Errorf("%s: got %d failed logons, want the one that blew the fuse", id, got)
			}
		}
		r.wantExchanges()
		// All are clients of one server, whose budget a run of 25 seconds nearly uses up.
		if got := r.Counted(countNotExamined); got > 72*200/50 {
			t.Errorf("%d results were left out, want at most 2 %%", got)
		}
		r.wantQuiet()
	})
}

// order orders a token, as a caller's job does.
func (r *harness) order(name string) {
	r.Helper()
	if _, kind, text := r.invoke(r.h, fmt.Sprintf(`{"client": %q}`, name)); kind != "" {
		r.Fatalf("%s: got error %s (%s)", name, kind, text)
	}
}

// document returns the document of a client.
func (r *harness) document(name string) string {
	s, err := r.ReadSecret(r.Context(), name, secret.Want{})
	if err != nil {
		r.Fatal(err)
	}
	return string(s.Text)
}

// wantExchanges checks that no exchange was made while a token had half of its life left.
func (r *harness) wantExchanges() {
	last := make(map[string]time.Time)
	exchanges := 0
	for _, e := range r.Events() {
		if e.Outcome != "exchanged" && e.Outcome != "refreshed" {
			continue
		}
		exchanges++
		if before := last[e.Client]; !before.IsZero() && e.Time.Sub(before) < e.ExpiresAt.Sub(e.Time)/2-time.Minute {
			r.Errorf("%s: an exchange %v after the one before", e.Client, e.Time.Sub(before))
		}
		last[e.Client] = e.Time
	}
	if least := 72*45 + 72/8*140; exchanges < least {
		r.Errorf("got %d exchanges, want %d at least", exchanges, least)
	}
}

// A credential that is refused is not tried again by itself, but for an operator that names the
// client, and for a new version. That it works again is an event.
func TestRadarReportsRecovery(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		r.clients = nil
		r.watched("one", map[string]any{"client_secret": "cnry-wrong"})
		r.tick(r.h, "")
		time.Sleep(5 * time.Hour)
		if err := r.Server.SetSecrets("one", "cnry-wrong"); err != nil {
			t.Fatal(err)
		}
		if results := r.tick(r.h, ""); results[0].State != radar.Unknown && results[0].State != radar.Refused || r.Server.FailedLogons("one") != 1 {
			t.Errorf("got state %s and %d failed logons", results[0].State, r.Server.FailedLogons("one"))
		}
		if results := r.tick(r.h, `{"radar": ["one"]}`); results[0].State != radar.Good {
			t.Errorf("named: got state %s, want good", results[0].State)
		}
		if err := r.Server.SetSecrets("one", "cnry-secret"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		r.tick(r.h, "")
		r.client("one", map[string]any{"client_id": "one"})
		r.PutText("one", "v2", r.document("one"))
		time.Sleep(time.Hour)
		r.tick(r.h, "")
		want := []string{"one CredentialRecovered", "one CredentialRecovered", "one CredentialRejected", "one CredentialRejected"}
		if got := r.told(); !slices.Equal(got, want) {
			t.Errorf("got events %q, want %q", got, want)
		}
	})
}

// An event that the bus did not take is sent at the next run, and a run without the table tries
// nothing.
func TestRadarLosesNoEvent(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		r.clients = nil
		r.certified("expiring", r.Now().AddDate(-1, 0, 0), r.Now().AddDate(0, 0, 10))
		r.bus.err = errors.New("down")
		r.tick(r.h, "")
		r.bus.err = nil
		time.Sleep(time.Hour)
		exchanges := r.Server.Exchanges()
		r.Table.Misbehave(func(context.Context) error { return errors.New("down") })
		if results := r.tick(r.h, ""); results[0].State != radar.Unknown || r.Server.Exchanges() != exchanges || r.Counted(countNotExamined) != 2 {
			t.Errorf("without the table: got state %s, %d exchanges, %d clients not examined", results[0].State, r.Server.Exchanges()-exchanges, r.Counted(countNotExamined))
		}
		r.Table.Misbehave(nil)
		for range 3 {
			time.Sleep(time.Hour)
			r.tick(r.h, "")
		}
		if got := r.told(); !slices.Equal(got, []string{"expiring CredentialExpiring"}) {
			t.Errorf("got events %q, want one", got)
		}
		detail := r.bus.told[0].Detail
		if *detail.DaysToExpiry != 10 || detail.Kind != "certificate" || len(detail.Fingerprint) != 64 || detail.NextStep == "" {
			t.Errorf("got detail %+v", detail)
		}
	})
}

// The metric is written once a day, whatever the radar does.
func TestRadarWritesMetricOnceADay(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		r.clients = nil
		r.certified("one", r.Now().AddDate(-1, 0, 0), r.Now().AddDate(0, 0, 100))
		for range 48 {
			r.tick(r.h, "")
			r.tick(r.h, `{"radar": ["one"]}`)
			time.Sleep(time.Hour)
		}
		var days []any
		for _, line := range r.reports {
			if value, ok := line["DaysToExpiry"]; ok {
				days = append(days, value)
			}
			if line["key"] != "EC P-256" || line["client"] != "one" || line["state"] != "good" {
				t.Errorf("got report %v", line)
			}
		}
		if fmt.Sprint(days) != "[100 99 98]" && fmt.Sprint(days) != "[100 99]" && fmt.Sprint(days) != "[99 98]" {
			t.Errorf("got days %v, want one value for each day", days)
		}
	})
}

// A policy that allows a caller that does not exist is reported, and no line accuses anybody.
func TestRadarFindsOpenPolicy(t *testing.T) {
	for text, want := range map[string]int{
		`{"rules": [{"name": "all", "callers": ["aws:*:role/*"], "clients": ["one"]}]}`:           1,
		`{"rules": [{"name": "team", "callers": ["aws:111122223333:role/*"], "clients": ["*"]}]}`: 0,
	} {
		run(t, func(t *testing.T, r *harness) {
			r.clients = nil
			r.watched("one", nil)
			r.policy = text
			if results := r.tick(r.environment(), ""); results[0].State != radar.Good || r.Counted(countOpen) != want || r.Counted("Denied") != 0 {
				t.Errorf("%s: got %+v, counted %d, denied %d; want %d", text, results[0], r.Counted(countOpen), r.Counted("Denied"), want)
			}
		})
	}
}
