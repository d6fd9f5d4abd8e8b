// Package secretsmanager is AWS Secrets Manager in memory, on one machine: the
// operations that this project and its users call, with the semantics of stages
// and versions that rotation depends on. The AWS SDK and the AWS CLI talk to it.
//
// Package awsjson says what it lets in: signed requests of this machine. It does
// not verify signatures (the API Gateway of the local stack does); it does not
// encrypt, replicate, rotate or evaluate policies.
// It imports the standard library only.
//
// Source: docs.aws.amazon.com/secretsmanager/latest/apireference.
package secretsmanager

import (
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
	secrets map[string]*secret // by name; guarded by mu
}

const (
	invalidParameter = "InvalidParameterException"
	invalidRequest   = "InvalidRequestException"
	notFound         = "ResourceNotFoundException"
	exists           = "ResourceExistsException"
	limitExceeded    = "LimitExceededException"
)

// maxBody leaves room for the largest secret: in JSON a byte of it takes up to
// six (\u0000), and the other members need some too.
const maxBody = 6*maxValue + 64<<10

// New returns an empty Secrets Manager.
func New(cfg Config) *Server {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Server{cfg: cfg, secrets: make(map[string]*secret)}
	s.Endpoint = awsjson.New(awsjson.Config{
		Version: "1.1", Target: "secretsmanager.", MaxBody: maxBody, TooLarge: invalidParameter,
		Operations: map[string]awsjson.Operation{
			"BatchGetSecretValue":      decode(s, s.batchGetSecretValue),
			"CreateSecret":             decode(s, s.createSecret),
			"DeleteSecret":             decode(s, s.deleteSecret),
			"DescribeSecret":           decode(s, s.describeSecret),
			"GetSecretValue":           decode(s, s.getSecretValue),
			"ListSecrets":              decode(s, s.listSecrets),
			"PutSecretValue":           decode(s, s.putSecretValue),
			"RestoreSecret":            decode(s, s.restoreSecret),
			"TagResource":              decode(s, s.tagResource),
			"UntagResource":            decode(s, s.untagResource),
			"UpdateSecret":             decode(s, s.updateSecret),
			"UpdateSecretVersionStage": decode(s, s.updateSecretVersionStage),
		},
	})
	return s
}

// decode makes an operation of a function that runs with the server's mu held.
func decode[In any](s *Server, run func(In) (any, *apiError)) awsjson.Operation {
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

// Seed makes text the current value of a secret, which it creates if need be.
// It fails where the same call over HTTP would.
func (s *Server) Seed(name, text string) (versionID string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgetDeleted()
	var failure *apiError
	id := newUUID()
	if s.secrets[name] == nil {
		_, failure = s.createSecret(createInput{Name: name, value: value{SecretString: &text}, ClientRequestToken: id})
	} else {
		_, failure = s.putSecretValue(putInput{SecretID: name, value: value{SecretString: &text}, ClientRequestToken: id})
	}
	if failure != nil {
		return "", failure
	}
	return id, nil
}
