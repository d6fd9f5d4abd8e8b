package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"time"

	"tokenvendor/shared/fleet"
	"tokenvendor/shared/oauth/oauthtest"
	"tokenvendor/shared/radar"
	"tokenvendor/shared/registry"
	"tokenvendor/shared/secret"
)

// A client whose document only the token function can use is not unused.
func TestRadarWebIdentityIsNotUnused(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		r.clients = nil
		r.watched("web", nil)
		cfg := r.Config()
		reg := r.Registry()
		reg.Secrets = secret.ReaderFunc(func(ctx context.Context, name string, want secret.Want) (secret.Secret, error) {
			s, err := r.ReadSecret(ctx, name, want)
			var d map[string]any
			_ = json.Unmarshal(s.Text, &d)
			delete(d, "client_secret")
			d["token_endpoint_auth_method"], d["assertion_audience"] = "aws_web_identity", "urn:server"
			s.Text, _ = json.Marshal(d)
			return s, err
		})
		cfg.Clients = registry.New(reg)
		cfg.Fleet = fleet.New(fleet.Config{Table: &r.Table, Keys: &r.Keys, Patience: patience, Now: r.Now})
		h := r.environment()
		h.vendor, h.fleet = realVendor(cfg), cfg.Fleet
		for range 92 {
			r.order("web") // by an environment that can use it
			results := r.tick(h, "")
			if results[0].State != radar.Unknown {
				t.Fatalf("got %+v", results[0])
			}
			time.Sleep(24 * time.Hour)
		}
		if got := r.told(); len(got) > 0 {
			t.Errorf("got events %q of a client that is used each day", got)
		}
	})
}

// An opaque token without expires_in costs one exchange for each probe.
func TestRadarOpaqueWithoutExpiresIn(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		r.clients = nil
		r.watched("endless", nil)
		r.Server.Register(oauthtest.Client{ID: "endless", Methods: []string{"client_secret_post"}, Secrets: []string{"cnry-secret"}, Opaque: true})
		r.Server.Misbehave(oauthtest.Members(map[string]any{"expires_in": nil}))
		r.tick(r.h, "")
		if got := r.Server.Exchanges(); got != 1 {
			t.Errorf("got %d exchanges for one probe, want 1", got)
		}
	})
}

// A server that needs some seconds is not broken because the run ends.
func TestRadarCutProbesOfVariousLength(t *testing.T) {
	if testing.Short() {
		t.Skip("thousands of TLS connections")
	}
	run(t, func(t *testing.T, r *harness) {
		r.clients = nil
		for i := range 120 {
			r.watched(fmt.Sprintf("slow-%d", i), nil)
		}
		r.Server.Misbehave(func(w http.ResponseWriter, q *http.Request, next http.Handler, done <-chan struct{}) {
			oauthtest.Late(200*time.Millisecond+time.Duration(rand.IntN(4700))*time.Millisecond)(w, q, next, done)
		})
		for range 24 {
			r.tick(r.h, "")
			time.Sleep(time.Hour)
		}
		if got := r.told(); len(got) > 0 {
			t.Errorf("got events %q, want none", got)
		}
	})
}

// A client that was deleted and created again is a new one.
func TestRadarCreatedAgain(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		r.clients = nil
		r.watched("one", nil)
		for range 89 {
			r.tick(r.h, "")
			time.Sleep(24 * time.Hour)
		}
		r.PutText("one", "", "")
		r.clients = nil
		r.tick(r.h, "")
		time.Sleep(24 * time.Hour)
		r.DateVersions()
		r.client("one", map[string]any{"client_id": "one"})
		r.PutText("one", "v9", r.document("one"))
		r.clients = []string{"one"}
		r.tick(r.h, "")
		if got := r.told(); slices.Contains(got, "one CredentialUnused") {
			t.Errorf("got events %q of a client that was created now", got)
		}
	})
}

// A day without the radar does not hide that no caller uses a client.
func TestRadarUnusedAfterAMissedDay(t *testing.T) {
	run(t, func(t *testing.T, r *harness) {
		r.clients = nil
		r.watched("one", nil)
		for day := range 100 {
			if r.order("billing"); day != 60 {
				r.tick(r.h, "")
			}
			time.Sleep(24 * time.Hour)
		}
		if got := r.told(); len(got) != 1 {
			t.Errorf("got events %q after 100 days without use, want one", got)
		}
	})
}
