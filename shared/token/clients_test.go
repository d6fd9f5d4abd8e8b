package token

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tokenvendor/shared/cache"
	"tokenvendor/shared/fault"
	"tokenvendor/shared/keypair/keypairtest"
	"tokenvendor/shared/oauth"
	"tokenvendor/shared/registry"
	"tokenvendor/shared/secret"
)

func TestDocumentFault(t *testing.T) {
	document := &registry.DocumentError{Client: "billing", Version: "v1", Problems: []string{"client_id must be a string", "alg is \"not\" known"}}
	for _, test := range []struct {
		name string
		err  error
		want fault.Kind
		says string
	}{
		{"no such client", fmt.Errorf("client x: %w", secret.ErrNotFound), fault.Denied, "not allowed, or no such client"},
		{"access denied", fmt.Errorf("client x: %w", secret.ErrDenied), fault.Misconfigured, "cannot be read"},
		{"not available", fmt.Errorf("client x: %w", secret.ErrUnavailable), fault.Unavailable, "cannot be read now"},
		{"metadata of the issuer", fmt.Errorf("client x: %w", oauth.ErrDiscovery), fault.Unavailable, "cannot be read now"},
		{"too late", fmt.Errorf("client x: %w", context.DeadlineExceeded), fault.Timeout, "in time"},
		{"bad document", fmt.Errorf("client x: %w", document), fault.Misconfigured, "client_id must be a string; alg is"},
		{"too many wait", cache.ErrBusy, fault.Unavailable, "too many"},
		{"another", errors.New("arn:aws:secretsmanager:x"), fault.Internal, "internal error"},
	} {
		e := documentFault(test.err)
		if e.Kind != test.want || !strings.Contains(e.Description, test.says) {
			t.Errorf("%s: got %d %q, want %d and %q", test.name, e.Kind, e.Description, test.want, test.says)
		}
		if strings.ContainsAny(e.Description, `"\`) || strings.Contains(e.Description+e.Detail, "arn:") {
			t.Errorf("%s: %q holds what no description may", test.name, e.Description)
		}
		if (e.RetryAfter > 0) != (e.Kind == fault.Unavailable || e.Kind == fault.Timeout) {
			t.Errorf("%s: RetryAfter is %v", test.name, e.RetryAfter)
		}
	}
}

// Operators learn once which certificate of ca_certificates is not used.
func TestNotesOfDocumentAreLogged(t *testing.T) {
	pem := keypairtest.New().PEM
	document, err := json.Marshal(map[string]string{
		"token_endpoint": "https://as.example.com/token", "client_id": "billing", "client_secret": "s", "ca_certificates": pem["ca"] + pem["ca.negative"],
	})
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	reader := secret.ReaderFunc(func(context.Context, string, secret.Want) (secret.Secret, error) {
		return secret.Secret{Text: document, Version: "v1"}, nil
	})
	c := newClients(Config{
		Clients: registry.New(registry.Config{Secrets: reader}), Log: slog.New(slog.NewTextHandler(&log, nil)), Now: time.Now, Rand: func() float64 { return 0 },
	}, func(string) {})
	var last cache.Last[*registry.Client]
	for range 2 {
		entry, err := c.load(t.Context(), "billing", last, registry.Have{})
		if err != nil {
			t.Fatal(err)
		}
		last.Value = entry.Value
	}
	if got := log.String(); strings.Count(got, "ca_certificates: certificate 2 has a negative serial number and is not used") != 1 || !strings.Contains(got, "client=billing") {
		t.Errorf("got the log %q, want the certificate named once", got)
	}
}

// A document that may not be read again now is being read by another call.
func TestNewerJoinsRunningRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		version := "v1"
		reader := secret.ReaderFunc(func(context.Context, string, secret.Want) (secret.Secret, error) {
			time.Sleep(100 * time.Millisecond)
			return secret.Secret{Text: []byte(`{"token_endpoint": "https://as.example.com/token", "client_id": "billing", "client_secret": "s"}`), Version: version}, nil
		})
		c := newClients(Config{
			Clients: registry.New(registry.Config{Secrets: reader}), Log: slog.New(slog.DiscardHandler), Now: time.Now, Rand: func() float64 { return 0 },
		}, func(string) {})
		old, err := c.get(t.Context(), "billing")
		if err != nil {
			t.Fatal(err)
		}
		for c.mayReread("billing", true) {
		}
		if c.newer(t.Context(), old, true, false) != nil {
			t.Error("got a newer document, and there is none")
		}
		time.Sleep(rereadInterval)
		version = "v2"
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				if client := c.newer(t.Context(), old, true, false); client == nil || client.Version != "v2" {
					t.Errorf("got %v, want v2, which one of three calls reads", client)
				}
			})
		}
		all.Wait()
	})
}

// Documents are bounded in bytes: there is room for thousands of usual ones, and not for many
// large ones.
func TestClientsAreBoundedInBytes(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long with the race detector")
	}
	material := keypairtest.New()
	var authorities strings.Builder // as many as a document may have
	for range 80 {
		authorities.WriteString(keypairtest.CertificatePEM(keypairtest.SelfSigned(material.EC256)))
	}
	for _, tt := range []struct {
		clients     int
		authorities string
		kept        bool
	}{{3000, "", true}, {300, authorities.String(), false}} {
		reads := 0
		reader := secret.ReaderFunc(func(context.Context, string, secret.Want) (secret.Secret, error) {
			reads++
			text, err := json.Marshal(map[string]string{
				"token_endpoint": "https://as.example.com/token", "client_id": "billing", "client_secret": "s", "ca_certificates": tt.authorities,
			})
			return secret.Secret{Text: text, Version: "v1"}, err
		})
		c := newClients(Config{
			Clients: registry.New(registry.Config{Secrets: reader}), Log: slog.New(slog.DiscardHandler), Now: time.Now, Rand: func() float64 { return 0 },
		}, func(string) {})
		for range 2 {
			for i := range tt.clients {
				if _, err := c.get(t.Context(), fmt.Sprint("client-", i)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if kept := reads == tt.clients; kept != tt.kept {
			t.Errorf("%d documents of %d bytes were read %d times, want all of them in memory: %t", tt.clients, len(tt.authorities), reads, tt.kept)
		}
	}
}
