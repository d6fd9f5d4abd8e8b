package kms

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"maps"
	"strings"
	"time"

	"tokenvendor/scripts/local/awsjson"
)

// key is one key. Its material never changes.
type key struct {
	id, spec    string
	description string
	created     time.Time
	symmetric   []byte        // of SYMMETRIC_DEFAULT
	signer      crypto.Signer // of all others

	disabled bool      // guarded by the server's mu
	deleted  time.Time // when it will be gone; zero: it stays; guarded by the server's mu
}

const symmetricDefault = "SYMMETRIC_DEFAULT"

func (k *key) usage() string {
	if k.signer == nil {
		return "ENCRYPT_DECRYPT"
	}
	return "SIGN_VERIFY"
}

func (k *key) state() string {
	switch {
	case !k.deleted.IsZero():
		return "PendingDeletion"
	case k.disabled:
		return "Disabled"
	}
	return "Enabled"
}

// newKey makes the material of a spec; nil: there is no such spec here.
func newKey(spec string) (k *key, err error) {
	k = &key{id: newUUID(), spec: spec}
	switch spec {
	case symmetricDefault:
		k.symmetric = make([]byte, 32)
		_, _ = rand.Read(k.symmetric) // never fails
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

// find returns the key of an id, an ARN, an alias or an alias's ARN.
func (s *Server) find(id string) (*key, *apiError) {
	name, isARN := strings.CutPrefix(id, s.arn(""))
	switch {
	case id == "" || len(id) > 2048:
		return nil, fail(validation, "KeyId must have 1 to 2048 characters")
	case strings.HasPrefix(id, "arn:") && strings.Count(id, ":") < 5:
		return nil, fail("InvalidArnException", "the ARN is not one of a key or an alias")
	}
	if a := s.aliases[name]; a != nil {
		return s.keys[a.target], nil
	}
	if isARN {
		// Without key/ it names nothing: an id follows it in ARNs alone.
		rest, ok := strings.CutPrefix(name, "key/")
		if !ok && !strings.HasPrefix(name, "alias/") {
			return nil, fail("InvalidArnException", "the ARN is not one of a key or an alias")
		}
		name = rest
	}
	if k := s.keys[name]; k != nil {
		return k, nil
	}
	return nil, fail(notFound, "there is no such key or alias")
}

// usable returns a key that is enabled, for an operation that needs that usage.
func (s *Server) usable(id, usage string) (*key, *apiError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgetDeleted()
	k, failure := s.find(id)
	if failure != nil {
		return nil, failure
	}
	switch {
	case !k.deleted.IsZero():
		return nil, pendingDeletion()
	case k.disabled:
		return nil, fail(disabled, "the key is disabled")
	case usage != "" && k.usage() != usage:
		return nil, fail(invalidUsage, "the key usage is "+k.usage()+", which is not valid for this operation")
	}
	return k, nil
}

func pendingDeletion() *apiError { return fail(invalidState, "the key is pending deletion") }

// forgetDeleted drops the keys whose waiting period has ended, and their aliases.
func (s *Server) forgetDeleted() {
	now := s.cfg.Now()
	maps.DeleteFunc(s.keys, func(_ string, k *key) bool { return !k.deleted.IsZero() && !now.Before(k.deleted) })
	maps.DeleteFunc(s.aliases, func(_ string, a *alias) bool { return s.keys[a.target] == nil })
}

// AddKey makes a key, for those who need no client to have one. alias has no
// alias/ before it; empty: none.
func (s *Server) AddKey(spec, alias string) (id string, err error) {
	out, failure := s.createKey(createInput{KeySpec: spec, KeyUsage: usageOf(spec)})
	if failure != nil {
		return "", failure
	}
	id = out.(map[string]any)["KeyMetadata"].(metadata).KeyID
	if alias == "" {
		return id, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, failure := s.createAlias(aliasInput{AliasName: "alias/" + alias, TargetKeyID: id}); failure != nil {
		delete(s.keys, id)
		return "", failure
	}
	return id, nil
}

func usageOf(spec string) string {
	if spec == symmetricDefault {
		return "ENCRYPT_DECRYPT"
	}
	return "SIGN_VERIFY"
}

type createInput struct {
	KeySpec, CustomerMasterKeySpec string
	KeyUsage                       string
	Description                    string
	Origin                         string
	MultiRegion                    bool
}

func (s *Server) createKey(in createInput) (any, *apiError) {
	spec := in.KeySpec
	if spec == "" {
		spec = in.CustomerMasterKeySpec // the member's name before 2021
	}
	if spec == "" {
		spec = symmetricDefault
	}
	if in.KeyUsage == "" {
		in.KeyUsage = "ENCRYPT_DECRYPT"
	}
	switch {
	case in.MultiRegion || in.Origin != "" && in.Origin != "AWS_KMS":
		return nil, fail(unsupported, "this endpoint has no keys of several regions, and makes all key material itself")
	case in.KeyUsage != usageOf(spec):
		return nil, fail(validation, "KeyUsage "+in.KeyUsage+" is not compatible with KeySpec "+spec)
	case len(in.Description) > 8192:
		return nil, fail(validation, "Description has at most 8192 characters")
	}
	k, err := newKey(spec) // without mu: a long RSA key takes seconds
	switch {
	case err != nil:
		return nil, fail("KMSInternalException", "the key could not be made")
	case k == nil:
		return nil, fail(validation, "this endpoint has no such KeySpec")
	}
	k.description, k.created = in.Description, s.cfg.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[k.id] = k
	return map[string]any{"KeyMetadata": s.describe(k)}, nil
}

// metadata is a key in an answer.
type metadata struct {
	KeyID                 string `json:"KeyId"`
	ARN                   string `json:"Arn"`
	AWSAccountID          string `json:"AWSAccountId"`
	Description           string
	CreationDate          awsjson.Time
	DeletionDate          *awsjson.Time `json:",omitempty"`
	Enabled               bool
	KeyState, KeyUsage    string
	KeySpec               string
	CustomerMasterKeySpec string
	KeyManager, Origin    string
	MultiRegion           bool
	EncryptionAlgorithms  []string `json:",omitempty"`
	SigningAlgorithms     []string `json:",omitempty"`
}

func (s *Server) describe(k *key) metadata {
	m := metadata{
		KeyID: k.id, ARN: s.keyARN(k), AWSAccountID: s.cfg.Account, Description: k.description, CreationDate: awsjson.Time(k.created),
		Enabled: k.state() == "Enabled", KeyState: k.state(), KeyUsage: k.usage(), KeySpec: k.spec, CustomerMasterKeySpec: k.spec,
		KeyManager: "CUSTOMER", Origin: "AWS_KMS", SigningAlgorithms: algorithms(k.spec),
	}
	if k.signer == nil {
		m.EncryptionAlgorithms = []string{symmetricDefault}
	}
	if !k.deleted.IsZero() {
		t := awsjson.Time(k.deleted)
		m.DeletionDate = &t
	}
	return m
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
