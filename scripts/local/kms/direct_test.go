package kms_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"tokenvendor/scripts/local/awsjson"
	local "tokenvendor/scripts/local/kms"
)

// own is a server of our own, for what only it can be asked.
type own struct {
	*suite
	server *local.Server
	mu     sync.Mutex
	now    time.Time // of the server; guarded by mu
}

func newOwn(t *testing.T) *own {
	o := &own{now: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)}
	o.server = local.New(local.Config{Region: "eu-central-1", Account: "123456789012", Now: func() time.Time {
		o.mu.Lock()
		defer o.mu.Unlock()
		return o.now
	}})
	ts := httptest.NewServer(o.server)
	t.Cleanup(ts.Close)
	o.suite = &suite{t, newClient(ts.URL), true}
	return o
}

func (o *own) pass(d time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.now = o.now.Add(d)
}

func TestAddKey(t *testing.T) {
	o := newOwn(t)
	id, err := o.server.AddKey("ECC_NIST_P256", "signer")
	if err != nil {
		t.Fatal(err)
	}
	out, err := o.api.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: aws.String("alias/signer")})
	if err != nil || *out.KeyMetadata.KeyId != id || out.KeyMetadata.KeyUsage != types.KeyUsageTypeSignVerify {
		t.Errorf("%+v, %v", out, err)
	}
	for spec, alias := range map[string]string{"ECC_NIST_P256": "signer", "RSA_1": "other", "SYMMETRIC_DEFAULT": "a b"} {
		if _, err := o.server.AddKey(spec, alias); err == nil {
			t.Errorf("%s, %s: no error", spec, alias)
		}
	}
	if keys, err := o.api.ListKeys(t.Context(), &kms.ListKeysInput{}); err != nil || len(keys.Keys) != 1 {
		t.Errorf("%v, %v", keys, err)
	}
}

// TestChangedCiphertext: wherever it is changed, it is noticed.
func TestChangedCiphertext(t *testing.T) {
	o := newOwn(t)
	k := o.create("SYMMETRIC_DEFAULT")
	blob := o.encrypt(k.KeyId, "secret", nil)
	for at := range blob {
		c := bytes.Clone(blob)
		c[at] ^= 0x40
		_, err := o.api.Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: c})
		o.wantCode(err, invalidText)
		_, err = o.api.Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: blob[:max(at, 1)]})
		o.wantCode(err, invalidText)
	}
}

// TestDeleted: when the window has ended the key is gone, with its aliases, and
// what it encrypted is lost.
func TestDeleted(t *testing.T) {
	o := newOwn(t)
	k := o.create("SYMMETRIC_DEFAULT")
	alias := o.alias(k.KeyId)
	blob := o.encrypt(alias, "secret", nil)
	out, err := o.api.ScheduleKeyDeletion(t.Context(), &kms.ScheduleKeyDeletionInput{KeyId: k.KeyId})
	if err != nil || *out.PendingWindowInDays != 30 || !out.DeletionDate.Equal(o.now.AddDate(0, 0, 30)) {
		t.Fatalf("%+v, %v", out, err)
	}
	o.pass(30*24*time.Hour - time.Second)
	_, err = o.api.Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: blob})
	o.wantCode(err, invalidState)
	o.pass(time.Second)
	_, err = o.api.Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: blob})
	o.wantCode(err, "AccessDeniedException")
	for _, id := range []*string{k.KeyId, k.Arn, alias} {
		_, err = o.api.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: id})
		o.wantCode(err, missing)
	}
	if list, err := o.api.ListAliases(t.Context(), &kms.ListAliasesInput{}); err != nil || len(list.Aliases) != 0 {
		t.Errorf("%v, %v", list, err)
	}
}

func TestARNs(t *testing.T) {
	o := newOwn(t)
	k := o.create("SYMMETRIC_DEFAULT")
	for id, want := range map[string]string{
		"arn:aws:kms": "InvalidArnException", "arn:aws:kms:eu-central-1:123456789012:" + *k.KeyId: "InvalidArnException",
		"arn:aws:kms:eu-west-1:123456789012:key/" + *k.KeyId: missing, "arn:aws:kms:eu-central-1:210987654321:key/" + *k.KeyId: missing, "key/" + *k.KeyId: missing,
	} {
		_, err := o.api.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: &id})
		o.wantCode(err, want)
	}
	// An alias is a name for what uses keys, not for what changes them.
	_, err := o.api.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: o.alias(k.KeyId)})
	o.wantCode(err, missing)
}

