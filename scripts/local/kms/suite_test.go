package kms_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"errors"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"

	local "tokenvendor/scripts/local/kms"
)

// suite is a test's client of an endpoint. The suite also runs against the endpoint whose URL
// is in SUITE_ENDPOINT, such as moto_server, to prove that it expects what AWS does.
type suite struct {
	*testing.T
	api  *kms.Client
	ours bool
}

func newServer() *local.Server {
	return local.New(local.Config{Region: "eu-central-1", Account: "123456789012"})
}

func newClient(url string) *kms.Client {
	credentials := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: "AKIAEXAMPLE", SecretAccessKey: "x"}, nil
	})
	return kms.New(kms.Options{Region: "eu-central-1", BaseEndpoint: &url, Credentials: credentials, RetryMaxAttempts: 1})
}

func newSuite(t *testing.T) *suite {
	t.Helper()
	if url := os.Getenv("SUITE_ENDPOINT"); url != "" {
		return &suite{t, newClient(url), false}
	}
	server := httptest.NewServer(newServer())
	t.Cleanup(server.Close)
	return &suite{t, newClient(server.URL), true}
}

// in returns s for a subtest.
func (s *suite) in(t *testing.T) *suite { return &suite{t, s.api, s.ours} }

// differs reports whether a check must be skipped because the endpoint is moto_server, which
// is known not to behave like AWS here. moto_server 5.2.1 was tried.
func (s *suite) differs(how string) bool {
	if !s.ours {
		s.Logf("known difference: moto %s", how)
	}
	return !s.ours
}

// wantCode fails unless err has the error code want. Empty: no error.
func (s *suite) wantCode(err error, want string) {
	s.Helper()
	var api smithy.APIError
	if want == "" && err == nil {
		return
	}
	if !errors.As(err, &api) || api.ErrorCode() != want {
		s.Errorf("got error %v, want %q", err, want)
	}
}

// create creates a key with a spec.
func (s *suite) create(spec types.KeySpec) *types.KeyMetadata {
	s.Helper()
	in := &kms.CreateKeyInput{KeySpec: spec, Tags: []types.Tag{{TagKey: aws.String("token-vendor"), TagValue: aws.String("x")}}}
	if spec != types.KeySpecSymmetricDefault {
		in.KeyUsage = types.KeyUsageTypeSignVerify
	}
	out, err := s.api.CreateKey(s.Context(), in)
	if err != nil {
		s.Fatal(err)
	}
	return out.KeyMetadata
}

// alias creates an alias with a unique name, and returns the name.
func (s *suite) alias(key *string) *string {
	s.Helper()
	name := aws.String("alias/" + s.Name() + "-" + rand.Text())
	if _, err := s.api.CreateAlias(s.Context(), &kms.CreateAliasInput{AliasName: name, TargetKeyId: key}); err != nil {
		s.Fatal(err)
	}
	return name
}

func (s *suite) dataKey(key *string, pairs map[string]string) *kms.GenerateDataKeyOutput {
	s.Helper()
	out, err := s.api.GenerateDataKey(s.Context(), &kms.GenerateDataKeyInput{KeyId: key, KeySpec: "AES_256", EncryptionContext: pairs})
	if err != nil {
		s.Fatal(err)
	}
	return out
}

func (s *suite) decrypt(in kms.DecryptInput) error {
	_, err := s.api.Decrypt(s.Context(), &in)
	return err
}

const (
	invalid      = "ValidationException"
	missing      = "NotFoundException"
	disabled     = "DisabledException"
	invalidUsage = "InvalidKeyUsageException"
	invalidText  = "InvalidCiphertextException"

	unknownID = "11111111-2222-3333-4444-555555555555"
	arnPrefix = "arn:aws:kms:eu-central-1:123456789012:"
)

