//go:build unix

package main

import (
	"net/http"
	"strings"
	"testing"

	"tokenvendor/shared/oauth/oauthtest"
)

// An operator rereads a client of a local stack while its document and its server change. A wrong
// credential costs one failed logon, however often it is reread.
func TestRereadAtALocalStack(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a local stack")
	}
	tenant := oauthtest.NewServer(t, oauthtest.Config{})
	tenant.Register(oauthtest.Client{ID: "shop", Methods: []string{"client_secret_post"}, Secrets: []string{"cnry-shop"}})
	r := startRegion(t, "one", nil)
	reread := func(step, name string, want int, text string) {
		t.Helper()
		out, errs, code := vendctl(t, "--local", r.file, "client", "reread", name)
		if code != want || !strings.Contains(out, text) || strings.Contains(out, "cnry-") {
			t.Errorf("%s: got %d, %q, %q; want %d, %q", step, code, out, errs, want, text)
		}
	}
	reread("no client", "shop", exitNotFound, "unknown")
	r.add(tenant, "shop", "cnry-wrong")
	for range 3 {
		reread("a wrong secret", "shop", exitCredential, "rejected")
	}
	if n := tenant.FailedLogons("shop"); n != 1 {
		t.Errorf("got %d failed logons, want one: the fuse holds", n)
	}
	r.put("shop", r.document(tenant, "shop", "cnry-shop"))
	reread("a new version", "shop", 0, "good, events: CredentialRecovered")
	r.put("shop", `{"client_id": "cnry-id"`)
	reread("a broken version", "shop", exitCredential, "failing")
	tenant.Register(oauthtest.Client{ID: "down", Methods: []string{"client_secret_post"}, Secrets: []string{"cnry-down"}})
	r.add(tenant, "down", "cnry-down")
	tenant.Misbehave(oauthtest.Answer(http.StatusServiceUnavailable, "text/plain", "cnry-body"))
	reread("a server that is down", "down", exitTemporary, "temporarily_failing")
}
