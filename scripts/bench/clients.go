package main

import (
	"crypto"
	"encoding/json"
	"time"

	"tokenvendor/shared/oauth/oauthtest"
)

// clientKind is how a client authenticates.
type clientKind int

const (
	withSecret clientKind = iota
	withKey               // in KMS
	withRole              // with a web identity token of STS
)

// audience identifies the authorization server in assertions, whatever its URL is.
const audience = "bench-authorization-server"

// addClient registers a client at the authorization server and stores its document.
func (e *env) addClient(kind clientKind, id, tokenEndpoint string, life time.Duration) error {
	client := oauthtest.Client{ID: id, Lifetime: life, Methods: []string{"private_key_jwt"}, Audiences: []string{audience}}
	document := map[string]string{"token_endpoint": tokenEndpoint, "client_id": id, "assertion_audience": audience}
	switch kind {
	case withSecret:
		client.Methods, client.Secrets = []string{"client_secret_post"}, []string{firstSecret}
		document = map[string]string{"token_endpoint": tokenEndpoint, "client_id": id, "client_secret": firstSecret}
	case withKey:
		alias := "token-vendor/" + id
		if _, err := e.keys.AddKey("ECC_NIST_P256", alias); err != nil {
			return err
		}
		public, err := e.keys.Public("alias/" + alias)
		if err != nil {
			return err
		}
		client.Keys = map[string]crypto.PublicKey{"k1": public}
		document["kms_key_id"], document["kid"] = "alias/"+alias, "k1"
	case withRole:
		client.Trust = &oauthtest.Trust{
			Issuer: e.sts.Issuer(), Subject: e.sts.Subject(), Keys: e.sts.Keys(), Tags: map[string]string{"token-vendor-client": id},
		}
		document["token_endpoint_auth_method"] = "aws_web_identity"
	}
	text, err := json.Marshal(document)
	if err != nil {
		return err
	}
	e.issuer.Register(client)
	_, err = e.secrets.Seed("token-vendor/clients/"+id, string(text))
	return err
}