func TestCreateKeyMakesKeysOfAllSpecs(t *testing.T) {
	s := newSuite(t)
	for _, spec := range []types.KeySpec{"SYMMETRIC_DEFAULT", "RSA_2048", "RSA_3072", "RSA_4096", "ECC_NIST_P256", "ECC_NIST_P384", "ECC_NIST_P521"} {
		k := s.create(spec)
		if *k.Arn != arnPrefix+"key/"+*k.KeyId || k.KeySpec != spec || !k.Enabled || k.KeyState != types.KeyStateEnabled || k.CreationDate == nil {
			t.Errorf("%s: got %+v, want an enabled key", spec, k)
		}
	}
	for name, in := range map[string]kms.CreateKeyInput{
		"unknown spec":                            {KeySpec: "RSA_1024"},
		"moto makes curves that encrypt":          {KeySpec: types.KeySpecEccNistP256},
		"moto makes symmetric keys that sign":     {KeyUsage: types.KeyUsageTypeSignVerify},
		"moto makes curves that encrypt, if told": {KeySpec: types.KeySpecEccNistP256, KeyUsage: types.KeyUsageTypeEncryptDecrypt},
		"moto has more specs than the double":     {KeySpec: types.KeySpecHmac256, KeyUsage: types.KeyUsageTypeGenerateVerifyMac},
		"moto has RSA keys that can encrypt":      {KeySpec: types.KeySpecRsa2048, KeyUsage: types.KeyUsageTypeEncryptDecrypt},
	} {
		t.Run(name, func(t *testing.T) {
			s := s.in(t)
			if how, known := strings.CutPrefix(name, "moto "); !known || !s.differs(how) {
				_, err := s.api.CreateKey(t.Context(), &in)
				s.wantCode(err, invalid)
			}
		})
	}
}

func TestKeyHasFourNames(t *testing.T) {
	s := newSuite(t)
	k := s.create("SYMMETRIC_DEFAULT")
	alias := s.alias(k.KeyId)
	for name, id := range map[string]string{"id": *k.KeyId, "ARN": *k.Arn, "alias": *alias, "ARN of an alias": arnPrefix + *alias} {
		out, err := s.api.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: &id})
		if err != nil || *out.KeyMetadata.KeyId != *k.KeyId {
			t.Errorf("%s: got %v, %v, want the key", name, out, err)
		}
		if data := s.dataKey(&id, nil); *data.KeyId != *k.Arn {
			t.Errorf("%s: got key %s, want %s", name, *data.KeyId, *k.Arn)
		}
	}
	for name, id := range map[string]string{
		"id": unknownID, "ARN": arnPrefix + "key/" + unknownID, "alias": "alias/unknown", "ARN of an alias": arnPrefix + "alias/unknown", "word": "unknown",
	} {
		t.Run("unknown "+name, func(t *testing.T) {
			s := s.in(t)
			_, err := s.api.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: &id})
			s.wantCode(err, missing)
			_, err = s.api.GenerateDataKey(t.Context(), &kms.GenerateDataKeyInput{KeyId: &id, KeySpec: "AES_256"})
			s.wantCode(err, missing)
		})
	}
}

func TestAliasMovesToAnotherKey(t *testing.T) {
	s := newSuite(t)
	first, second := s.create("SYMMETRIC_DEFAULT"), s.create("SYMMETRIC_DEFAULT")
	alias := s.alias(first.KeyId)
	_, err := s.api.CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: alias, TargetKeyId: second.KeyId})
	s.wantCode(err, "AlreadyExistsException")
	if _, err := s.api.UpdateAlias(t.Context(), &kms.UpdateAliasInput{AliasName: alias, TargetKeyId: second.KeyId}); err != nil {
		t.Fatal(err)
	}
	if out, err := s.api.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: alias}); err != nil || *out.KeyMetadata.KeyId != *second.KeyId {
		t.Errorf("got %v, %v, want the second key", out, err)
	}
	for name, want := range map[string]string{"unknown": invalid, "alias/": invalid, "alias/a b": invalid} {
		t.Run(name, func(t *testing.T) {
			s := s.in(t)
			if name == "alias/" && s.differs("accepts the alias "+name) {
				return
			}
			_, err := s.api.CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: &name, TargetKeyId: first.KeyId})
			s.wantCode(err, want)
		})
	}
	_, err = s.api.CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: aws.String("alias/" + rand.Text()), TargetKeyId: aws.String(unknownID)})
	s.wantCode(err, missing)
}

