package main

import (
	"crypto"
	"encoding/json"
	"time"

	"tokenvendor/shared/oauth/oauthtest"
)

// clientKind is what a client proves itself with.
type clientKind int

const (
	withSecret clientKind = iota
	withKey               // in KMS
	withRole              // STS vouches for it
)

// audience is the authorization server's name in assertions, wherever it is reached.
const audience = "bench-authorization-server"

// admit makes a client known at the authorization server and to the function.
func (g *ground) admit(kind clientKind, id, tokenEndpoint string, life time.Duration) error {
	client := oauthtest.Client{ID: id, Lifetime: life, Methods: []string{"private_key_jwt"}, Audiences: []string{audience}}
	document := map[string]string{"token_endpoint": tokenEndpoint, "client_id": id, "assertion_audience": audience}
	switch kind {
	case withSecret:
		client.Methods, client.Secrets = []string{"client_secret_post"}, []string{firstSecret}
		document = map[string]string{"token_endpoint": tokenEndpoint, "client_id": id, "client_secret": firstSecret}
	case withKey:
		alias := "token-vendor/" + id
		if _, err := g.keys.AddKey("ECC_NIST_P256", alias); err != nil {
			return err
		}
		public, err := g.keys.Public("alias/" + alias)
		if err != nil {
			return err
		}
		client.Keys = map[string]crypto.PublicKey{"k1": public}
		document["kms_key_id"], document["kid"] = "alias/"+alias, "k1"
	case withRole:
		client.Trust = &oauthtest.Trust{
			Issuer: g.sts.Issuer(), Subject: g.sts.Subject(), Keys: g.sts.Keys(), Tags: map[string]string{"token-vendor-client": id},
		}
		document["token_endpoint_auth_method"] = "aws_web_identity"
	}
	text, err := json.Marshal(document)
	if err != nil {
		return err
	}
	g.issuer.Register(client)
	_, err = g.secrets.Seed("token-vendor/clients/"+id, string(text))
	return err
}
