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

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"tokenvendor/scripts/local/awsjson"
	local "tokenvendor/scripts/local/kms"
)

// direct is a suite with the server behind it.
type direct struct {
	*suite
	server *local.Server
}

func newDirect(t *testing.T) direct {
	t.Helper()
	d := direct{server: newServer()}
	endpoint := httptest.NewServer(d.server)
	t.Cleanup(endpoint.Close)
	d.suite = &suite{t, newClient(endpoint.URL), true}
	return d
}

func TestAddKeyAddsItsAlias(t *testing.T) {
	d := newDirect(t)
	id, err := d.server.AddKey("ECC_NIST_P256", "signer")
	if err != nil {
		t.Fatal(err)
	}
	out, err := d.api.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: aws.String("alias/signer")})
	if err != nil || *out.KeyMetadata.KeyId != id || out.KeyMetadata.KeyUsage != types.KeyUsageTypeSignVerify {
		t.Errorf("got %+v, %v, want the key %s", out, err, id)
	}
	public, err := d.server.Public("alias/signer")
	if again, _ := d.server.Public(id); err != nil || public == nil || public != again {
		t.Errorf("Public: got %v and %v, %v, want the same key", public, again, err)
	}
	for spec, alias := range map[string]string{"ECC_NIST_P256": "signer", "RSA_1": "other", "SYMMETRIC_DEFAULT": "a b"} {
		if _, err := d.server.AddKey(spec, alias); err == nil {
			t.Errorf("AddKey of %s, %s: got no error", spec, alias)
		}
		if _, err := d.server.Public("alias/" + alias); alias != "signer" && err == nil {
			t.Errorf("Public of %s: got no error", alias)
		}
	}
}

func TestDecryptRefusesEveryChangedCiphertext(t *testing.T) {
	d := newDirect(t)
	blob := d.dataKey(d.create("SYMMETRIC_DEFAULT").KeyId, nil).CiphertextBlob
	for at := range blob {
		changed := bytes.Clone(blob)
		changed[at] ^= 0x40
		d.wantCode(d.decrypt(kms.DecryptInput{CiphertextBlob: changed}), invalidText)
		d.wantCode(d.decrypt(kms.DecryptInput{CiphertextBlob: blob[:max(at, 1)]}), invalidText)
	}
}

func TestARNOfAnotherAccountIsNotFound(t *testing.T) {
	d := newDirect(t)
	k := d.create("SYMMETRIC_DEFAULT")
	for _, id := range []string{
		"arn:aws:kms", arnPrefix + *k.KeyId, "arn:aws:kms:eu-west-1:123456789012:key/" + *k.KeyId, "arn:aws:kms:eu-central-1:210987654321:key/" + *k.KeyId, "key/" + *k.KeyId,
	} {
		_, err := d.api.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: &id})
		d.wantCode(err, missing)
	}
}

// Operations that change a key do not accept an alias.
func TestAliasCannotBeDisabled(t *testing.T) {
	d := newDirect(t)
	alias := d.alias(d.create("SYMMETRIC_DEFAULT").KeyId)
	_, err := d.api.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: alias})
	d.wantCode(err, missing)
}

// moto_server moves the alias.
func TestAliasDoesNotMoveToAKeyOfAnotherUsage(t *testing.T) {
	d := newDirect(t)
	alias := d.alias(d.create("SYMMETRIC_DEFAULT").KeyId)
	for id, want := range map[string]string{*d.create("ECC_NIST_P256").KeyId: invalid, unknownID: missing} {
		_, err := d.api.UpdateAlias(t.Context(), &kms.UpdateAliasInput{AliasName: alias, TargetKeyId: &id})
		d.wantCode(err, want)
	}
	_, err := d.api.UpdateAlias(t.Context(), &kms.UpdateAliasInput{AliasName: aws.String("alias/unknown"), TargetKeyId: d.create("SYMMETRIC_DEFAULT").KeyId})
	d.wantCode(err, missing)
}

