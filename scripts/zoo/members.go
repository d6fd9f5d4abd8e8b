package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" // #nosec G505 -- x5t (RFC 7515 section 4.1.7) is SHA-1
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"tokenvendor/shared/oauth/oauthtest"
)

// native returns a document with a secret, and further members.
func native(more doc) func(*zoo, string) any {
	return fixed(func(h string) any {
		d := doc{"token_endpoint": "https://" + h + "/token", "client_id": theID, "client_secret": theSecret}
		for name, value := range more {
			d[name] = value
		}
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
		{name: "old-tls", oddity: "TLS 1.2 at a server that has 1.3 (tls.max_version)", document: native(doc{"tls": doc{"max_version": "1.2"}}), check: func(v *outcome) error {
			if got := v.requests[0].tls.Version; got != tls.VersionTLS12 {
				return fmt.Errorf("the TLS version was %x", got)
			}
			return nil
		}},
		{name: "rsa-exchange", oddity: "a server with RSA key exchange only (tls.rsa_key_exchange)", document: native(doc{"tls": doc{"rsa_key_exchange": true, "max_version": "1.2"}}), serve: behaviour{tls: z.rsaOnly("as.rsa-exchange.example")}, check: exchanges(1)},
	}, assertions()...)
}

// assertions are keys and headers of private_key_jwt.
func assertions() []scenario {
	return []scenario{
		{name: "rs384", oddity: "RS384 (alg)", document: fixed(func(h string) any {
			return doc{"token_endpoint": "https://" + h + "/token", "client_id": theID, "private_key": rsaPEM(), "kid": "r1", "alg": "RS384"}
		}), check: header(doc{"alg": "RS384", "kid": "r1"})},
		{name: "wrong-alg", oddity: "an alg that is not the key's", document: fixed(func(h string) any {
			return doc{"token_endpoint": "https://" + h + "/token", "client_id": theID, "private_key": rsaPEM(), "alg": "ES256"}
		}), refused: "alg", check: nothingSent},
		{name: "x5t", oddity: "AD FS: x5t (assertion_thumbprint)", document: func(z *zoo, h string) any {
			chain, key := z.pair("x5t")
			return doc{
				"token_endpoint": "https://" + h + "/token", "client_id": theID, "certificate": chain, "private_key": key,
				"token_endpoint_auth_method": "private_key_jwt", "assertion_thumbprint": "x5t",
			}
		}, check: func(v *outcome) error {
			head, err := assertionHeader(v)
			if err != nil {
				return err
			}
			if text, _ := head["x5t"].(string); base64.RawURLEncoding.DecodedLen(len(text)) != sha1.Size || head["x5t#S256"] != nil {
				return fmt.Errorf("the header has x5t %v and x5t#S256 %v", head["x5t"], head["x5t#S256"])
			}
			return nil
		}},
	}
}

// combinations have each member with others.
func combinations() []scenario {
	answer := behaviour{answer: token(noLifetime)}
	return []scenario{
		{name: "zoom", oddity: "Zoom: account_credentials by Basic, no client_id in the body, an API key, no lifetime", document: native(doc{
			"grant_type": "account_credentials", "client_id_in_body": false, "token_endpoint_auth_method": "client_secret_basic", "headers": doc{"X-Api-Key": theAPIKey},
			"assume_expires_in": "600", "attempt_timeout": 12, "parameters": doc{"account_id": "a1"},
		}), serve: answer, asks: []string{"", ""}, check: func(v *outcome) error {
			return errors.Join(exchanges(1)(v), hasAPIKey(v), formHas(map[string]string{"grant_type": "account_credentials", "client_id": "", "account_id": "a1"})(v))
		}},
		{name: "json-old-tls", oddity: "a JSON body, an API key, no lifetime, and TLS 1.2 without post-quantum shares", document: native(doc{
			"request_format": "json", "headers": doc{"X-Api-Key": theAPIKey}, "assume_expires_in": 900, "attempt_timeout": 8,
			"tls": doc{"max_version": "1.2", "post_quantum": false}, "resource": "urn:zoo",
		}), serve: answer, asks: []string{"", ""}, check: func(v *outcome) error {
			if got := v.requests[0].json()["resource"]; got != "urn:zoo" {
				return fmt.Errorf("resource was %v", got)
			}
			return errors.Join(exchanges(1)(v), hasAPIKey(v), isJSON(v))
		}},
		{name: "adfs", oddity: "AD FS: PS384, no thumbprint, no client_id in the body", document: fixed(func(h string) any {
			return doc{
				"token_endpoint": "https://" + h + "/token", "client_id": theID, "private_key": rsaPEM(), "alg": "PS384", "assertion_thumbprint": "none",
				"client_id_in_body": false, "grant_type": "client_credentials", "request_format": "form",
			}
		}), check: func(v *outcome) error {
			return errors.Join(header(doc{"alg": "PS384"})(v), formHas(map[string]string{"client_id": ""})(v))
		}},
		{name: "wrapped", oddity: "the members beside a service key", host: "zoo3.accounts.ondemand.com", document: fixed(func(h string) any {
			return doc{
				"service_key": doc{"clientid": theID, "clientsecret": theSecret, "url": "https://" + h, "app_tid": "t"}, "headers": doc{"X-zid": "z1"},
				"request_format": "form", "tls": doc{"max_version": "1.2", "rsa_key_exchange": false},
			}
		}), check: func(v *outcome) error {
			if got := v.requests[0].header.Get("X-Zid"); got != "z1" {
				return fmt.Errorf("the header X-zid was %q", got)
			}
			return sentTo("/oauth2/token")(v)
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

// assertionHeader returns the header of the assertion in the first request.
func assertionHeader(v *outcome) (head doc, err error) {
	part, _, _ := strings.Cut(v.requests[0].form.Get("client_assertion"), ".")
	text, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return nil, err
	}
	return head, json.Unmarshal(text, &head)
}

// header returns a check of members of the assertion's header.
func header(want doc) func(*outcome) error {
	return func(v *outcome) error {
		head, err := assertionHeader(v)
		if err != nil {
			return err
		}
		for name, value := range want {
			if head[name] != value {
				return fmt.Errorf("the header %s was %v, want %v", name, head[name], value)
			}
		}
		return nil
	}
}

func rsaPEM() string {
	key, err := oauthtest.NewKey(oauthtest.RSA2048)
	if err != nil {
		panic(err)
	}
	text, err := oauthtest.KeyPEM(key)
	if err != nil {
		panic(err)
	}
	return text
}
