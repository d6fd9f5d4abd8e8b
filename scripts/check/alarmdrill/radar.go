package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"tokenvendor/shared/keypair/keypairtest"
	"tokenvendor/shared/oauth/oauthtest"
)

const (
	// watchedClients are the clients that the radar examines, beside those of the stack.
	watchedClients = 200
	// runs of the radar are runInterval of its own clock apart.
	runs        = 9
	runInterval = 8 * time.Hour
)

// breakage is a way in which a client is broken. event is what the radar tells of it.
type breakage struct {
	event string
	make  func(w *watched, client string) error
}

// watched are the clients of a drill of the radar.
type watched struct {
	*stack
	server *oauthtest.Server
	now    time.Time
}

// good writes a client that works, changed by members.
func (w *watched) good(client string, members map[string]any) error {
	w.server.Register(oauthtest.Client{ID: client, Methods: []string{"client_secret_post"}, Secrets: []string{"right"}, Lifetime: 8 * time.Hour})
	return w.document(client, w.server, members)
}

// certified writes a client with a certificate that is valid from some days ago, and for so many.
func (w *watched) certified(client string, from, to int) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	leaf := keypairtest.New().Issue(key, func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = w.now.AddDate(0, 0, -from), w.now.AddDate(0, 0, to).Add(12*time.Hour)
	})
	w.server.Register(oauthtest.Client{ID: client, Methods: []string{"private_key_jwt"}, Keys: map[string]crypto.PublicKey{"": key.Public()}})
	return w.document(client, w.server, map[string]any{
		"client_secret": "", "token_endpoint_auth_method": "private_key_jwt", "private_key": keypairtest.KeyPEM(key), "certificate": keypairtest.CertificatePEM(leaf),
	})
}

// breakages are twelve ways to break a client.
func breakages() []breakage {
	text := func(text string) func(*watched, string) error {
		return func(w *watched, client string) error { return w.write(w.Prefix+client, text) }
	}
	return []breakage{
		{"CredentialExpiring", func(w *watched, client string) error { return w.certified(client, 300, 20) }},
		{"CredentialExpired", func(w *watched, client string) error { return w.certified(client, 300, -2) }},
		{"CredentialExpiring", func(w *watched, client string) error {
			return w.good(client, map[string]any{"expires": w.now.Add(6*24*time.Hour + 12*time.Hour).UTC().Format(time.RFC3339)})
		}},
		{"CredentialRejected", func(w *watched, client string) error { return w.good(client, map[string]any{"client_secret": wrong}) }},
		{"CredentialRejected", func(w *watched, client string) error {
			return w.document(client, w.server, nil) // which the server does not know
		}},
		{"CandidateRefused", func(w *watched, client string) error {
			return errors.Join(w.good(client, nil), w.vend(client, ""), w.document(client, w.server, map[string]any{"client_secret": wrong}))
		}},
		{"CredentialUnusable", text("not JSON")},
		{"CredentialUnusable", text(`{"client_id": "x", "client_secret": "y", "audienc": "z"}`)},
		{"CredentialUnusable", func(w *watched, client string) error {
			return w.good(client, map[string]any{"ca_certificates": keypairtest.New().PEM["ca"]})
		}},
		{"CredentialUnusable", func(w *watched, client string) error {
			w.server.Register(oauthtest.Client{ID: client, Methods: []string{"client_secret_post"}, Secrets: []string{"right"}, Scopes: []string{"read"}})
			return w.document(client, w.server, map[string]any{"scope": "admin"})
		}},
		{"CredentialUnusable", func(w *watched, client string) error {
			return w.good(client, map[string]any{"token_endpoint": "https://127.0.0.1:1/token"})
		}},
		{"CredentialUnused", func(w *watched, client string) error {
			if err := w.good(client, nil); err != nil {
				return err
			}
			_, err := w.run(w.now.AddDate(0, 0, -91))
			return err
		}},
	}
}

// run lets the radar run at a time of its own clock, and returns the events that it has sent.
func (w *watched) run(at time.Time) ([]string, error) {
	text, err := w.log(0)
	if err != nil {
		return nil, err
	}
	if err := w.schedule(fmt.Sprintf(`{"id": "drill-%d", "time": %q, "radar": true}`, at.Unix(), at.UTC().Format(time.RFC3339))); err != nil {
		return nil, err
	}
	for range 300 {
		after, err := w.log(len(text))
		if err != nil || strings.Contains(string(after), `"RadarRuns"`) {
			return w.events(), err
		}
		time.Sleep(100 * time.Millisecond)
	}
	return nil, errors.New("the radar did not end")
}

// events takes the events of the radar from the queue that gets them.
func (w *watched) events() (all []string) {
	queue := strings.TrimSuffix(w.OrdersURL, "token-vendor-orders") + "token-vendor-credentials"
	for {
		out, err := w.aws("AmazonSQS.ReceiveMessage", map[string]any{"QueueUrl": queue, "MaxNumberOfMessages": 10, "VisibilityTimeout": 3600})
		var messages []struct{ Body string }
		if err != nil || json.Unmarshal(out["Messages"], &messages) != nil || len(messages) == 0 {
			return all
		}
		for _, m := range messages {
			var event struct {
				Type   string `json:"detail-type"`
				Detail struct{ Client string }
			}
			_ = json.Unmarshal([]byte(m.Body), &event)
			if strings.HasPrefix(event.Detail.Client, "watched-") {
				all = append(all, event.Detail.Client+" "+event.Type)
			}
		}
	}
}

// watch lets the radar examine many clients for three days of its own clock. Each client that is
// broken is reported once, and no other one is; each wrong credential is sent once, and no client
// whose token is young has another exchange.
func (r *runner) watch() error {
	server, err := r.server()
	if err != nil {
		return err
	}
	w := &watched{stack: r.stack, server: server, now: time.Now().Truncate(time.Hour)}
	var want, got []string
	for i, b := range slices.Backward(breakages()) { // the unused one first
		client := fmt.Sprintf("watched-broken-%d", i)
		if err := b.make(w, client); err != nil {
			return fmt.Errorf("%s: %w", client, err)
		}
		want = append(want, client+" "+b.event)
	}
	for i := len(want); i < watchedClients; i++ {
		if err := w.good(fmt.Sprintf("watched-%d", i), nil); err != nil {
			return err
		}
	}
	for n := range runs {
		events, err := w.run(w.now.Add(time.Duration(n) * runInterval))
		if err != nil {
			return err
		}
		got = append(got, events...)
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		return fmt.Errorf("the radar reported\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if err := spared(server); err != nil {
		return err
	}
	fmt.Printf("ok: the radar reports %d of %d clients in %d runs, each once, with %d exchanges\n", len(got), watchedClients, runs, len(server.Requests()))
	return nil
}

// spared checks that no wrong credential was sent twice, and that a client that works had one
// exchange, because its token is young in all runs.
func spared(server *oauthtest.Server) error {
	exchanges := make(map[string]int)
	for _, q := range server.Requests() {
		exchanges[q.Form.Get("client_id")]++
	}
	for client, n := range exchanges {
		works := client != "" && !strings.Contains(client, "broken")
		if failed := server.FailedLogons(client); failed > 1 || works && n > 1 {
			return fmt.Errorf("%s: %d exchanges and %d failed logons", client, n, failed)
		}
	}
	return nil
}
