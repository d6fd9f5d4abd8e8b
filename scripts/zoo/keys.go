package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"tokenvendor/shared/oauth/oauthtest"
)

// What no output may contain, and the token.
const (
	theSecret = "zoo-Xy$9=][?:/secret" // #nosec G101 -- of this run's servers
	theAPIKey = "zoo-api-key-4711"     // #nosec G101 -- of this run's servers
	theToken  = "zoo-token-0123456789"
	theID     = "sb-zoo!b1|x"
)

// doc is a document.
type doc = map[string]any

// fixed returns a document that does not depend on the zoo.
func fixed(make func(host string) any) func(*zoo, string) any {
	return func(_ *zoo, host string) any { return make(host) }
}

// sentTo returns a check that the secret of the key went to a path of a host, and nothing else
// was called.
func sentTo(path string) func(*outcome) error {
	return func(v *outcome) error {
		if len(v.requests) != 1 {
			return fmt.Errorf("the server got %d requests, want 1", len(v.requests))
		}
		r := v.requests[0]
		if r.host != v.host || r.path != path || r.method != http.MethodPost {
			return fmt.Errorf("the request was %s %s%s, want POST %s%s", r.method, r.host, r.path, v.host, path)
		}
		if r.subject() == "" && r.form.Get("client_secret") != theSecret {
			if _, secret, _ := basicAuth(r); secret != theSecret {
				return errors.New("the secret of the key did not arrive")
			}
		}
		return nil
	}
}

// basicAuth returns the credentials of HTTP Basic, decoded as RFC 6749 encodes them.
func basicAuth(r request) (id, secret string, ok bool) {
	id, secret, ok = (&http.Request{Header: r.header}).BasicAuth()
	id, errID := url.QueryUnescape(id)
	secret, errSecret := url.QueryUnescape(secret)
	return id, secret, ok && errID == nil && errSecret == nil
}

// keys are service keys and secrets that are read as they come.
func keys() []scenario {
	xsuaa, cert := "zoo.authentication.eu10.hana.ondemand.com", "zoo2.authentication.cert.eu10.hana.ondemand.com"
	aiCore := func(host string) doc {
		return doc{
			"clientid": theID, "clientsecret": theSecret, "url": "https://" + host, "identityzone": "zoo", "appname": "ai!b1",
			"serviceurls": doc{"AI_API_URL": "https://api.ai.example"},
		}
	}
	return append([]scenario{
		{name: "ai-core", oddity: "SAP AI Core: a key of XSUAA without xsappname", host: xsuaa, document: fixed(func(h string) any { return aiCore(h) }), check: sentTo("/oauth/token")},
		{name: "ai-core-vcap", oddity: "the same in VCAP_SERVICES", host: "zoo3.authentication.eu10.hana.ondemand.com", document: fixed(func(h string) any {
			return doc{"VCAP_SERVICES": doc{"aicore": []doc{{"label": "aicore", "name": "ai", "credentials": aiCore(h)}}}}
		}), check: sentTo("/oauth/token")},
		{name: "ai-core-x509", oddity: "the same with a certificate: mutual TLS at the host of certurl", host: cert, further: []string{"zoo4.authentication.eu10.hana.ondemand.com"}, document: func(z *zoo, h string) any {
			chain, key := z.pair("ai-core")
			return doc{
				"clientid": theID, "certificate": chain, "key": key, "certurl": "https://" + h, "url": "https://zoo4.authentication.eu10.hana.ondemand.com", "credential-type": "x509",
			}
		}, check: func(v *outcome) error { return errors.Join(sentTo("/oauth/token")(v), shown(v, "ai-core")) }},
		{name: "integration-suite", oddity: "SAP Integration Suite: tokenurl beside the url of an API", host: "zoo5.authentication.eu10.hana.ondemand.com", further: []string{"zoo.it-cpi001-rt.cfapps.eu10.hana.ondemand.com"}, document: fixed(func(h string) any {
			return doc{"oauth": doc{
				"clientid": theID, "clientsecret": theSecret, "url": "https://zoo.it-cpi001-rt.cfapps.eu10.hana.ondemand.com", "tokenurl": "https://" + h + "/oauth/token", "createdate": "2026-11-01T00:00:00Z",
			}}
		}), check: sentTo("/oauth/token")},
		{name: "no-tokenurl", oddity: "the same without tokenurl: no secret for an API", host: "zoo2.it-cpi001-rt.cfapps.eu10.hana.ondemand.com", document: fixed(func(h string) any {
			return doc{"clientid": theID, "clientsecret": theSecret, "url": "https://" + h}
		}), refused: "url", check: nothingSent},
		{name: "own-domain", oddity: "SAP Cloud Identity Services: a key of identity on the customer's domain", host: "login.zoo.example", document: fixed(func(h string) any {
			return doc{
				"clientid": theID, "clientsecret": theSecret, "url": "https://" + h, "app_tid": "tenant", "domains": []string{"zoo.example"},
				"authorization_endpoint": "https://" + h + "/oauth2/authorize",
			}
		}), check: sentTo("/oauth2/token")},
	}, furtherKeys()...)
}

