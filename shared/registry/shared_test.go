package registry

import (
	"context"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"tokenvendor/shared/keypair/keypairtest"
	"tokenvendor/shared/secret"
)

// sharedReader returns a reader whose readings another environment made at a time. It returns no
// text that its user knows, and a fresh document if the secret is to be read now.
func sharedReader(document, fresh []byte, read time.Time, wants *[]secret.Want) secret.Reader {
	return secret.ReaderFunc(func(_ context.Context, _ string, want secret.Want) (secret.Secret, error) {
		*wants = append(*wants, want)
		if want.MaxAge == 0 {
			return secret.Secret{Text: fresh, Version: "fresh"}, nil
		}
		s := secret.Secret{Text: document, Version: "v1", Read: read, Shared: true}
		if s.Identity() == want.Known {
			s.Text = nil
		}
		return s, nil
	})
}

// A document is not read again while it makes the same client. One that refers to what others may
// change is, and one whose certificate has ended.
func TestKnownDocumentIsNotReadAgain(t *testing.T) {
	m := testMaterial()
	certificate := members{"certificate": m.PEM["rsa.chain"], "private_key": m.PEM["rsa.key"]}
	end := keypairtest.Now().Add(24 * time.Hour)
	for _, test := range []struct {
		name    string
		members members
		now     time.Time
		known   bool
	}{
		{"secret", members{"client_secret": "s"}, end.AddDate(50, 0, 0), true},
		{"certificate", certificate, end, true},
		{"certificate has ended", certificate, end.Add(time.Second), false},
		{"metadata", members{"client_id": "billing", "client_secret": "s", "issuer": "https://as.example.com/realm"}, end, false},
		{"key in KMS", members{"kms_key_id": "alias/token-vendor/billing"}, end, false},
		{"shadow", members{"client_secret": "s", "shadow": members{"client_secret": "t"}}, end, true},
		{"certificate of shadow", members{"client_secret": "s", "shadow": certificate}, end.Add(time.Second), false},
		{"metadata of shadow", members{"client_secret": "s", "shadow": members{"client_secret": "t", "issuer": "https://as.example.com/realm"}}, end, false},
		{"problem of shadow", members{"client_secret": "s", "shadow": members{"client_secret": "t", "issuer": "https://as.example.com/none"}}, end, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			now, read := keypairtest.Now(), keypairtest.Now().Add(-time.Minute)
			var wants []secret.Want
			document := native(test.members)
			if test.name == "metadata" {
				document = must(json.Marshal(test.members))
			}
			r := New(Config{Secrets: sharedReader(document, document, read, &wants), Keys: newKeyring(), Discover: discoverExample, Now: func() time.Time { return now }})
			have := Have{MaxAge: time.Minute}
			client, at, err := r.Load(t.Context(), "billing", have)
			if err != nil || !at.Equal(read) {
				t.Fatalf("got a client of %v, %v, want %v", at, err, read)
			}
			now, have.Client = test.now, client
			again, at, err := r.Load(t.Context(), "billing", have)
			if test.known && (err != nil || again != client || !at.Equal(read)) {
				t.Errorf("got the same client: %t, of %v, %v, want the same one of %v", again == client, at, err, read)
			}
			if known := wants[1].Known != (secret.Identity{}); known != test.known || wants[0].Known != (secret.Identity{}) {
				t.Errorf("got readings for %+v, want the second one for a known document: %t", wants, test.known)
			}
		})
	}
}

// A shared reading whose document has a problem is not used. Another one is.
func TestSharedReadingWithProblemIsMadeAgain(t *testing.T) {
	good, bad := native(members{"client_secret": "s"}), native(members{"client_secret": ""})
	for _, test := range []struct {
		name          string
		shared, fresh []byte
		version       string
		reads         int
	}{
		{"good", good, bad, "v1", 1},
		{"corrected since", bad, good, "fresh", 2},
		{"not corrected", bad, bad, "", 2},
	} {
		var wants []secret.Want
		r := New(Config{Secrets: sharedReader(test.shared, test.fresh, time.Unix(1, 0), &wants)})
		client, at, err := r.Load(t.Context(), "billing", Have{MaxAge: time.Minute})
		switch {
		case len(wants) != test.reads:
			t.Errorf("%s: got %d readings, want %d", test.name, len(wants), test.reads)
		case test.version == "" && err == nil, test.version != "" && (err != nil || client.Version != test.version):
			t.Errorf("%s: got %+v, %v, want version %q", test.name, client, err, test.version)
		case test.reads == 2 && !at.IsZero():
			t.Errorf("%s: got a reading of %v, want one that was just made", test.name, at)
		}
		var wantsNow []secret.Want
		r = New(Config{Secrets: sharedReader(test.fresh, test.fresh, time.Unix(1, 0), &wantsNow)})
		_, _ = r.Inspect(t.Context(), "billing")
		_, _, _ = r.Load(t.Context(), "billing", Have{})
		if !slices.Equal(wantsNow, make([]secret.Want, 2)) {
			t.Errorf("%s: Inspect and Load wanted %+v, want one reading each that is made now", test.name, wantsNow)
		}
	}
}