func TestFaults(t *testing.T) {
	o := newOwn(t)
	k := o.create("SYMMETRIC_DEFAULT")
	call := func() error {
		_, err := o.api.Encrypt(t.Context(), &kms.EncryptInput{KeyId: k.KeyId, Plaintext: []byte("x")})
		return err
	}
	o.server.Fail("Encrypt", 1, "KeyUnavailableException")
	var unavailable *types.KeyUnavailableException
	if err := call(); !errors.As(err, &unavailable) {
		t.Errorf("error is %v", err)
	}
	for name, f := range map[string]awsjson.Fault{"garbage": {Body: "<html>"}, "reset": {Reset: true}, "throttled": {Code: "ThrottlingException"}} {
		o.server.Inject("Encrypt", 1, f)
		if err := call(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := call(); err != nil || o.server.Calls("Encrypt") != 5 {
		t.Errorf("%v, %d calls", err, o.server.Calls("Encrypt"))
	}
}

// TestRaces: keys are used while their states change.
func TestRaces(t *testing.T) {
	o := newOwn(t)
	k := o.create("ECC_NIST_P256")
	var calls sync.WaitGroup
	for _, call := range []func(){
		func() {
			_, _ = o.api.Sign(t.Context(), &kms.SignInput{KeyId: k.KeyId, Message: []byte("x"), SigningAlgorithm: "ECDSA_SHA_256"})
		},
		func() { _, _ = o.api.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: k.KeyId}) },
		func() { _, _ = o.api.EnableKey(t.Context(), &kms.EnableKeyInput{KeyId: k.KeyId}) },
		func() { _, _ = o.api.CreateKey(t.Context(), &kms.CreateKeyInput{}) },
		func() { _, _ = o.api.ListKeys(t.Context(), &kms.ListKeysInput{}) },
	} {
		calls.Go(func() {
			for range 20 {
				call()
			}
		})
	}
	calls.Wait()
}

// FuzzRequest: whatever comes, the answer is JSON.
func FuzzRequest(f *testing.F) {
	server := newServer()
	for alias, spec := range map[string]string{"data": "SYMMETRIC_DEFAULT", "signer": "ECC_NIST_P256"} {
		if _, err := server.AddKey(spec, alias); err != nil {
			f.Fatal(err)
		}
	}
	f.Add("Encrypt", `{"KeyId":"alias/data","Plaintext":"eA==","EncryptionContext":{"a":"b"}}`)
	f.Add("Decrypt", `{"CiphertextBlob":"AQ=="}`)
	f.Add("Sign", `{"KeyId":"alias/signer","Message":"eA==","SigningAlgorithm":"ECDSA_SHA_256","MessageType":"DIGEST"}`)
	f.Add("Verify", `{"KeyId":"alias/signer","Message":"eA==","SigningAlgorithm":"ECDSA_SHA_256","Signature":"MAYCAQECAQE="}`)
	f.Add("GenerateDataKey", `{"KeyId":"alias/data","NumberOfBytes":-1}`)
	f.Add("CreateAlias", `{"AliasName":"alias/x","TargetKeyId":"arn:aws:kms:eu-central-1:123456789012:key/"}`)
	f.Add("ListAliases", `{"Limit":1,"Marker":"alias/data"}`)
	f.Add("ScheduleKeyDeletion", `{"KeyId":"x","PendingWindowInDays":null}`)
	f.Fuzz(func(t *testing.T, operation, body string) {
		if strings.HasPrefix(operation, "Create") && strings.Contains(body, "RSA_") {
			return // slow
		}
		r := httptest.NewRequest(http.MethodPost, "http://localhost/", strings.NewReader(body))
		r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=x/20261101/eu-central-1/kms/aws4_request, SignedHeaders=host, Signature=x")
		r.Header.Set("X-Amz-Target", "TrentService."+operation)
		w := httptest.NewRecorder()
		server.ServeHTTP(w, r)
		if !json.Valid(w.Body.Bytes()) || w.Code != http.StatusOK && w.Code != http.StatusBadRequest {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}