func TestDecryptReturnsTheDataKey(t *testing.T) {
	s := newSuite(t)
	k, other := s.create("SYMMETRIC_DEFAULT"), s.create("SYMMETRIC_DEFAULT")
	pairs := map[string]string{"table": "cache", "epoch": "1"}
	data := s.dataKey(k.KeyId, pairs)
	blob := data.CiphertextBlob
	if len(data.Plaintext) != 32 || bytes.Contains(blob, data.Plaintext) || bytes.Contains(blob, []byte("cache")) {
		t.Error("want a data key of 32 bytes, and a ciphertext without the data key and the context")
	}
	changed := func(at int) []byte {
		c := bytes.Clone(blob)
		c[at] ^= 1
		return c
	}
	for _, tt := range []struct {
		name, want, moto string
		in               kms.DecryptInput
	}{
		{"without a key", "", "", kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: pairs}},
		{"with its key", "", "", kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: pairs, KeyId: k.KeyId}},
		{"with the ARN of its key", "", "", kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: pairs, KeyId: k.Arn}},
		{"with another key", "IncorrectKeyException", "decrypts with any KeyId", kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: pairs, KeyId: other.KeyId}},
		{"with an unknown key", missing, "", kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: pairs, KeyId: aws.String("alias/unknown")}},
		{"without the context", invalidText, "", kms.DecryptInput{CiphertextBlob: blob}},
		{"with another context", invalidText, "", kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: map[string]string{"table": "cache", "epoch": "2"}}},
		{"with part of the context", invalidText, "", kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: map[string]string{"table": "cache"}}},
		{"with names and values swapped", invalidText, "", kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: map[string]string{"cache": "table", "1": "epoch"}}},
		{"with the context joined", invalidText, "joins names and values of a context", kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: map[string]string{"epoch1table": "cache"}}},
		{"changed at the end", invalidText, "", kms.DecryptInput{CiphertextBlob: changed(len(blob) - 1), EncryptionContext: pairs}},
		{"changed before", invalidText, "", kms.DecryptInput{CiphertextBlob: changed(len(blob) - 17), EncryptionContext: pairs}},
		{"cut", invalidText, "", kms.DecryptInput{CiphertextBlob: blob[:len(blob)-1], EncryptionContext: pairs}},
		{"garbage", invalidText, "", kms.DecryptInput{CiphertextBlob: []byte("garbage")}},
		{"empty", invalid, "accepts a ciphertext of no bytes", kms.DecryptInput{CiphertextBlob: []byte{}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := s.in(t)
			if tt.moto != "" && s.differs(tt.moto) {
				return
			}
			out, err := s.api.Decrypt(t.Context(), &tt.in)
			s.wantCode(err, tt.want)
			if err == nil && (!bytes.Equal(out.Plaintext, data.Plaintext) || *out.KeyId != *k.Arn) {
				t.Errorf("got %+v, want the data key", out)
			}
		})
	}
}

func TestGenerateDataKeyRefuses(t *testing.T) {
	s := newSuite(t)
	if !s.differs("encrypts with keys that sign") {
		_, err := s.api.GenerateDataKey(t.Context(), &kms.GenerateDataKeyInput{KeyId: s.create("ECC_NIST_P256").KeyId, KeySpec: "AES_256"})
		s.wantCode(err, invalidUsage)
	}
	k := s.create("SYMMETRIC_DEFAULT")
	for _, spec := range []types.DataKeySpec{"", "DES"} {
		_, err := s.api.GenerateDataKey(t.Context(), &kms.GenerateDataKeyInput{KeyId: k.KeyId, KeySpec: spec})
		s.wantCode(err, invalid)
	}
}

