package main

import (
	"crypto/ecdsa"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"tokenvendor/scripts/local/dynamodb"
	"tokenvendor/scripts/local/kms"
	"tokenvendor/scripts/local/secretsmanager"
)

// The second run finds what the first has made.
func TestExternalAWSCanBeUsedTwice(t *testing.T) {
	secrets := secretsmanager.New(secretsmanager.Config{Region: region, Account: account})
	keys := kms.New(kms.Config{Region: region, Account: account})
	tables := httptest.NewServer(dynamodb.New(dynamodb.Config{Region: region, Account: account}))
	t.Cleanup(tables.Close)
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Header.Get("X-Amz-Target"), "secretsmanager.") {
			secrets.ServeHTTP(w, r)
			return
		}
		keys.ServeHTTP(w, r)
	}))
	t.Cleanup(other.Close)
	for range 2 {
		c, err := newExternalAWS(other.URL, tables.URL)
		if err != nil {
			t.Fatal(err)
		}
		public, err := c.addKey("ECC_NIST_P384", "alias/token-vendor/a")
		if key, ok := public.(*ecdsa.PublicKey); err != nil || !ok || key.Params().BitSize != 384 {
			t.Errorf("addKey: got %T, %v, want a key on P-384", public, err)
		}
		if err := c.putSecret("token-vendor/clients/a", "{}"); err != nil {
			t.Error(err)
		}
		if !c.signsDigests() {
			t.Error("signsDigests: got false for good signatures")
		}
		if env := strings.Join(c.vars(), " "); !strings.Contains(env, "AWS_ENDPOINT_URL_DYNAMODB="+tables.URL) || !strings.Contains(env, "CACHE_TABLE=peers-") {
			t.Errorf("vars: got %s, want the URL of DynamoDB and a table", env)
		}
	}
	if secrets.Calls("PutSecretValue") != 1 {
		t.Errorf("got %d calls of PutSecretValue, want 1", secrets.Calls("PutSecretValue"))
	}
}