// The errors name what is not supported.
func TestUnsupportedCallsAreRefused(t *testing.T) {
	d := newDirect(t)
	symmetric, curve := d.create("SYMMETRIC_DEFAULT"), d.create("ECC_NIST_P256")
	calls := map[string]func() error{
		"UnknownOperationException: the operation \"TrentService.Encrypt\"": func() error {
			_, err := d.api.Encrypt(t.Context(), &kms.EncryptInput{KeyId: symmetric.KeyId, Plaintext: []byte("x")})
			return err
		},
		"ValidationException: the parameter \"NumberOfBytes\"": func() error {
			_, err := d.api.GenerateDataKey(t.Context(), &kms.GenerateDataKeyInput{KeyId: symmetric.KeyId, NumberOfBytes: aws.Int32(32)})
			return err
		},
		"ValidationException: the parameter \"DryRun\"": func() error {
			return d.decrypt(kms.DecryptInput{CiphertextBlob: []byte("x"), DryRun: aws.Bool(true)})
		},
		"ValidationException: only the MessageType DIGEST": func() error {
			_, err := d.api.Sign(t.Context(), &kms.SignInput{KeyId: curve.KeyId, Message: []byte("x"), SigningAlgorithm: "ECDSA_SHA_256"})
			return err
		},
	}
	for want, call := range calls {
		if err := call(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestFaultsReachTheSDK(t *testing.T) {
	d := newDirect(t)
	k := d.create("SYMMETRIC_DEFAULT")
	call := func() error {
		_, err := d.api.GenerateDataKey(t.Context(), &kms.GenerateDataKeyInput{KeyId: k.KeyId, KeySpec: "AES_256"})
		return err
	}
	d.server.Fail("GenerateDataKey", 1, "KeyUnavailableException")
	var unavailable *types.KeyUnavailableException
	if err := call(); !errors.As(err, &unavailable) {
		t.Errorf("got error %v, want KeyUnavailableException", err)
	}
	for name, f := range map[string]awsjson.Fault{"garbage": {Body: "<html>"}, "reset": {Reset: true}, "throttled": {Code: "ThrottlingException"}} {
		d.server.Inject("GenerateDataKey", 1, f)
		if err := call(); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
	if err := call(); err != nil || d.server.Calls("GenerateDataKey") != 5 {
		t.Errorf("got %v after %d calls, want no error after 5", err, d.server.Calls("GenerateDataKey"))
	}
}

// The test is for the race detector.
func TestKeysAreUsedWhileTheirStateChanges(t *testing.T) {
	d := newDirect(t)
	k := d.create("ECC_NIST_P256")
	var calls sync.WaitGroup
	for _, call := range []func(){
		func() {
			_, _ = d.api.Sign(t.Context(), &kms.SignInput{KeyId: k.KeyId, Message: make([]byte, 32), MessageType: "DIGEST", SigningAlgorithm: "ECDSA_SHA_256"})
		},
		func() { _, _ = d.api.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: k.KeyId}) },
		func() { _, _ = d.api.EnableKey(t.Context(), &kms.EnableKeyInput{KeyId: k.KeyId}) },
		func() { _, _ = d.api.CreateKey(t.Context(), &kms.CreateKeyInput{}) },
		func() { _, _ = d.api.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: k.KeyId}) },
	} {
		calls.Go(func() {
			for range 20 {
				call()
			}
		})
	}
	calls.Wait()
}

// FuzzRequest proves that every request is answered with JSON.
func FuzzRequest(f *testing.F) {
	server := newServer()
	for alias, spec := range map[string]string{"data": "SYMMETRIC_DEFAULT", "signer": "ECC_NIST_P256"} {
		if _, err := server.AddKey(spec, alias); err != nil {
			f.Fatal(err)
		}
	}
	f.Add("Decrypt", `{"CiphertextBlob":"AQ=="}`)
	f.Add("Decrypt", `{"KeyId":"alias/data","CiphertextBlob":"YWxpYXMvZGF0YS1hbGlhcy9kYXRhLWFsaWFzL2RhdGEtYWxpYXMvZGF0YQ=="}`)
	f.Add("Sign", `{"KeyId":"alias/signer","Message":"eA==","SigningAlgorithm":"ECDSA_SHA_256","MessageType":"DIGEST"}`)
	f.Add("GenerateDataKey", `{"KeyId":"alias/data","KeySpec":"AES_256","EncryptionContext":{"a":"b"}}`)
	f.Add("GetPublicKey", `{"KeyId":"alias/data"}`)
	f.Add("CreateAlias", `{"AliasName":"alias/x","TargetKeyId":"arn:aws:kms:eu-central-1:123456789012:key/"}`)
	f.Add("UpdateAlias", `{"AliasName":"alias/data","TargetKeyId":"alias/signer"}`)
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
			t.Errorf("got %d %s, want JSON with status 200 or 400", w.Code, w.Body)
		}
	})
}