// operations returns one call of each operation that needs an enabled key.
func (s *suite) operations(symmetric, curve *types.KeyMetadata) map[string]func() error {
	s.Helper()
	blob, digest, ctx := s.dataKey(symmetric.KeyId, nil).CiphertextBlob, make([]byte, 32), s.Context()
	return map[string]func() error{
		"Decrypt": func() error { return s.decrypt(kms.DecryptInput{CiphertextBlob: blob}) },
		"GenerateDataKey": func() error {
			_, err := s.api.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: symmetric.KeyId, KeySpec: "AES_256"})
			return err
		},
		"Sign": func() error {
			_, err := s.api.Sign(ctx, &kms.SignInput{KeyId: curve.KeyId, Message: digest, MessageType: "DIGEST", SigningAlgorithm: "ECDSA_SHA_256"})
			return err
		},
		"GetPublicKey": func() error {
			_, err := s.api.GetPublicKey(ctx, &kms.GetPublicKeyInput{KeyId: curve.KeyId})
			return err
		},
	}
}

func TestDisabledKeyIsRefusedUntilItIsEnabled(t *testing.T) {
	s := newSuite(t)
	symmetric, curve := s.create("SYMMETRIC_DEFAULT"), s.create("ECC_NIST_P256")
	operations := s.operations(symmetric, curve)
	check := func(state types.KeyState, code string) {
		t.Helper()
		for name, call := range operations {
			if code == "" || !s.differs("ignores the state of a key in "+name) {
				s.wantCode(call(), code)
			}
		}
		out, err := s.api.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: symmetric.KeyId})
		if err != nil || out.KeyMetadata.KeyState != state || out.KeyMetadata.Enabled != (code == "") {
			t.Errorf("got %+v, %v, want the state %s", out, err, state)
		}
	}
	check(types.KeyStateEnabled, "")
	for _, id := range []*string{symmetric.KeyId, curve.KeyId} {
		if _, err := s.api.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: id}); err != nil {
			t.Fatal(err)
		}
	}
	check(types.KeyStateDisabled, disabled)
	for _, id := range []*string{symmetric.KeyId, curve.KeyId} {
		if _, err := s.api.EnableKey(t.Context(), &kms.EnableKeyInput{KeyId: id}); err != nil {
			t.Fatal(err)
		}
	}
	check(types.KeyStateEnabled, "")
}

// verify verifies a signature without KMS.
func verify(public crypto.PublicKey, algorithm types.SigningAlgorithmSpec, digest, signature []byte) bool {
	switch public := public.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(public, digest, signature)
	case *rsa.PublicKey:
		hash := map[int]crypto.Hash{32: crypto.SHA256, 48: crypto.SHA384, 64: crypto.SHA512}[len(digest)]
		if strings.Contains(string(algorithm), "PSS") {
			return rsa.VerifyPSS(public, hash, digest, signature, &rsa.PSSOptions{SaltLength: len(digest)}) == nil
		}
		return rsa.VerifyPKCS1v15(public, hash, digest, signature) == nil
	}
	return false
}

