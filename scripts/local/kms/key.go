package kms

import (
	"crypto"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"strings"
	"time"

	"tokenvendor/scripts/local/awsjson"
)

// key is one key. Only disabled changes.
type key struct {
	id, spec string
	created  time.Time
	material []byte        // of SYMMETRIC_DEFAULT
	aead     cipher.AEAD   // with material
	signer   crypto.Signer // of all other specs
	disabled bool          // guarded by the server's mu
}

const (
	symmetricDefault = "SYMMETRIC_DEFAULT"
	encryptDecrypt   = "ENCRYPT_DECRYPT"
	signVerify       = "SIGN_VERIFY"
)

func usageOf(spec string) string {
	if spec == symmetricDefault {
		return encryptDecrypt
	}
	return signVerify
}

// newKey makes a key. Nil: the spec is not supported.
func newKey(spec string) (k *key, err error) {
	k = &key{id: newUUID(), spec: spec, created: time.Now()}
	switch spec {
	case symmetricDefault:
		k.material = make([]byte, 32)
		_, _ = rand.Read(k.material) // never fails
		k.aead, err = newAEAD(k.material)
	case "RSA_2048":
		k.signer, err = rsa.GenerateKey(rand.Reader, 2048)
	case "RSA_3072":
		k.signer, err = rsa.GenerateKey(rand.Reader, 3072)
	case "RSA_4096":
		k.signer, err = rsa.GenerateKey(rand.Reader, 4096)
	case "ECC_NIST_P256":
		k.signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ECC_NIST_P384":
		k.signer, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ECC_NIST_P521":
		k.signer, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "ECC_NIST_EDWARDS25519":
		_, k.signer, err = ed25519.GenerateKey(rand.Reader)
	default:
		return nil, nil
	}
	return k, err
}

func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])                      // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80 // RFC 9562, section 5.4
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func (s *Server) arn(resource string) string {
	return "arn:aws:kms:" + s.cfg.Region + ":" + s.cfg.Account + ":" + resource
}

func (s *Server) keyARN(k *key) string { return s.arn("key/" + k.id) }

// find returns the key with an id, an ARN, an alias or the ARN of an alias.
func (s *Server) find(id string) (*key, *apiError) {
	name, isARN := strings.CutPrefix(id, s.arn(""))
	if k := s.aliases[name]; k != nil {
		return k, nil
	}
	return s.findKey(name, isARN)
}

// findByID is find without aliases, which some operations do not accept.
func (s *Server) findByID(id string) (*key, *apiError) {
	name, isARN := strings.CutPrefix(id, s.arn(""))
	return s.findKey(name, isARN)
}

func (s *Server) findKey(name string, isARN bool) (*key, *apiError) {
	if name == "" {
		return nil, fail(validation, "KeyId must have 1 to 2048 characters")
	}
	if !isARN {
		name = "key/" + name
	}
	if k := s.keys[name]; k != nil {
		return k, nil
	}
	return nil, fail(notFound, "there is no such key or alias")
}

// usable returns a key that is enabled. Its usage must be the given one. Empty: any usage.
func (s *Server) usable(id, usage string) (*key, *apiError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, failure := s.find(id)
	switch {
	case failure != nil:
		return nil, failure
	case k.disabled:
		return nil, fail(disabled, "the key is disabled")
	case usage != "" && usageOf(k.spec) != usage:
		return nil, fail(invalidUsage, "the key usage is "+usageOf(k.spec)+", which is not valid for this operation")
	}
	return k, nil
}

