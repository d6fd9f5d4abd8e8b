package kms_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"

	local "tokenvendor/scripts/local/kms"
)

// suite is one test's view of an endpoint. SUITE_ENDPOINT, a URL, puts another in
// the place of our own, to see that the suite asks for what others understand by
// the words too.
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
	url := os.Getenv("SUITE_ENDPOINT")
	if url != "" {
		return &suite{t, newClient(url), false}
	}
	server := httptest.NewServer(newServer())
	t.Cleanup(server.Close)
	return &suite{t, newClient(server.URL), true}
}

// in is s for a subtest.
func (s *suite) in(t *testing.T) *suite { return &suite{t, s.api, s.ours} }

// differs reports whether a check must be left out because the endpoint is not
// ours and known to answer otherwise; what says how. moto_server 5.2.1 was tried.
func (s *suite) differs(what string) bool {
	if !s.ours {
		s.Logf("known difference: moto %s", what)
	}
	return !s.ours
}

func (s *suite) wantCode(err error, want string) {
	s.Helper()
	var api smithy.APIError
	if want == "" && err == nil {
		return
	}
	if !errors.As(err, &api) || api.ErrorCode() != want {
		s.Errorf("error is %v, want %q", err, want)
	}
}

// create makes a key of a spec.
func (s *suite) create(spec types.KeySpec) *types.KeyMetadata {
	s.Helper()
	in := &kms.CreateKeyInput{KeySpec: spec, Description: aws.String("d")}
	if spec != types.KeySpecSymmetricDefault {
		in.KeyUsage = types.KeyUsageTypeSignVerify
	}
	out, err := s.api.CreateKey(s.Context(), in)
	if err != nil {
		s.Fatal(err)
	}
	return out.KeyMetadata
}

// alias makes an alias that no other test has, and returns it.
func (s *suite) alias(key *string) *string {
	s.Helper()
	name := aws.String("alias/" + s.Name() + "-" + rand.Text())
	if _, err := s.api.CreateAlias(s.Context(), &kms.CreateAliasInput{AliasName: name, TargetKeyId: key}); err != nil {
		s.Fatal(err)
	}
	return name
}

func (s *suite) encrypt(key *string, text string, pairs map[string]string) []byte {
	s.Helper()
	out, err := s.api.Encrypt(s.Context(), &kms.EncryptInput{KeyId: key, Plaintext: []byte(text), EncryptionContext: pairs})
	if err != nil {
		s.Fatal(err)
	}
	return out.CiphertextBlob
}

const (
	invalid      = "ValidationException"
	missing      = "NotFoundException"
	disabled     = "DisabledException"
	invalidState = "KMSInvalidStateException"
	invalidUsage = "InvalidKeyUsageException"
	invalidText  = "InvalidCiphertextException"
)

func TestCreateKey(t *testing.T) {
	s := newSuite(t)
	for spec, algorithms := range map[types.KeySpec]int{"SYMMETRIC_DEFAULT": 0, "RSA_2048": 6, "RSA_3072": 6, "RSA_4096": 6, "ECC_NIST_P256": 1, "ECC_NIST_P384": 1} {
		k := s.create(spec)
		if *k.Arn != "arn:aws:kms:eu-central-1:123456789012:key/"+*k.KeyId || k.KeySpec != spec || !k.Enabled || k.KeyState != types.KeyStateEnabled ||
			*k.Description != "d" || k.CreationDate == nil || k.KeyManager != types.KeyManagerTypeCustomer || k.Origin != types.OriginTypeAwsKms || len(k.SigningAlgorithms) != algorithms {
			t.Errorf("%s: %+v", spec, k)
		}
	}
	for name, in := range map[string]kms.CreateKeyInput{
		"unknown spec":                            {KeySpec: "RSA_1024"},
		"moto makes curves that encrypt":          {KeySpec: types.KeySpecEccNistP256},
		"moto makes symmetric keys that sign":     {KeyUsage: types.KeyUsageTypeSignVerify},
		"moto makes curves that encrypt, if told": {KeySpec: types.KeySpecEccNistP256, KeyUsage: types.KeyUsageTypeEncryptDecrypt},
		"moto has more specs than this one":       {KeySpec: types.KeySpecHmac256, KeyUsage: types.KeyUsageTypeGenerateVerifyMac},
		"moto has RSA keys that can encrypt":      {KeySpec: types.KeySpecRsa2048, KeyUsage: types.KeyUsageTypeEncryptDecrypt},
	} {
		t.Run(name, func(t *testing.T) {
			s := s.in(t)
			if what, known := strings.CutPrefix(name, "moto "); !known || !s.differs(what) {
				_, err := s.api.CreateKey(t.Context(), &in)
				s.wantCode(err, invalid)
			}
		})
	}
}

