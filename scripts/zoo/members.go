package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"time"

	"tokenvendor/shared/oauth/oauthtest"
)

// native returns a document with a secret, and further members.
func native(more doc) func(*zoo, string) any { return with("client_secret", theSecret, more) }

// with returns a document with a credential, and further members.
func with(member string, credential any, more doc) func(*zoo, string) any {
	return fixed(func(h string) any {
		d := doc{"token_endpoint": "https://" + h + "/token", "client_id": theID, member: credential}
		maps.Copy(d, more)
		return d
	})
}

// formHas returns a check of the form of the first request; an empty value must be absent.
func formHas(want map[string]string) func(*outcome) error {
	return func(v *outcome) error {
		for name, value := range want {
			if got := v.requests[0].form.Get(name); got != value {
				return fmt.Errorf("%s was %q, want %q", name, got, value)
			}
		}
		return nil
	}
}

// exchanges returns a check of the number of token requests.
func exchanges(want int) func(*outcome) error {
	return func(v *outcome) error {
		if len(v.requests) != want {
			return fmt.Errorf("the server got %d requests, want %d", len(v.requests), want)
		}
		return nil
	}
}

const noLifetime = `{"access_token":"` + theToken + `","token_type":"Bearer"}`

// members are servers that need one member of the document.
func members(z *zoo) []scenario {
	return append([]scenario{
		{name: "api-key", oddity: "a gateway that wants an API key (headers)", document: native(doc{"headers": doc{"X-Api-Key": theAPIKey}}), check: hasAPIKey},
		{name: "no-lifetime", oddity: "Salesforce: no expires_in (assume_expires_in)", document: native(doc{"assume_expires_in": 1800}), serve: behaviour{answer: token(noLifetime)}, asks: []string{"", ""}, check: exchanges(1)},
		{name: "id-once", oddity: "Okta: refuses client_id beside Basic (client_id_in_body)", document: native(doc{"client_id_in_body": false, "token_endpoint_auth_method": "client_secret_basic"}), check: formHas(map[string]string{"client_id": "", "grant_type": "client_credentials"})},
		{name: "slow", oddity: "a server that takes 6 seconds (attempt_timeout)", document: native(doc{"attempt_timeout": 9}), serve: behaviour{answer: func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(6 * time.Second)
			token(`{"access_token":"`+theToken+`","token_type":"Bearer","expires_in":3600}`)(w, r)
		}}, check: exchanges(1)},
		{name: "ariba", oddity: "SAP Ariba: openapi_2lo (grant_type)", document: native(doc{"grant_type": "openapi_2lo"}), check: formHas(map[string]string{"grant_type": "openapi_2lo"})},
		{name: "other-grant", oddity: "another grant is refused", document: native(doc{"grant_type": "password"}), refused: "grant_type", check: nothingSent},
		{name: "json-body", oddity: "a server that takes no form (request_format)", document: native(doc{"request_format": "json"}), check: isJSON},
		{name: "single-token", oddity: "a new token ends the old one (single_token)", document: native(doc{"single_token": true}), serve: behaviour{answer: token(`{"access_token":"` + theToken + `","token_type":"Bearer","expires_in":40}`)}, asks: []string{"", "", ""}, check: oneRefresh},
		{name: "old-tls", oddity: "TLS 1.2 at a server that has 1.3 (tls.max_version)", document: native(doc{"tls": doc{"max_version": "1.2"}}), check: func(v *outcome) error {
			if got := v.requests[0].tls.Version; got != tls.VersionTLS12 {
				return fmt.Errorf("the TLS version was %x", got)
			}
			return nil
		}},
		{name: "rsa-exchange", oddity: "a server with RSA key exchange only (tls.rsa_key_exchange)", document: native(doc{"tls": doc{"rsa_key_exchange": true, "max_version": "1.2"}}), serve: behaviour{tls: z.rsaOnly("as.rsa-exchange.example")}, check: exchanges(1)},
		{name: "guid", oddity: "Entra ID v1, AD FS: a resource that is a GUID", document: native(doc{"resource": "2ff814a6-1111-2222-3333-cd0e6f879c1d"}), asks: []string{"", `"resource": "2ff814a6-1111-2222-3333-cd0e6f879c1d"`}, check: formHas(map[string]string{"resource": "2ff814a6-1111-2222-3333-cd0e6f879c1d"})},
	}, assertions(z.signers)...)
}