func furtherKeys() []scenario {
	return []scenario{
		{name: "api-management", oddity: "SAP API Management: camelCase", document: fixed(func(h string) any {
			return doc{"clientId": theID, "clientSecret": theSecret, "tokenUrl": "https://" + h + "/oauth/token", "applicationName": "zoo"}
		}), check: sentTo("/oauth/token")},
		{name: "datasphere", oddity: "SAP Datasphere: secret for clientSecret", document: fixed(func(h string) any {
			return doc{"clientId": theID, "secret": theSecret, "tokenUrl": "https://" + h + "/oauth/token"}
		}), check: sentTo("/oauth/token")},
		{name: "event-mesh", oddity: "SAP Event Mesh: one client three times, tokenendpoint in oa2", document: fixed(func(h string) any {
			oa2 := doc{"clientid": theID, "clientsecret": theSecret, "tokenendpoint": "https://" + h + "/oauth/token", "granttype": "client_credentials"}
			return doc{"xsappname": "zoo", "messaging": []doc{
				{"oa2": oa2, "protocol": []string{"amqp10ws"}, "uri": "wss://a.example"}, {"oa2": oa2, "protocol": []string{"mqtt311ws"}, "uri": "wss://b.example"},
				{"oa2": oa2, "protocol": []string{"httprest"}, "uri": "https://c.example"},
			}}
		}), check: sentTo("/oauth/token")},
		{name: "kubernetes", oddity: "Kubernetes service binding: files as members, JSON in a string", host: "zoo6.authentication.eu10.hana.ondemand.com", document: fixed(func(h string) any {
			return doc{
				"clientid": theID, "clientsecret": theSecret, "url": "https://" + h, "label": "aicore", "type": "aicore", "tags": "[]",
				"serviceurls": `{"AI_API_URL":"https://api.ai.example"}`, ".metadata": `{"credentialProperties":[{"name":"clientid","format":"text"}]}`,
			}
		}), check: sentTo("/oauth/token")},
		{name: "one-file", oddity: "Kubernetes: the whole key in one file", host: "zoo.accounts.ondemand.com", document: fixed(func(h string) any {
			return doc{"credentials": `{"clientid":"` + theID + `","clientsecret":"` + theSecret + `","url":"https://` + h + `"}`}
		}), check: sentTo("/oauth2/token")},
		{name: "encoded-twice", oddity: "AWS console: a document in a string", host: "zoo2.accounts.ondemand.com", document: fixed(func(h string) any {
			return `"{\"clientid\":\"` + theID + `\",\"clientsecret\":\"` + theSecret + `\",\"url\":\"https://` + h + `\"}"`
		}), check: sentTo("/oauth2/token")},
		{name: "salesforce", oddity: "managed external secret of AWS: Salesforce", host: "zoo.my.salesforce.com", document: fixed(func(h string) any {
			return doc{"consumerKey": theID, "consumerSecret": theSecret, "baseUri": "https://" + h, "appId": "0x1", "consumerId": "888"}
		}), check: sentTo("/services/oauth2/token")},
		{name: "databricks", oddity: "managed external secret of AWS: Databricks", host: "accounts.cloud.databricks.com", document: fixed(func(string) any {
			return doc{"accountId": "00000000-0000-4000-8000-0000000000ff", "servicePrincipalId": "1", "clientId": theID, "clientSecret": theSecret, "oauthSecretId": "1"}
		}), check: func(v *outcome) error {
			if scope := v.requests[0].form.Get("scope"); scope != "all-apis" {
				return fmt.Errorf("the scope was %q, want all-apis", scope)
			}
			return sentTo("/oidc/accounts/00000000-0000-4000-8000-0000000000ff/v1/token")(v)
		}},
		{name: "console-strings", oddity: "AWS console: numbers and objects as strings", document: fixed(func(h string) any {
			return doc{"token_endpoint": "https://" + h + "/token", "client_id": theID, "client_secret": theSecret, "parameters": `{"organization":"zoo"}`, "attempt_timeout": "4"}
		}), check: func(v *outcome) error {
			if got := v.requests[0].form.Get("organization"); got != "zoo" {
				return fmt.Errorf("the parameter organization was %q", got)
			}
			return sentTo("/token")(v)
		}},
	}
}

func nothingSent(v *outcome) error {
	if len(v.requests) > 0 {
		return fmt.Errorf("the server got %d requests, want none", len(v.requests))
	}
	return nil
}

// shown returns an error unless the client showed its certificate in each request.
func shown(v *outcome, commonName string) error {
	for _, r := range v.requests {
		if r.subject() != commonName {
			return fmt.Errorf("the client's certificate was %q, want %q", r.subject(), commonName)
		}
	}
	return nil
}

// pair returns a client's chain and key in PEM.
func (z *zoo) pair(commonName string) (chain, key string) {
	issued, err := z.ca.Issue(oauthtest.Leaf{CommonName: commonName})
	if err != nil {
		panic(err) // generating a key never fails
	}
	text, err := oauthtest.KeyPEM(issued.Key)
	if err != nil {
		panic(err)
	}
	return oauthtest.CertificatePEM(issued.Chain...), text
}
