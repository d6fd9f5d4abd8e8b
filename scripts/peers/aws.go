package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"tokenvendor/scripts/local/kms"
	"tokenvendor/scripts/local/secretsmanager"
)

// awsServices are the services that stand in for AWS.
type awsServices interface {
	// putSecret stores a new secret.
	putSecret(name, text string) error
	// addKey makes a signing key with an alias ("alias/…").
	addKey(spec, alias string) (crypto.PublicKey, error)
	// signsDigests reports whether the signatures of keys can be used: moto_server 5.2.1
	// hashes a digest again, as if MessageType DIGEST were not given.
	signsDigests() bool
	// vars returns environment variables of the function: endpoints, and a shared table if
	// there is one.
	vars() []string
}

// localAWS is awsServices of the local stack.
type localAWS struct {
	secrets             *secretsmanager.Server
	keys                *kms.Server
	secretsURL, keysURL string
}

// newLocalAWS starts the services on loopback.
func (e *env) newLocalAWS() (awsServices, error) {
	o := localAWS{
		secrets: secretsmanager.New(secretsmanager.Config{Region: region, Account: account}),
		keys:    kms.New(kms.Config{Region: region, Account: account}),
	}
	var first, second error
	o.secretsURL, first = e.serve(o.secrets)
	o.keysURL, second = e.serve(o.keys)
	return o, errors.Join(first, second)
}

func (o localAWS) putSecret(name, text string) error {
	_, err := o.secrets.Seed(name, text)
	return err
}

func (o localAWS) addKey(spec, alias string) (crypto.PublicKey, error) {
	if _, err := o.keys.AddKey(spec, strings.TrimPrefix(alias, "alias/")); err != nil {
		return nil, err
	}
	return o.keys.Public(alias)
}

func (o localAWS) signsDigests() bool { return true }

func (o localAWS) vars() []string {
	return []string{"AWS_ENDPOINT_URL_SECRETS_MANAGER=" + o.secretsURL, "AWS_ENDPOINT_URL_KMS=" + o.keysURL}
}

// externalAWS is awsServices of other projects: one endpoint for all services, such as
// moto_server, or one for DynamoDB and one for the other services. The function shares a
// table there.
type externalAWS struct {
	url, tables string // tables is the URL of DynamoDB
	table, key  string // the shared table, and the key in KMS for its rows
	digests     bool   // the result of trySigning
}