// combinations have each member with others.
func combinations(s signers) []scenario {
	answer := behaviour{answer: token(noLifetime)}
	return []scenario{
		{name: "zoom", oddity: "Zoom: account_credentials by Basic, no client_id in the body, an API key, no lifetime", document: native(doc{
			"grant_type": "account_credentials", "client_id_in_body": false, "token_endpoint_auth_method": "client_secret_basic", "headers": doc{"X-Api-Key": theAPIKey},
			"assume_expires_in": "600", "attempt_timeout": 12, "exchanges_per_second": "50", "parameters": doc{"account_id": "a1"},
		}), serve: answer, asks: []string{"", ""}, check: func(v *outcome) error {
			return errors.Join(exchanges(1)(v), hasAPIKey(v), formHas(map[string]string{"grant_type": "account_credentials", "client_id": "", "account_id": "a1"})(v))
		}},
		{name: "json-single", oddity: "a JSON body, one token at a time, an API key and TLS 1.2 without post-quantum shares", document: native(doc{
			"request_format": "json", "single_token": true, "headers": doc{"X-Api-Key": theAPIKey}, "assume_expires_in": 900, "attempt_timeout": 8,
			"tls": doc{"max_version": "1.2", "post_quantum": false}, "resource": "7f000000-aaaa-bbbb-cccc-000000000001",
		}), serve: answer, asks: []string{"", ""}, check: func(v *outcome) error {
			if got := v.requests[0].json()["resource"]; got != "7f000000-aaaa-bbbb-cccc-000000000001" {
				return fmt.Errorf("resource was %v", got)
			}
			return errors.Join(exchanges(1)(v), hasAPIKey(v), isJSON(v), oneRefresh(v))
		}},
		{name: "adfs", oddity: "AD FS: a JWK, PS384, no thumbprint, a GUID as resource, no client_id in the body", document: fixed(func(h string) any {
			return doc{
				"token_endpoint": "https://" + h + "/token", "client_id": theID, "private_key": s.jwk("rsa", "", "PS384"), "alg": "PS384", "assertion_thumbprint": "none",
				"client_id_in_body": false, "resource": "7f000000-aaaa-bbbb-cccc-000000000002", "grant_type": "client_credentials", "request_format": "form",
			}
		}), check: func(v *outcome) error {
			return errors.Join(s.signed("rsa", doc{"alg": "PS384"})(v), formHas(map[string]string{"client_id": "", "resource": "7f000000-aaaa-bbbb-cccc-000000000002"})(v))
		}},
		{name: "jwk-wrapped", oddity: "the members beside a service key: a JWK and its alg", host: "zoo3.accounts.ondemand.com", document: fixed(func(h string) any {
			return doc{
				"service_key": doc{"clientid": theID, "url": "https://" + h, "app_tid": "t"}, "private_key": s.jwk("P-256", "w1", "ES256"), "alg": "ES256",
				"headers": doc{"X-zid": "z1"}, "single_token": true, "assertion_thumbprint": "none",
			}
		}), check: func(v *outcome) error {
			if got := v.requests[0].header.Get("X-Zid"); got != "z1" {
				return fmt.Errorf("the header X-zid was %q", got)
			}
			return s.signed("P-256", doc{"alg": "ES256", "kid": "w1"})(v)
		}},
	}
}

func hasAPIKey(v *outcome) error {
	for _, r := range v.requests {
		if r.header.Get("X-Api-Key") != theAPIKey {
			return errors.New("a request has no API key")
		}
	}
	return nil
}

func isJSON(v *outcome) error {
	r := v.requests[0]
	if body := r.json(); r.header.Get("Content-Type") != "application/json" || body["grant_type"] != "client_credentials" || body["client_id"] != theID || body["client_secret"] != theSecret {
		return errors.New("the body is not the JSON object that the server takes")
	}
	return nil
}

// oneRefresh checks that all callers were told the same moment.
func oneRefresh(v *outcome) error {
	first, _ := v.answers[0]["refresh_after"].(float64)
	for _, answer := range v.answers[1:] {
		if next, _ := answer["refresh_after"].(float64); next < first-2 || next > first {
			return fmt.Errorf("callers were told %v and %v", first, next)
		}
	}
	return exchanges(1)(v)
}

// rsaOnly makes a server accept RSA key exchange only.
func (z *zoo) rsaOnly(host string) func(*tls.Config) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err) // generating a key never fails
	}
	issued, err := z.ca.Issue(oauthtest.Leaf{CommonName: host, Hosts: []string{host}, Key: key})
	if err != nil {
		panic(err)
	}
	return func(c *tls.Config) {
		c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_RSA_WITH_AES_256_GCM_SHA384}
		c.Certificates = []tls.Certificate{issued.TLS()}
	}
}