// TestKeyID: a key goes by four names.
func TestKeyID(t *testing.T) {
	s := newSuite(t)
	k := s.create("SYMMETRIC_DEFAULT")
	alias := s.alias(k.KeyId)
	for name, id := range map[string]string{"id": *k.KeyId, "ARN": *k.Arn, "alias": *alias, "alias's ARN": "arn:aws:kms:eu-central-1:123456789012:" + *alias} {
		out, err := s.api.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: &id})
		if err != nil || *out.KeyMetadata.KeyId != *k.KeyId {
			t.Errorf("%s: %v, %v", name, out, err)
		}
		if enc, err := s.api.Encrypt(t.Context(), &kms.EncryptInput{KeyId: &id, Plaintext: []byte("x")}); err != nil || *enc.KeyId != *k.Arn {
			t.Errorf("%s: %v, %v", name, enc, err)
		}
	}
	for name, id := range map[string]string{
		"id": "11111111-2222-3333-4444-555555555555", "ARN": "arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555",
		"alias": "alias/nobody", "alias's ARN": "arn:aws:kms:eu-central-1:123456789012:alias/nobody", "word": "nobody",
	} {
		t.Run("no such "+name, func(t *testing.T) {
			s := s.in(t)
			_, err := s.api.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: &id})
			s.wantCode(err, missing)
			_, err = s.api.Encrypt(t.Context(), &kms.EncryptInput{KeyId: &id, Plaintext: []byte("x")})
			s.wantCode(err, missing)
		})
	}
}

func TestAliases(t *testing.T) {
	s := newSuite(t)
	first, second := s.create("SYMMETRIC_DEFAULT"), s.create("SYMMETRIC_DEFAULT")
	alias := s.alias(first.KeyId)
	_, err := s.api.CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: alias, TargetKeyId: second.KeyId})
	s.wantCode(err, "AlreadyExistsException")
	list, err := s.api.ListAliases(t.Context(), &kms.ListAliasesInput{KeyId: first.KeyId})
	if err != nil || len(list.Aliases) != 1 || *list.Aliases[0].AliasName != *alias || *list.Aliases[0].TargetKeyId != *first.KeyId || *list.Aliases[0].AliasArn != "arn:aws:kms:eu-central-1:123456789012:"+*alias {
		t.Errorf("%+v, %v", list, err)
	}
	if _, err := s.api.UpdateAlias(t.Context(), &kms.UpdateAliasInput{AliasName: alias, TargetKeyId: second.KeyId}); err != nil {
		t.Fatal(err)
	}
	if out, err := s.api.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: alias}); err != nil || *out.KeyMetadata.KeyId != *second.KeyId {
		t.Errorf("%v, %v", out, err)
	}
	if _, err := s.api.DeleteAlias(t.Context(), &kms.DeleteAliasInput{AliasName: alias}); err != nil {
		t.Fatal(err)
	}
	_, err = s.api.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: alias})
	s.wantCode(err, missing)
	_, err = s.api.DeleteAlias(t.Context(), &kms.DeleteAliasInput{AliasName: alias})
	s.wantCode(err, missing)
	for name, want := range map[string]string{"nobody": invalid, "alias/": invalid, "alias/a b": invalid, "alias/aws/x": "InvalidAliasNameException"} {
		t.Run(name, func(t *testing.T) {
			s := s.in(t)
			if (name == "alias/" || name == "alias/aws/x") && s.differs("takes "+name+" for an alias") {
				return
			}
			_, err := s.api.CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: &name, TargetKeyId: first.KeyId})
			s.wantCode(err, want)
		})
	}
	_, err = s.api.CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: aws.String("alias/" + rand.Text()), TargetKeyId: aws.String("11111111-2222-3333-4444-555555555555")})
	s.wantCode(err, missing)
}