func TestSignSignsDigests(t *testing.T) {
	s := newSuite(t)
	sum256, sum384, sum512 := sha256.Sum256([]byte("x")), sha512.Sum384([]byte("x")), sha512.Sum512([]byte("x"))
	for _, tt := range []struct {
		spec   types.KeySpec
		name   types.SigningAlgorithmSpec
		digest []byte
	}{
		{"RSA_2048", "RSASSA_PKCS1_V1_5_SHA_256", sum256[:]},
		{"RSA_4096", "RSASSA_PSS_SHA_256", sum256[:]},
		{"RSA_2048", "RSASSA_PKCS1_V1_5_SHA_384", sum384[:]},
		{"RSA_3072", "RSASSA_PSS_SHA_512", sum512[:]},
		{"ECC_NIST_P521", "ECDSA_SHA_512", sum512[:]},
		{"ECC_NIST_P256", "ECDSA_SHA_256", sum256[:]},
		{"ECC_NIST_P384", "ECDSA_SHA_384", sum384[:]},
	} {
		t.Run(string(tt.spec)+" "+string(tt.name), func(t *testing.T) {
			s := s.in(t)
			k := s.create(tt.spec)
			der, err := s.api.GetPublicKey(t.Context(), &kms.GetPublicKeyInput{KeyId: k.Arn})
			if err != nil || der.KeyUsage != types.KeyUsageTypeSignVerify || (der.KeySpec != tt.spec || *der.KeyId != *k.Arn) && !s.differs("answers GetPublicKey with the id, not the ARN, and without KeySpec") {
				t.Fatalf("GetPublicKey: got %+v, %v, want a key that signs", der, err)
			}
			public, err := x509.ParsePKIXPublicKey(der.PublicKey)
			if err != nil {
				t.Fatal(err)
			}
			out, err := s.api.Sign(t.Context(), &kms.SignInput{KeyId: k.KeyId, Message: tt.digest, MessageType: "DIGEST", SigningAlgorithm: tt.name})
			if err != nil || out.SigningAlgorithm != tt.name {
				t.Fatalf("Sign: got %+v, %v, want a signature by %s", out, err, tt.name)
			}
			if !s.differs("hashes a digest again, and signs PSS with the longest salt") && !verify(public, tt.name, tt.digest, out.Signature) {
				t.Error("got a signature that cannot be verified")
			}
		})
	}
}

func TestSignRefuses(t *testing.T) {
	s := newSuite(t)
	symmetric, curve, big := s.create("SYMMETRIC_DEFAULT"), s.create("ECC_NIST_P256"), s.create("RSA_2048")
	for _, tt := range []struct {
		name, want, moto string
		key              *string
		algorithm        types.SigningAlgorithmSpec
		size             int
	}{
		{"short digest", invalid, "signs a digest of any length", big.KeyId, "RSASSA_PSS_SHA_256", 31},
		{"digest of another hash", invalid, "signs a digest of any length", curve.KeyId, "ECDSA_SHA_256", 48},
		{"empty digest", invalid, "", big.KeyId, "RSASSA_PSS_SHA_256", 0},
		{"algorithm of RSA", invalidUsage, "calls an algorithm of another key a ValidationException", curve.KeyId, "RSASSA_PSS_SHA_256", 32},
		{"algorithm of a curve", invalidUsage, "calls an algorithm of another key a ValidationException", big.KeyId, "ECDSA_SHA_256", 32},
		{"algorithm of another curve", invalidUsage, "calls an algorithm of another key a ValidationException", curve.KeyId, "ECDSA_SHA_384", 48},
		{"unknown algorithm", invalid, "", big.KeyId, "RSASSA_PSS_MD5", 32},
		{"symmetric key", invalidUsage, "calls a wrong usage a ValidationException", symmetric.KeyId, "RSASSA_PSS_SHA_256", 32},
		{"unknown key", missing, "", aws.String("alias/unknown"), "RSASSA_PSS_SHA_256", 32},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := s.in(t)
			if tt.moto != "" && s.differs(tt.moto) {
				return
			}
			_, err := s.api.Sign(t.Context(), &kms.SignInput{KeyId: tt.key, Message: make([]byte, tt.size), MessageType: "DIGEST", SigningAlgorithm: tt.algorithm})
			s.wantCode(err, tt.want)
		})
	}
	_, err := s.api.GetPublicKey(t.Context(), &kms.GetPublicKeyInput{KeyId: symmetric.KeyId})
	if !s.differs("does not answer GetPublicKey of a symmetric key") {
		s.wantCode(err, "UnsupportedOperationException")
	}
}