// AddKey adds a key and returns its id. alias is without the prefix alias/. Empty: no alias.
func (s *Server) AddKey(spec, alias string) (id string, err error) {
	k, failure := s.newKey(createInput{KeySpec: spec, KeyUsage: usageOf(spec)})
	if failure != nil {
		return "", failure
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys["key/"+k.id] = k
	if alias == "" {
		return k.id, nil
	}
	if _, failure := s.createAlias(aliasInput{AliasName: "alias/" + alias, TargetKeyID: k.id}); failure != nil {
		delete(s.keys, "key/"+k.id)
		return "", failure
	}
	return k.id, nil
}

// createInput is the input of CreateKey. Tags have no effect, because there are no policies.
type createInput struct {
	KeySpec, KeyUsage string
	Tags              []struct{ TagKey, TagValue string }
}

func (s *Server) createKey(in createInput) (any, *apiError) {
	k, failure := s.newKey(in)
	if failure != nil {
		return nil, failure
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys["key/"+k.id] = k
	return map[string]any{"KeyMetadata": s.describe(k)}, nil
}

// newKey checks an input and makes its key. It runs without mu, because an RSA key takes
// seconds.
func (s *Server) newKey(in createInput) (*key, *apiError) {
	if in.KeySpec == "" {
		in.KeySpec = symmetricDefault
	}
	if in.KeyUsage == "" {
		in.KeyUsage = encryptDecrypt
	}
	if in.KeyUsage != usageOf(in.KeySpec) {
		return nil, fail(validation, "KeyUsage "+in.KeyUsage+" is not supported for KeySpec "+in.KeySpec)
	}
	k, err := newKey(in.KeySpec)
	switch {
	case err != nil:
		return nil, fail(internal, "the key could not be made")
	case k == nil:
		return nil, fail(validation, "KeySpec "+in.KeySpec+" is not supported")
	}
	return k, nil
}

// metadata describes a key in an answer.
type metadata struct {
	KeyID              string `json:"KeyId"`
	ARN                string `json:"Arn"`
	AWSAccountID       string `json:"AWSAccountId"`
	CreationDate       awsjson.Time
	Enabled            bool
	KeyState, KeyUsage string
	KeySpec            string
}

func (s *Server) describe(k *key) metadata {
	state := "Enabled"
	if k.disabled {
		state = "Disabled"
	}
	return metadata{
		KeyID: k.id, ARN: s.keyARN(k), AWSAccountID: s.cfg.Account, CreationDate: awsjson.Time(k.created),
		Enabled: !k.disabled, KeyState: state, KeyUsage: usageOf(k.spec), KeySpec: k.spec,
	}
}

type keyInput struct {
	KeyID string `json:"KeyId"`
}

func (s *Server) describeKey(in keyInput) (any, *apiError) {
	k, failure := s.find(in.KeyID)
	if failure != nil {
		return nil, failure
	}
	return map[string]any{"KeyMetadata": s.describe(k)}, nil
}

func (s *Server) enableKey(in keyInput) (any, *apiError) { return s.setDisabled(in, false) }

func (s *Server) disableKey(in keyInput) (any, *apiError) { return s.setDisabled(in, true) }

func (s *Server) setDisabled(in keyInput, to bool) (any, *apiError) {
	k, failure := s.findByID(in.KeyID)
	if failure != nil {
		return nil, failure
	}
	k.disabled = to
	return struct{}{}, nil
}

type aliasInput struct {
	AliasName   string
	TargetKeyID string `json:"TargetKeyId"`
}

func (s *Server) createAlias(in aliasInput) (any, *apiError) {
	name, ok := strings.CutPrefix(in.AliasName, "alias/")
	bad := strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("/_-", r)
	})
	if !ok || name == "" || bad {
		return nil, fail(validation, "AliasName must be alias/ and letters, digits, slashes, underscores and hyphens")
	}
	target, failure := s.findByID(in.TargetKeyID)
	switch {
	case failure != nil:
		return nil, failure
	case s.aliases[in.AliasName] != nil:
		return nil, fail("AlreadyExistsException", "the alias already exists")
	}
	s.aliases[in.AliasName] = target
	return struct{}{}, nil
}

// updateAlias moves an alias to another key of the same usage.
func (s *Server) updateAlias(in aliasInput) (any, *apiError) {
	target, failure := s.findByID(in.TargetKeyID)
	old := s.aliases[in.AliasName]
	switch {
	case failure != nil:
		return nil, failure
	case old == nil:
		return nil, fail(notFound, "there is no such alias")
	case usageOf(old.spec) != usageOf(target.spec):
		return nil, fail(validation, "the present key of the alias and the target have different usages")
	}
	s.aliases[in.AliasName] = target
	return struct{}{}, nil
}
