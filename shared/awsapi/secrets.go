package awsapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go"

	"tokenvendor/shared/secret"
)

const (
	// readTimeout is for one read with its retries.
	readTimeout = 4 * time.Second
	// onceTimeout is for a read whose caller has an older version of the secret.
	onceTimeout = time.Second
	// The staging labels of the current version and of the one before it.
	stageCurrent  = "AWSCURRENT"
	stagePrevious = "AWSPREVIOUS"

	alphanumeric = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
)

// Secrets reads secrets from AWS Secrets Manager. It implements
// [secret.Reader] and is safe for concurrent use.
type Secrets struct{ client *secretsmanager.Client }

// NewSecrets returns a reader that uses cfg's region, endpoint and credentials.
func NewSecrets(cfg aws.Config) *Secrets {
	return &Secrets{client: secretsmanager.NewFromConfig(cfg)}
}

// ReadSecret implements [secret.Reader] for the current version. It takes at most four
// seconds; if once is true, it takes at most one second and does not retry.
func (s *Secrets) ReadSecret(ctx context.Context, name string, once bool) (secret.Secret, error) {
	return s.read(ctx, name, stageCurrent, once)
}

// Previous returns a reader of previous versions, with the time limits of ReadSecret. A
// secret whose AWSPREVIOUS is at no version has none.
//
// Source: docs.aws.amazon.com/secretsmanager/latest/userguide/whats-in-a-secret.html#term_version
func (s *Secrets) Previous() secret.Reader {
	return secret.ReaderFunc(func(ctx context.Context, name string, once bool) (secret.Secret, error) {
		return s.read(ctx, name, stagePrevious, once)
	})
}

func (s *Secrets) read(ctx context.Context, name, stage string, once bool) (secret.Secret, error) {
	timeout, maxAttempts := readTimeout, attempts
	if once {
		timeout, maxAttempts = onceTimeout, 1
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	out, err := stagedValue(ctx, s.client, name, stage, maxAttempts)
	if err != nil {
		return secret.Secret{}, err
	}
	if len(out.VersionStages) > 0 && !slices.Contains(out.VersionStages, stage) {
		return secret.Secret{}, fmt.Errorf("%w: the answer is another version than %s", secret.ErrUnavailable, stage)
	}
	text := out.SecretBinary
	if out.SecretString != nil {
		text = []byte(*out.SecretString)
	}
	return secret.Secret{Text: text, Version: version(out.VersionId, text), Created: aws.ToTime(out.CreatedDate)}, nil
}

// stagedValue reads the version of a secret that has a staging label. The request names
// AWSCURRENT too, because an emulator returned another version without it. stagedValue
// checks the name in the answer, because Secrets Manager also finds a secret by its name
// with the random suffix of its ARN, so that a name could return another secret.
func stagedValue(ctx context.Context, client *secretsmanager.Client, name, stage string, maxAttempts int) (*secretsmanager.GetSecretValueOutput, error) {
	out, err := client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &name, VersionStage: &stage},
		func(o *secretsmanager.Options) { o.RetryMaxAttempts = maxAttempts })
	if err != nil {
		return nil, secretError(ctx, err)
	}
	if got := aws.ToString(out.Name); got != "" && got != name {
		return nil, fmt.Errorf("%w: the answer is for another secret", secret.ErrUnavailable)
	}
	return out, nil
}

// version returns the version id, or a hash for endpoints that return none: a refused
// version must be distinguishable from a later one.
func version(id *string, text []byte) string {
	if v := aws.ToString(id); v != "" {
		return v
	}
	sum := sha256.Sum256(text)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// secretError returns a sentinel of package secret with the code of err. A secret that is
// scheduled for deletion has the code InvalidRequestException.
func secretError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("secretsmanager: %w", ctx.Err())
	}
	return classified("secretsmanager", err, secret.ErrNotFound, func(code string) bool {
		return code == "ResourceNotFoundException" || code == "InvalidRequestException"
	})
}

// classified returns a sentinel with the code of err: absent if isAbsent returns true for the
// code, or else one of package secret.
func classified(service string, err, absent error, isAbsent func(code string) bool) error {
	code, sentinel := ErrorCode(err), secret.ErrUnavailable
	switch {
	case isAbsent(code):
		sentinel = absent
	case permanent(code):
		sentinel = secret.ErrDenied
	}
	return fmt.Errorf("%s: %w (%s)", service, sentinel, code)
}

// permanent reports whether an error code means that the same call fails until permissions
// or configuration change.
func permanent(code string) bool {
	switch code {
	case "AccessDeniedException", "AccessDenied", "DecryptionFailure", "KMSAccessDeniedException",
		"KMSInvalidStateException", "DisabledException", "UnrecognizedClientException", "InvalidClientTokenId", "InvalidSignatureException",
		"InvalidParameterException", "ValidationException", "ValidationError", "JWTPayloadSizeExceededException", "SessionDurationEscalationException":
		return true
	}
	return false
}

// ErrorCode returns the code of an error of the SDK, or a fixed text if there is none. It
// returns nothing else of the error, which may hold ARNs.
func ErrorCode(err error) string {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return "no answer"
	}
	code := api.ErrorCode()
	if code == "" || len(code) > 64 || strings.Trim(code, alphanumeric) != "" {
		return "error without a code"
	}
	return code
}
