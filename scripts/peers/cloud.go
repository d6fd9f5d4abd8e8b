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
	"io"
	"net/http"
	"strings"
	"time"

	"tokenvendor/scripts/local/kms"
	"tokenvendor/scripts/local/secretsmanager"
)

// cloud is what stands in for AWS.
type cloud interface {
	// putSecret stores a new secret.
	putSecret(name, text string) error
	// addKey makes a key that signs, known by an alias ("alias/…").
	addKey(spec, alias string) (crypto.PublicKey, error)
	// signs is whether its signatures can be used: moto_server 5.2.1 hashes a digest again,
	// as if MessageType DIGEST were not there.
	signs() bool
	// env tells the function where it is, and which table it shares there, if any.
	env() []string
}

// ours is the AWS of the local stack.
type ours struct {
	secrets             *secretsmanager.Server
	keys                *kms.Server
	secretsURL, keysURL string
}

// newOurs serves it on loopback.
func (g *ground) newOurs() (cloud, error) {
	o := ours{
		secrets: secretsmanager.New(secretsmanager.Config{Region: region, Account: account}),
		keys:    kms.New(kms.Config{Region: region, Account: account}),
	}
	var first, second error
	o.secretsURL, first = g.serve(o.secrets)
	o.keysURL, second = g.serve(o.keys)
	return o, errors.Join(first, second)
}

func (o ours) putSecret(name, text string) error {
	_, err := o.secrets.Seed(name, text)
	return err
}

func (o ours) addKey(spec, alias string) (crypto.PublicKey, error) {
	if _, err := o.keys.AddKey(spec, strings.TrimPrefix(alias, "alias/")); err != nil {
		return nil, err
	}
	return o.keys.Public(alias)
}

func (o ours) signs() bool { return true }

func (o ours) env() []string {
	return []string{"AWS_ENDPOINT_URL_SECRETS_MANAGER=" + o.secretsURL, "AWS_ENDPOINT_URL_KMS=" + o.keysURL}
}

// theirs is one endpoint of somebody else's for Secrets Manager, KMS and DynamoDB, such
// as moto_server, or two, with another's for DynamoDB. The function shares a table there.
type theirs struct {
	url, tables string
	table, key  string // the shared table's name, and the key that its rows' keys lie under
	good        bool   // its signatures are
}

// newTheirs makes the shared table and its key.
func newTheirs(url, tables string) (cloud, error) {
	if tables == "" {
		tables = url
	}
	t := theirs{url: url, tables: tables, table: "peers-" + strings.ToLower(rand.Text())}
	var made struct {
		KeyMetadata struct {
			KeyID string `json:"KeyId"`
		}
	}
	if err := call(url, "TrentService.CreateKey", map[string]any{}, &made); err != nil {
		return nil, err
	}
	t.key = made.KeyMetadata.KeyID
	var err error
	if t.good, err = t.trySigning(); err != nil {
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
	// A table may take a moment.
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
	return nil, errors.New("the table is never active")
}

// trySigning has a digest signed, as the function does, and verifies it.
func (t theirs) trySigning() (good bool, err error) {
	const name = "alias/token-vendor/peers-trial"
	public, err := t.addKey("ECC_NIST_P256", name)
	if err != nil {
		return false, err
	}
	key, ok := public.(*ecdsa.PublicKey)
	if !ok {
		return false, errors.New("the key in KMS is of another kind")
	}
	digest := sha256.Sum256([]byte("trial"))
	var signed struct{ Signature []byte }
	err = call(t.url, "TrentService.Sign", map[string]any{"KeyId": name, "Message": digest[:], "MessageType": "DIGEST", "SigningAlgorithm": "ECDSA_SHA_256"}, &signed)
	return err == nil && ecdsa.VerifyASN1(key, digest[:], signed.Signature), err
}

func (t theirs) signs() bool { return t.good }

func (t theirs) putSecret(name, text string) error {
	id := (rand.Text() + rand.Text())[:32]
	if call(t.url, "secretsmanager.CreateSecret", map[string]string{"Name": name, "SecretString": text, "ClientRequestToken": id}, nil) == nil {
		return nil
	}
	// It is there from another run.
	return call(t.url, "secretsmanager.PutSecretValue", map[string]string{"SecretId": name, "SecretString": text, "ClientRequestToken": id}, nil)
}

func (t theirs) addKey(spec, alias string) (crypto.PublicKey, error) {
	var made struct {
		KeyMetadata struct {
			KeyID string `json:"KeyId"`
		}
	}
	if err := call(t.url, "TrentService.CreateKey", map[string]string{"KeySpec": spec, "KeyUsage": "SIGN_VERIFY"}, &made); err != nil {
		return nil, err
	}
	named := map[string]string{"AliasName": alias, "TargetKeyId": made.KeyMetadata.KeyID}
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

func (t theirs) env() []string {
	return []string{
		"AWS_ENDPOINT_URL_SECRETS_MANAGER=" + t.url, "AWS_ENDPOINT_URL_KMS=" + t.url, "AWS_ENDPOINT_URL_DYNAMODB=" + t.tables,
		"CACHE_TABLE=" + t.table, "CACHE_KMS_KEY_ID=" + t.key,
	}
}

// call calls an operation of one of AWS's JSON protocols. The signature is none: these
// servers look at it for the region and the service only.
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
	response, err := transport.RoundTrip(r)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: status %d", target, response.StatusCode)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text, out)
}