func TestLists(t *testing.T) {
	s := newSuite(t)
	var want, got, aliases, gotAliases []string
	for range 5 {
		k := s.create("SYMMETRIC_DEFAULT")
		want, aliases = append(want, *k.KeyId), append(aliases, *s.alias(k.KeyId))
	}
	for pager := kms.NewListKeysPaginator(s.api, &kms.ListKeysInput{Limit: aws.Int32(2)}); pager.HasMorePages(); {
		page, err := pager.NextPage(t.Context())
		if err != nil || len(page.Keys) > 2 && !s.differs("does not look at Limit") {
			t.Fatalf("%v, %v", page, err)
		}
		for _, k := range page.Keys {
			got = append(got, *k.KeyId)
		}
	}
	for pager := kms.NewListAliasesPaginator(s.api, &kms.ListAliasesInput{}); pager.HasMorePages(); {
		page, err := pager.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range page.Aliases {
			gotAliases = append(gotAliases, *a.AliasName)
		}
	}
	for i := range want {
		if !slices.Contains(got, want[i]) || !slices.Contains(gotAliases, aliases[i]) {
			t.Errorf("missing in the lists: %s, %s", want[i], aliases[i])
		}
	}
	if !s.differs("does not look at Limit") {
		_, err := s.api.ListKeys(t.Context(), &kms.ListKeysInput{Limit: aws.Int32(1001)})
		s.wantCode(err, invalid)
	}
}

func TestEncrypt(t *testing.T) {
	s := newSuite(t)
	k, other := s.create("SYMMETRIC_DEFAULT"), s.create("SYMMETRIC_DEFAULT")
	pairs := map[string]string{"client": "shop", "purpose": "cache"}
	blob := s.encrypt(k.KeyId, "secret", pairs)
	if bytes.Contains(blob, []byte("secret")) || bytes.Contains(blob, []byte("shop")) || bytes.Equal(blob, s.encrypt(k.KeyId, "secret", pairs)) {
		t.Error("the ciphertext shows something, or is the same again")
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
		{"with its key's ARN", "", "", kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: pairs, KeyId: k.Arn}},
		{"with its algorithm", "", "", kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: pairs, KeyId: k.KeyId, EncryptionAlgorithm: "SYMMETRIC_DEFAULT"}},
		{"with another key", "IncorrectKeyException", "decrypts whatever key is named", kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: pairs, KeyId: other.KeyId}},
		{"with no such key", missing, "", kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: pairs, KeyId: aws.String("alias/nobody")}},
		{"without the context", invalidText, "", kms.DecryptInput{CiphertextBlob: blob}},
		{"with another context", invalidText, "", kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: map[string]string{"client": "shop", "purpose": "token"}}},
		{"with part of the context", invalidText, "", kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: map[string]string{"client": "shop"}}},
		{"with names and values swapped", invalidText, "", kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: map[string]string{"shop": "client", "cache": "purpose"}}},
		{"with the context joined", invalidText, "joins names and values of a context", kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: map[string]string{"clientshoppurpose": "cache"}}},
		{"changed at the end", invalidText, "", kms.DecryptInput{CiphertextBlob: changed(len(blob) - 1), EncryptionContext: pairs}},
		{"changed before", invalidText, "", kms.DecryptInput{CiphertextBlob: changed(len(blob) - 17), EncryptionContext: pairs}},
		{"cut", invalidText, "", kms.DecryptInput{CiphertextBlob: blob[:len(blob)-1], EncryptionContext: pairs}},
		{"garbage", invalidText, "", kms.DecryptInput{CiphertextBlob: []byte("garbage")}},
		{"empty", invalid, "takes a ciphertext of no bytes", kms.DecryptInput{CiphertextBlob: []byte{}}},
		{"with another algorithm", invalidUsage, "decrypts with any algorithm", kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: pairs, KeyId: k.KeyId, EncryptionAlgorithm: "RSAES_OAEP_SHA_256"}},
		{"with no such algorithm", invalid, "decrypts with any algorithm", kms.DecryptInput{CiphertextBlob: blob, EncryptionContext: pairs, KeyId: k.KeyId, EncryptionAlgorithm: "ROT13"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := s.in(t)
			if tt.moto != "" && s.differs(tt.moto) {
				return
			}
			out, err := s.api.Decrypt(t.Context(), &tt.in)
			s.wantCode(err, tt.want)
			if err == nil && (string(out.Plaintext) != "secret" || *out.KeyId != *k.Arn || out.EncryptionAlgorithm != "SYMMETRIC_DEFAULT" && !s.differs("does not say by which algorithm it decrypted")) {
				t.Errorf("%+v", out)
			}
		})
	}
	most := strings.Repeat("\xff", 4096)
	if out, err := s.api.Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: s.encrypt(k.KeyId, most, nil)}); err != nil || string(out.Plaintext) != most {
		t.Errorf("4096 bytes don't come back: %v", err)
	}
	for _, size := range []int{0, 4097} {
		_, err := s.api.Encrypt(t.Context(), &kms.EncryptInput{KeyId: k.KeyId, Plaintext: make([]byte, size)})
		s.wantCode(err, invalid)
	}
	if !s.differs("encrypts with keys that sign") {
		_, err := s.api.Encrypt(t.Context(), &kms.EncryptInput{KeyId: s.create("ECC_NIST_P256").KeyId, Plaintext: []byte("x")})
		s.wantCode(err, invalidUsage)
	}
}