// newExternalAWS makes the shared table and its key.
func newExternalAWS(url, tables string) (awsServices, error) {
	if tables == "" {
		tables = url
	}
	t := externalAWS{url: url, tables: tables, table: "peers-" + strings.ToLower(rand.Text())}
	var err error
	if t.key, err = t.createKey(map[string]string{}); err != nil {
		return nil, err
	}
	if t.digests, err = t.trySigning(); err != nil {
		return nil, err
	}
	err = call(tables, "DynamoDB_20120810.CreateTable", map[string]any{
		"TableName": t.table, "BillingMode": "PAY_PER_REQUEST",
		"AttributeDefinitions": []any{map[string]string{"AttributeName": "name", "AttributeType": "S"}},
		"KeySchema":            []any{map[string]string{"AttributeName": "name", "KeyType": "HASH"}},
	}, nil)
	if err != nil {
		return nil, err
	}
	var described struct{ Table struct{ TableStatus string } }
	for range 100 {
		if err := call(tables, "DynamoDB_20120810.DescribeTable", map[string]string{"TableName": t.table}, &described); err != nil {
			return nil, err
		}
		if described.Table.TableStatus == "ACTIVE" {
			return t, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return nil, errors.New("the table did not become active in time")
}

// trySigning has KMS sign a digest, as the function does, and verifies the signature.
func (t externalAWS) trySigning() (good bool, err error) {
	const name = "alias/token-vendor/peers-trial"
	public, err := t.addKey("ECC_NIST_P256", name)
	if err != nil {
		return false, err
	}
	key, ok := public.(*ecdsa.PublicKey)
	if !ok {
		return false, errors.New("the key in KMS is not an ECDSA key")
	}
	digest := sha256.Sum256([]byte("trial"))
	var signed struct{ Signature []byte }
	err = call(t.url, "TrentService.Sign", map[string]any{"KeyId": name, "Message": digest[:], "MessageType": "DIGEST", "SigningAlgorithm": "ECDSA_SHA_256"}, &signed)
	return err == nil && ecdsa.VerifyASN1(key, digest[:], signed.Signature), err
}

func (t externalAWS) signsDigests() bool { return t.digests }

func (t externalAWS) putSecret(name, text string) error {
	id := (rand.Text() + rand.Text())[:32]
	if call(t.url, "secretsmanager.CreateSecret", map[string]string{"Name": name, "SecretString": text, "ClientRequestToken": id}, nil) == nil {
		return nil
	}
	// The secret exists from an earlier run.
	return call(t.url, "secretsmanager.PutSecretValue", map[string]string{"SecretId": name, "SecretString": text, "ClientRequestToken": id}, nil)
}

func (t externalAWS) createKey(in map[string]string) (id string, err error) {
	var made struct {
		KeyMetadata struct {
			KeyID string `json:"KeyId"`
		}
	}
	err = call(t.url, "TrentService.CreateKey", in, &made)
	return made.KeyMetadata.KeyID, err
}

func (t externalAWS) addKey(spec, alias string) (crypto.PublicKey, error) {
	id, err := t.createKey(map[string]string{"KeySpec": spec, "KeyUsage": "SIGN_VERIFY"})
	if err != nil {
		return nil, err
	}
	named := map[string]string{"AliasName": alias, "TargetKeyId": id}
	if call(t.url, "TrentService.CreateAlias", named, nil) != nil {
		if err := call(t.url, "TrentService.UpdateAlias", named, nil); err != nil {
			return nil, err
		}
	}
	var public struct{ PublicKey []byte }
	if err := call(t.url, "TrentService.GetPublicKey", map[string]string{"KeyId": alias}, &public); err != nil {
		return nil, err
	}
	return x509.ParsePKIXPublicKey(public.PublicKey)
}

func (t externalAWS) vars() []string {
	return []string{
		"AWS_ENDPOINT_URL_SECRETS_MANAGER=" + t.url, "AWS_ENDPOINT_URL_KMS=" + t.url, "AWS_ENDPOINT_URL_DYNAMODB=" + t.tables,
		"CACHE_TABLE=" + t.table, "CACHE_KMS_KEY_ID=" + t.key,
	}
}

// call calls an operation of one of AWS's JSON protocols. The signature is a dummy: these
// servers read only the region and the service in it.
func call(url, target string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	protocol := map[string]struct{ service, version string }{
		"secretsmanager": {"secretsmanager", "1.1"}, "TrentService": {"kms", "1.1"}, "DynamoDB_20120810": {"dynamodb", "1.0"},
		"AmazonSQS": {"sqs", "1.0"}, "AWSEvents": {"events", "1.1"},
	}[strings.Split(target, ".")[0]]
	r.Header.Set("Content-Type", "application/x-amz-json-"+protocol.version)
	r.Header.Set("X-Amz-Target", target)
	r.Header.Set("X-Amz-Date", time.Now().UTC().Format("20060102T150405Z"))
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIAPEERS/"+time.Now().UTC().Format("20060102")+"/"+region+"/"+protocol.service+
		"/aws4_request, SignedHeaders=host;x-amz-date;x-amz-target, Signature="+strings.Repeat("0", 64))
	transport := &http.Transport{DisableKeepAlives: true}
	if err := fetch(transport.RoundTrip, r, out); err != nil {
		return fmt.Errorf("%s: %w", target, err)
	}
	return nil
}
