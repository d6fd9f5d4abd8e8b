// Package kms is AWS Key Management Service in memory, on one machine: symmetric
// keys that encrypt, RSA and elliptic curve keys that sign, their aliases, and the
// states that make a key unusable. The AWS SDK and the AWS CLI talk to it.
//
// Package awsjson says what it lets in. It has no policies and grants (Fail makes
// an AccessDeniedException), no import or rotation of key material, no keys of
// several regions, no RSA keys that encrypt, and no HMAC keys; it refuses them.
// Keys are gone with the process.
// It imports the standard library only.
//
// Source: docs.aws.amazon.com/kms/latest/APIReference, and key-state.html in
// .../developerguide.
package kms

import (
	"encoding/json"
	"sync"
	"time"

	"tokenvendor/scripts/local/awsjson"
)

// Config configures a [Server].
type Config struct {
	// Region and Account make the ARNs; required.
	Region, Account string
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Server is the endpoint. It is safe for concurrent use. Of the [awsjson.Endpoint]
// it has ServeHTTP, Calls, Fail, Hang and Inject.
type Server struct {
	*awsjson.Endpoint
	cfg Config

	mu      sync.Mutex
	keys    map[string]*key   // by id; guarded by mu, and their state too
	aliases map[string]*alias // by name, with alias/; guarded by mu
}

const (
	validation       = "ValidationException"
	notFound         = "NotFoundException"
	disabled         = "DisabledException"
	invalidState     = "KMSInvalidStateException"
	invalidUsage     = "InvalidKeyUsageException"
	invalidText      = "InvalidCiphertextException"
	invalidSignature = "KMSInvalidSignatureException"
	incorrectKey     = "IncorrectKeyException"
	unsupported      = "UnsupportedOperationException"
)

// maxBody leaves room for the largest ciphertext, signature and context.
const maxBody = 64 << 10

// New returns a KMS without keys.
func New(cfg Config) *Server {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Server{cfg: cfg, keys: make(map[string]*key), aliases: make(map[string]*alias)}
	s.Endpoint = awsjson.New(awsjson.Config{
		Version: "1.1", Target: "TrentService.", MaxBody: maxBody,
		Operations: map[string]awsjson.Operation{
			"CancelKeyDeletion":               locked(s, s.cancelKeyDeletion),
			"CreateAlias":                     locked(s, s.createAlias),
			"DeleteAlias":                     locked(s, s.deleteAlias),
			"DescribeKey":                     locked(s, s.describeKey),
			"DisableKey":                      locked(s, s.disableKey),
			"EnableKey":                       locked(s, s.enableKey),
			"ListAliases":                     locked(s, s.listAliases),
			"ListKeys":                        locked(s, s.listKeys),
			"ScheduleKeyDeletion":             locked(s, s.scheduleKeyDeletion),
			"UpdateAlias":                     locked(s, s.updateAlias),
			"CreateKey":                       awsjson.Decode(s.createKey),
			"Decrypt":                         awsjson.Decode(s.decrypt),
			"Encrypt":                         awsjson.Decode(s.encrypt),
			"GenerateDataKey":                 awsjson.Decode(s.generateDataKey),
			"GenerateDataKeyWithoutPlaintext": awsjson.Decode(s.generateDataKeyWithoutPlaintext),
			"GetPublicKey":                    awsjson.Decode(s.getPublicKey),
			"Sign":                            awsjson.Decode(s.sign),
			"Verify":                          awsjson.Decode(s.verify),
		},
	})
	return s
}

// locked makes an operation of a function that runs with the server's mu held;
// those that compute lock for themselves, and only while they look up their key.
func locked[In any](s *Server, run func(In) (any, *apiError)) awsjson.Operation {
	return awsjson.Decode(func(in In) (any, *apiError) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.forgetDeleted()
		return run(in)
	})
}

// apiError is an error answer, by the name of its type in AWS's model.
type apiError = awsjson.Error

// fail makes an error answer.
func fail(code, message string) *apiError { return &apiError{Code: code, Message: message} }

// options are members of several inputs that would change what an operation does.
type options struct {
	DryRun    bool
	Recipient json.RawMessage
}

func (o options) check() *apiError {
	if o.DryRun || o.Recipient != nil {
		return fail(validation, "this endpoint has no DryRun and no Recipient")
	}
	return nil
}