func TestGenerateDataKey(t *testing.T) {
	s := newSuite(t)
	k := s.create("SYMMETRIC_DEFAULT")
	pairs := map[string]string{"client": "shop"}
	for want, in := range map[int]kms.GenerateDataKeyInput{32: {KeySpec: "AES_256"}, 16: {KeySpec: "AES_128"}, 1: {NumberOfBytes: aws.Int32(1)}, 1024: {NumberOfBytes: aws.Int32(1024)}} {
		in.KeyId, in.EncryptionContext = k.KeyId, pairs
		out, err := s.api.GenerateDataKey(t.Context(), &in)
		if err != nil {
			t.Fatal(err)
		}
		again, err := s.api.Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: out.CiphertextBlob, EncryptionContext: pairs})
		if err != nil || len(out.Plaintext) != want || !bytes.Equal(out.Plaintext, again.Plaintext) || *out.KeyId != *k.Arn {
			t.Errorf("%d bytes: %v", want, err)
		}
		_, err = s.api.Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: out.CiphertextBlob})
		s.wantCode(err, invalidText)
	}
	out, err := s.api.GenerateDataKeyWithoutPlaintext(t.Context(), &kms.GenerateDataKeyWithoutPlaintextInput{KeyId: k.KeyId, KeySpec: "AES_256"})
	if err != nil {
		t.Fatal(err)
	}
	if again, err := s.api.Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: out.CiphertextBlob}); err != nil || len(again.Plaintext) != 32 {
		t.Errorf("%v", err)
	}
	for name, in := range map[string]kms.GenerateDataKeyInput{
		"nothing": {}, "both": {KeySpec: "AES_256", NumberOfBytes: aws.Int32(32)}, "unknown": {KeySpec: "DES"}, "too many": {NumberOfBytes: aws.Int32(1025)}, "none": {NumberOfBytes: aws.Int32(0)},
	} {
		t.Run(name, func(t *testing.T) {
			s := s.in(t)
			in.KeyId = k.KeyId
			_, err := s.api.GenerateDataKey(t.Context(), &in)
			s.wantCode(err, invalid)
		})
	}
}

