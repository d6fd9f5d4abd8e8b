package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"tokenvendor/shared/oauth/oauthtest"
)

// signJWT makes a JWT (RFC 7515).
func signJWT(t *testing.T, key crypto.Signer, alg, body string) string {
	t.Helper()
	text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"`+alg+`","kid":"`+keyID+`"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(body))
	hash := crypto.SHA256
	if strings.HasSuffix(alg, "384") {
		hash = crypto.SHA384
	}
	h := hash.New()
	h.Write([]byte(text))
	var signature []byte
	var err error
	switch k := key.(type) {
	case *ecdsa.PrivateKey:
		r, s, signErr := ecdsa.Sign(rand.Reader, k, h.Sum(nil))
		if signErr != nil {
			t.Fatal(signErr)
		}
		half := (k.Params().BitSize + 7) / 8
		signature = append(r.FillBytes(make([]byte, half)), s.FillBytes(make([]byte, half))...)
	case *rsa.PrivateKey:
		var opts crypto.SignerOpts = hash
		if alg == "PS256" {
			opts = &rsa.PSSOptions{SaltLength: hash.Size(), Hash: hash}
		}
		signature, err = k.Sign(rand.Reader, h.Sum(nil), opts)
	}
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func TestVerifyNeedsTheSignatureOfTheKeySet(t *testing.T) {
	for _, test := range []struct {
		alg  string
		kind oauthtest.KeyKind
	}{{"RS256", oauthtest.RSA2048}, {"PS256", oauthtest.RSA2048}, {"ES256", oauthtest.P256}, {"ES384", oauthtest.P384}} {
		t.Run(test.alg, func(t *testing.T) {
			key, err := oauthtest.NewKey(test.kind)
			if err != nil {
				t.Fatal(err)
			}
			other, err := oauthtest.NewKey(test.kind)
			if err != nil {
				t.Fatal(err)
			}
			var read jwk
			text, err := json.Marshal(jwkOf(key.Public(), test.alg))
			if err == nil {
				err = json.Unmarshal(text, &read)
			}
			if err != nil {
				t.Fatal(err)
			}
			public, err := read.public()
			if err != nil {
				t.Fatal(err)
			}
			v := &verifier{keys: map[string]crypto.PublicKey{keyID: public}}
			const body = `{"iss":"i","aud":["x","y"],"cnf":{"x5t#S256":"z"}}`
			token := signJWT(t, key, test.alg, body)
			if c, err := v.verify(token); err != nil || c.how != "signature" || !c.Active || c.Confirmation.Thumbprint != "z" || len(c.Audience) != 2 {
				t.Errorf("got %+v, %v, want the claims", c, err)
			}
			parts := strings.Split(token, ".")
			for name, bad := range map[string]string{
				"another key":  signJWT(t, other, test.alg, body),
				"another body": parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"j"}`)) + "." + parts[2],
				"no algorithm": base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"k1"}`)) + "." + parts[1] + ".",
				"no key":       base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"`+test.alg+`","kid":"k2"}`)) + "." + parts[1] + "." + parts[2],
				"no JSON":      "a.b.c",
			} {
				if c, err := v.verify(bad); err == nil || c.how != "" {
					t.Errorf("%s: got no error", name)
				}
			}
		})
	}
}

func TestOpaqueTokenIsIntrospected(t *testing.T) {
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, secret, ok := r.BasicAuth()
		if !ok || id != "id-inspector" || secret != "a%2Fb" || r.PostFormValue("token") != "opaque" {
			http.Error(w, "", http.StatusUnauthorized)
			return
		}
		_, _ = w.Write([]byte(`{"active":true,"client_id":"id-c","aud":"x"}`))
	}))
	defer endpoint.Close()
	inspector := newRow("inspector", "client_secret_basic", "")
	inspector.register["client_secret"] = "a/b"
	v := &verifier{http: endpoint.Client(), inspector: inspector, Introspection: endpoint.URL}
	if c, err := v.examine(context.Background(), "opaque"); err != nil || c.how != "introspected" || !c.Active || c.Client != "id-c" {
		t.Errorf("got %+v, %v", c, err)
	}
	if c, err := v.examine(context.Background(), "other"); err == nil || c.how != "" {
		t.Errorf("got %+v, %v", c, err)
	}
	v.Introspection = ""
	if c, err := v.examine(context.Background(), "opaque"); err != nil || c.how != "" {
		t.Errorf("without introspection: %+v, %v", c, err)
	}
}

func TestClaimsCheckFindsProblems(t *testing.T) {
	now := time.Unix(1000, 0)
	r := row{client: "c", audience: "x", thumbprint: "z"}
	good := func() claims {
		c := claims{Active: true, Issuer: "i", Client: "id-c", Audience: audience{"x"}, Expires: 1001, how: "signature"}
		c.Confirmation.Thumbprint = "z"
		return c
	}
	if got := good().check(r, "i", now); got != "" {
		t.Errorf("good claims: got %q", got)
	}
	if got := (claims{}).check(row{client: "c"}, "i", now); got != "" {
		t.Errorf("not examined: got %q", got)
	}
	if (claims{}).check(r, "i", now) == "" {
		t.Error("not examined, but must be a bound JWT: got no problem")
	}
	for name, change := range map[string]func(*claims){
		"inactive":        func(c *claims) { c.Active = false },
		"issuer":          func(c *claims) { c.Issuer = "j" },
		"no issuer":       func(c *claims) { c.Issuer = "" },
		"client":          func(c *claims) { c.Client = "id-d" },
		"expired":         func(c *claims) { c.Expires = 1000 },
		"audience":        func(c *claims) { c.Audience = audience{"y"} },
		"opaque":          func(c *claims) { c.how = "introspected" },
		"no binding":      func(c *claims) { c.Confirmation.Thumbprint = "" },
		"another binding": func(c *claims) { c.Confirmation.Thumbprint = "y" },
	} {
		c := good()
		change(&c)
		if c.check(r, "i", now) == "" {
			t.Errorf("%s: got no problem", name)
		}
	}
	if unbound := (row{client: "c", audience: "x"}); good().check(unbound, "i", now) == "" {
		t.Error("bound, but must not be: got no problem")
	}
}
