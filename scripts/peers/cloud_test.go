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

// TestTheirs: one endpoint for all of AWS is asked as AWS wants it, and again.
func TestTheirs(t *testing.T) {
	secrets := secretsmanager.New(secretsmanager.Config{Region: region, Account: account})
	keys := kms.New(kms.Config{Region: region, Account: account})
	tables := httptest.NewServer(dynamodb.New(dynamodb.Config{Region: region, Account: account}))
	t.Cleanup(tables.Close)
	rest := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Header.Get("X-Amz-Target"), "secretsmanager.") {
			secrets.ServeHTTP(w, r)
			return
		}
		keys.ServeHTTP(w, r)
	}))
	t.Cleanup(rest.Close)
	for range 2 {
		c, err := newTheirs(rest.URL, tables.URL)
		if err != nil {
			t.Fatal(err)
		}
		public, err := c.addKey("ECC_NIST_P384", "alias/token-vendor/a")
		if key, ok := public.(*ecdsa.PublicKey); err != nil || !ok || key.Params().BitSize != 384 {
			t.Errorf("a key: %v", err)
		}
		if err := c.putSecret("token-vendor/clients/a", "{}"); err != nil {
			t.Error(err)
		}
		if !c.signs() {
			t.Error("good signatures were taken for bad ones")
		}
		if env := strings.Join(c.env(), " "); !strings.Contains(env, "AWS_ENDPOINT_URL_DYNAMODB="+tables.URL) || !strings.Contains(env, "CACHE_TABLE=peers-") {
			t.Errorf("the environment is %s", env)
		}
	}
	if secrets.Calls("PutSecretValue") != 1 {
		t.Errorf("%d calls of PutSecretValue", secrets.Calls("PutSecretValue"))
	}
}