// uses are what a key is for, one call each.
func (s *suite) uses(symmetric, curve *types.KeyMetadata) map[string]func() error {
	t := s.T
	t.Helper()
	blob, digest := s.encrypt(symmetric.KeyId, "x", nil), make([]byte, 32)
	signed, err := s.api.Sign(t.Context(), &kms.SignInput{KeyId: curve.KeyId, Message: digest, MessageType: "DIGEST", SigningAlgorithm: "ECDSA_SHA_256"})
	if err != nil {
		t.Fatal(err)
	}
	return map[string]func() error{
		"Encrypt": func() error {
			_, err := s.api.Encrypt(t.Context(), &kms.EncryptInput{KeyId: symmetric.KeyId, Plaintext: []byte("x")})
			return err
		},
		"Decrypt": func() error {
			_, err := s.api.Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: blob})
			return err
		},
		"GenerateDataKey": func() error {
			_, err := s.api.GenerateDataKey(t.Context(), &kms.GenerateDataKeyInput{KeyId: symmetric.KeyId, KeySpec: "AES_256"})
			return err
		},
		"Sign": func() error {
			_, err := s.api.Sign(t.Context(), &kms.SignInput{KeyId: curve.KeyId, Message: digest, MessageType: "DIGEST", SigningAlgorithm: "ECDSA_SHA_256"})
			return err
		},
		"Verify": func() error {
			_, err := s.api.Verify(t.Context(), &kms.VerifyInput{KeyId: curve.KeyId, Message: digest, MessageType: "DIGEST", SigningAlgorithm: "ECDSA_SHA_256", Signature: signed.Signature})
			return err
		},
		"GetPublicKey": func() error {
			_, err := s.api.GetPublicKey(t.Context(), &kms.GetPublicKeyInput{KeyId: curve.KeyId})
			return err
		},
	}
}

// TestStates: what a key can do in which state.
func TestStates(t *testing.T) {
	s := newSuite(t)
	symmetric, curve := s.create("SYMMETRIC_DEFAULT"), s.create("ECC_NIST_P256")
	uses := s.uses(symmetric, curve)
	try := func(want string) {
		t.Helper()
		for name, call := range uses {
			if want == "" || !s.differs("does not look at a key's state in "+name) {
				if err := call(); err != nil || want != "" {
					s.wantCode(err, want)
				}
			}
		}
		out, err := s.api.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: symmetric.KeyId})
		state := map[string]types.KeyState{"": types.KeyStateEnabled, disabled: types.KeyStateDisabled, invalidState: types.KeyStatePendingDeletion}[want]
		if err != nil || out.KeyMetadata.KeyState != state || out.KeyMetadata.Enabled != (want == "") || (out.KeyMetadata.DeletionDate != nil) != (want == invalidState) {
			t.Errorf("%+v, %v", out, err)
		}
	}
	each := func(call func(id *string) error) {
		t.Helper()
		for _, k := range []*types.KeyMetadata{symmetric, curve} {
			if err := call(k.KeyId); err != nil {
				t.Fatal(err)
			}
		}
	}
	enable := func(id *string) error {
		_, err := s.api.EnableKey(t.Context(), &kms.EnableKeyInput{KeyId: id})
		return err
	}
	disable := func(id *string) error {
		_, err := s.api.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: id})
		return err
	}
	remove := func(id *string) error {
		out, err := s.api.ScheduleKeyDeletion(t.Context(), &kms.ScheduleKeyDeletionInput{KeyId: id, PendingWindowInDays: aws.Int32(7)})
		if err == nil && (out.DeletionDate == nil || !strings.HasSuffix(*out.KeyId, *id)) {
			t.Errorf("%+v", out)
		}
		return err
	}
	keep := func(id *string) error {
		_, err := s.api.CancelKeyDeletion(t.Context(), &kms.CancelKeyDeletionInput{KeyId: id})
		return err
	}
	try("")
	each(disable)
	try(disabled)
	each(enable)
	try("")
	if !s.differs("cancels a deletion that is none") {
		s.wantCode(keep(curve.KeyId), invalidState)
	}
	each(remove)
	try(invalidState)
	if !s.differs("changes the state of keys that are pending deletion") {
		s.wantCode(enable(curve.KeyId), invalidState)
		s.wantCode(disable(curve.KeyId), invalidState)
		s.wantCode(remove(curve.KeyId), invalidState)
		_, err := s.api.CreateAlias(t.Context(), &kms.CreateAliasInput{AliasName: aws.String("alias/" + rand.Text()), TargetKeyId: curve.KeyId})
		s.wantCode(err, invalidState)
	}
	each(keep)
	try(disabled)
	each(enable)
	try("")
	_, err := s.api.ScheduleKeyDeletion(t.Context(), &kms.ScheduleKeyDeletionInput{KeyId: curve.KeyId, PendingWindowInDays: aws.Int32(6)})
	if !s.differs("takes any window") {
		s.wantCode(err, invalid)
	}
}

