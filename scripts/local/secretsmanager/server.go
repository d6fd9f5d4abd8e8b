// Package secretsmanager is a local double of AWS Secrets Manager: secrets in memory with the
// versions and staging labels that rotation depends on. It has the operations that the vendor,
// its README and its checks use, and those that a rotation or an operator needs: creating,
// changing, deleting and restoring a secret, and moving a label.
//
// Other operations and parameters are answered with an error that names them. There are no
// binary values, policies and replicas, nothing is encrypted, and a deleted secret can be
// restored until the process ends. Package awsjson says which requests it accepts. It imports
// awsjson and the standard library only.
//
// Source: docs.aws.amazon.com/secretsmanager/latest/apireference.
package secretsmanager

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
	secrets map[string]*secret // by name; guarded by mu
}

const (
	invalidParameter = "InvalidParameterException"
	invalidRequest   = "InvalidRequestException"
	notFound         = "ResourceNotFoundException"
	exists           = "ResourceExistsException"
)

// maxBody is larger than the largest secret, of which one byte may take six in JSON (\u0000),
// with the other parameters.
const maxBody = 6*maxValue + 64<<10

// New returns a server without secrets.
func New(cfg Config) *Server {
	s := &Server{cfg: cfg, secrets: make(map[string]*secret)}
	s.Endpoint = awsjson.New(awsjson.Config{
		Version: "1.1", Target: "secretsmanager.", MaxBody: maxBody, TooLarge: invalidParameter,
		Operations: map[string]awsjson.Operation{
			"CreateSecret":             decode(s, s.createSecret),
			"DeleteSecret":             decode(s, s.deleteSecret),
			"DescribeSecret":           decode(s, s.describeSecret),
			"GetSecretValue":           decode(s, s.getSecretValue),
			"ListSecrets":              decode(s, s.listSecrets),
			"PutSecretValue":           decode(s, s.putSecretValue),
			"RestoreSecret":            decode(s, s.restoreSecret),
			"UpdateSecret":             decode(s, s.updateSecret),
			"UpdateSecretVersionStage": decode(s, s.updateSecretVersionStage),
		},
	})
	return s
}

// decode returns an operation that locks the server while it runs. Its answer is encoded
// without the lock and must not share memory with secrets.
func decode[In any](s *Server, run func(In) (any, *apiError)) awsjson.Operation {
	return awsjson.Decode(func(in In) (any, *apiError) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return run(in)
	})
}

type apiError = awsjson.Error

func fail(code, message string) *apiError { return &apiError{Code: code, Message: message} }

// Seed makes text the current value of a secret, and creates the secret if there is none. A
// secret that is created with an empty text has no value. The error is that of CreateSecret
// or PutSecretValue.
func (s *Server) Seed(name, text string) (versionID string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var failure *apiError
	id := newUUID()
	if s.secrets[name] == nil {
		value := &text
		if text == "" {
			value = nil
		}
		_, failure = s.createSecret(createInput{Name: name, SecretString: value, ClientRequestToken: id})
	} else {
		_, failure = s.putSecretValue(putInput{SecretID: name, SecretString: &text, ClientRequestToken: id})
	}
	if failure != nil {
		return "", failure
	}
	return id, nil
}
