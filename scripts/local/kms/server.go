// Package kms is a local double of AWS Key Management Service: keys in memory that encrypt
// data keys, keys that sign, and aliases. It has the operations that the vendor, its README and
// its checks use, and those that disable a key and enable it again.
//
// Other operations and parameters are answered with an error that names them. There are no
// policies and grants, and no keys are deleted; the injected error AccessDeniedException takes
// the place of a policy. Package awsjson says which requests it accepts. It imports awsjson
// and the standard library only.
//
// Source: docs.aws.amazon.com/kms/latest/APIReference, and key-state.html in
// .../developerguide.
package kms

import (
	"sync"

	"tokenvendor/scripts/local/awsjson"
)

// Config configures a [Server].
type Config struct {
	// Region and Account are part of the ARNs. Required.
	Region, Account string
}

// Server is the endpoint. It is safe for concurrent use.
type Server struct {
	*awsjson.Endpoint
	cfg Config

	mu      sync.Mutex
	keys    map[string]*key // by id with the prefix key/; guarded by mu
	aliases map[string]*key // by name with the prefix alias/; guarded by mu
}

const (
	validation   = "ValidationException"
	notFound     = "NotFoundException"
	disabled     = "DisabledException"
	invalidUsage = "InvalidKeyUsageException"
	invalidText  = "InvalidCiphertextException"
	incorrectKey = "IncorrectKeyException"
	unsupported  = "UnsupportedOperationException"
	internal     = "KMSInternalException"
)

// maxBody is larger than the largest ciphertext with its encryption context.
const maxBody = 64 << 10

// New returns a server without keys.
func New(cfg Config) *Server {
	s := &Server{cfg: cfg, keys: make(map[string]*key), aliases: make(map[string]*key)}
	s.Endpoint = awsjson.New(awsjson.Config{
		Version: "1.1", Target: "TrentService.", MaxBody: maxBody,
		Operations: map[string]awsjson.Operation{
			"CreateAlias":     locked(s, s.createAlias),
			"DescribeKey":     locked(s, s.describeKey),
			"DisableKey":      locked(s, s.disableKey),
			"EnableKey":       locked(s, s.enableKey),
			"UpdateAlias":     locked(s, s.updateAlias),
			"CreateKey":       awsjson.Decode(s.createKey),
			"Decrypt":         awsjson.Decode(s.decrypt),
			"GenerateDataKey": awsjson.Decode(s.generateDataKey),
			"GetPublicKey":    awsjson.Decode(s.getPublicKey),
			"Sign":            awsjson.Decode(s.sign),
		},
	})
	return s
}

// locked returns an operation that locks the server while it runs. Operations that compute
// much lock the server only while they find their key.
func locked[In any](s *Server, run func(In) (any, *apiError)) awsjson.Operation {
	return awsjson.Decode(func(in In) (any, *apiError) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return run(in)
	})
}

type apiError = awsjson.Error

func fail(code, message string) *apiError { return &apiError{Code: code, Message: message} }