// algorithm is how Go says what KMS calls a signing algorithm.
type algorithm struct {
	name types.SigningAlgorithmSpec
	hash crypto.Hash
}

func algorithms(spec types.KeySpec) []algorithm {
	switch spec {
	case "ECC_NIST_P256":
		return []algorithm{{"ECDSA_SHA_256", crypto.SHA256}}
	case "ECC_NIST_P384":
		return []algorithm{{"ECDSA_SHA_384", crypto.SHA384}}
	}
	return []algorithm{
		{"RSASSA_PSS_SHA_256", crypto.SHA256}, {"RSASSA_PSS_SHA_384", crypto.SHA384}, {"RSASSA_PSS_SHA_512", crypto.SHA512},
		{"RSASSA_PKCS1_V1_5_SHA_256", crypto.SHA256}, {"RSASSA_PKCS1_V1_5_SHA_384", crypto.SHA384}, {"RSASSA_PKCS1_V1_5_SHA_512", crypto.SHA512},
	}
}

// verify looks at a signature without KMS.
func verify(public crypto.PublicKey, a algorithm, digest, signature []byte) bool {
	switch public := public.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(public, digest, signature)
	case *rsa.PublicKey:
		if strings.Contains(string(a.name), "PSS") {
			return rsa.VerifyPSS(public, a.hash, digest, signature, &rsa.PSSOptions{SaltLength: a.hash.Size(), Hash: a.hash}) == nil
		}
		return rsa.VerifyPKCS1v15(public, a.hash, digest, signature) == nil
	}
	return false
}

// TestSign: all algorithms, with a message and with its digest, verified with the
// public key alone and by KMS.
func TestSign(t *testing.T) {
	s := newSuite(t)
	message := []byte("eyJhbGciOiJQUzI1NiJ9.eyJpc3MiOiJjIn0")
	for _, spec := range []types.KeySpec{"RSA_2048", "RSA_3072", "RSA_4096", "ECC_NIST_P256", "ECC_NIST_P384"} {
		k := s.create(spec)
		der, err := s.api.GetPublicKey(t.Context(), &kms.GetPublicKeyInput{KeyId: k.Arn})
		if err != nil || der.KeyUsage != types.KeyUsageTypeSignVerify || len(der.SigningAlgorithms) != len(algorithms(spec)) || (der.KeySpec != spec || *der.KeyId != *k.Arn) && !s.differs("answers GetPublicKey with the id, not the ARN, and without KeySpec") {
			t.Fatalf("%+v, %v", der, err)
		}
		public, err := x509.ParsePKIXPublicKey(der.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range algorithms(spec) {
			t.Run(string(spec)+" "+string(a.name), func(t *testing.T) {
				s.in(t).signs(k.KeyId, public, a, message)
			})
		}
	}
}

func (s *suite) signs(id *string, public crypto.PublicKey, a algorithm, message []byte) {
	h := a.hash.New()
	h.Write(message)
	digest := h.Sum(nil)
	for kind, m := range map[types.MessageType][]byte{"RAW": message, "DIGEST": digest, "": message} {
		out, err := s.api.Sign(s.Context(), &kms.SignInput{KeyId: id, Message: m, MessageType: kind, SigningAlgorithm: a.name})
		if err != nil {
			s.Fatal(err)
		}
		if !verify(public, a, digest, out.Signature) || out.SigningAlgorithm != a.name {
			what := "signs PSS with the longest salt"
			if kind == types.MessageTypeDigest {
				what = "hashes a digest again"
			}
			if !s.differs(what) {
				s.Errorf("%s: the signature is not right", kind)
			}
		}
		check := kms.VerifyInput{KeyId: id, Message: m, MessageType: kind, SigningAlgorithm: a.name, Signature: out.Signature}
		if v, err := s.api.Verify(s.Context(), &check); err != nil || !v.SignatureValid {
			s.Errorf("%s: %v", kind, err)
		}
		out.Signature[len(out.Signature)-1] ^= 1
		v, err := s.api.Verify(s.Context(), &check)
		if !s.differs("says false of a signature that is wrong, instead of failing") || err != nil || v.SignatureValid {
			s.wantCode(err, "KMSInvalidSignatureException")
		}
	}
}

func TestSignRefused(t *testing.T) {
	s := newSuite(t)
	symmetric, curve, big := s.create("SYMMETRIC_DEFAULT"), s.create("ECC_NIST_P256"), s.create("RSA_2048")
	for _, tt := range []struct {
		name, want, moto string
		in               kms.SignInput
	}{
		{"short digest", invalid, "signs a digest of any length", kms.SignInput{KeyId: big.KeyId, Message: make([]byte, 31), MessageType: "DIGEST", SigningAlgorithm: "RSASSA_PSS_SHA_256"}},
		{"digest of another hash", invalid, "signs a digest of any length", kms.SignInput{KeyId: big.KeyId, Message: make([]byte, 32), MessageType: "DIGEST", SigningAlgorithm: "RSASSA_PSS_SHA_384"}},
		{"message as digest", invalid, "signs a digest of any length", kms.SignInput{KeyId: curve.KeyId, Message: []byte("message"), MessageType: "DIGEST", SigningAlgorithm: "ECDSA_SHA_256"}},
		{"algorithm of RSA", invalidUsage, "calls an algorithm of another key a ValidationException", kms.SignInput{KeyId: curve.KeyId, Message: make([]byte, 32), MessageType: "DIGEST", SigningAlgorithm: "RSASSA_PSS_SHA_256"}},
		{"algorithm of a curve", invalidUsage, "calls an algorithm of another key a ValidationException", kms.SignInput{KeyId: big.KeyId, Message: make([]byte, 32), MessageType: "DIGEST", SigningAlgorithm: "ECDSA_SHA_256"}},
		{"algorithm of another curve", invalidUsage, "calls an algorithm of another key a ValidationException", kms.SignInput{KeyId: curve.KeyId, Message: make([]byte, 48), MessageType: "DIGEST", SigningAlgorithm: "ECDSA_SHA_384"}},
		{"no such algorithm", invalid, "", kms.SignInput{KeyId: big.KeyId, Message: make([]byte, 32), SigningAlgorithm: "RSASSA_PSS_MD5"}},
		{"no such type", invalid, "takes any type of message", kms.SignInput{KeyId: big.KeyId, Message: make([]byte, 32), MessageType: "DIGESTED", SigningAlgorithm: "RSASSA_PSS_SHA_256"}},
		{"no message", invalid, "", kms.SignInput{KeyId: big.KeyId, Message: []byte{}, SigningAlgorithm: "RSASSA_PSS_SHA_256"}},
		{"long message", invalid, "signs messages of any length", kms.SignInput{KeyId: big.KeyId, Message: make([]byte, 4097), SigningAlgorithm: "RSASSA_PSS_SHA_256"}},
		{"symmetric key", invalidUsage, "calls a wrong usage a ValidationException", kms.SignInput{KeyId: symmetric.KeyId, Message: []byte("x"), SigningAlgorithm: "RSASSA_PSS_SHA_256"}},
		{"no such key", missing, "", kms.SignInput{KeyId: aws.String("alias/nobody"), Message: []byte("x"), SigningAlgorithm: "RSASSA_PSS_SHA_256"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := s.in(t)
			if tt.moto != "" && s.differs(tt.moto) {
				return
			}
			_, err := s.api.Sign(t.Context(), &tt.in)
			s.wantCode(err, tt.want)
			_, err = s.api.Verify(t.Context(), &kms.VerifyInput{KeyId: tt.in.KeyId, Message: tt.in.Message, MessageType: tt.in.MessageType, SigningAlgorithm: tt.in.SigningAlgorithm, Signature: []byte("x")})
			s.wantCode(err, tt.want)
		})
	}
	_, err := s.api.GetPublicKey(t.Context(), &kms.GetPublicKeyInput{KeyId: symmetric.KeyId})
	if !s.differs("fails to answer to GetPublicKey of a symmetric key") {
		s.wantCode(err, "UnsupportedOperationException")
	}
}
