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

	"tokenvendor/shared/secret"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go"
)

const (
	// readTimeout bounds one read with its retries.
	readTimeout = 4 * time.Second
	// onceTimeout bounds a read that may fail without harm.
	onceTimeout = time.Second
)

// stageCurrent is the staging label of the version that callers get.
const stageCurrent = "AWSCURRENT"

// Secrets reads secrets from AWS Secrets Manager. It implements
// [secret.Reader] and is safe for concurrent use.
type Secrets struct{ client *secretsmanager.Client }

// NewSecrets returns a reader that uses cfg's region, endpoint and credentials.
func NewSecrets(cfg aws.Config) *Secrets {
	return &Secrets{client: secretsmanager.NewFromConfig(cfg)}
}

// ReadSecret returns the current version of the secret of that name. The stage
// is always named: an emulator was seen to answer with another version
// otherwise. It takes at most four seconds; once, it takes at most one and is not
// tried again.
func (s *Secrets) ReadSecret(ctx context.Context, name string, once bool) (secret.Secret, error) {
	timeout, max := readTimeout, attempts
	if once {
		timeout, max = onceTimeout, 1
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	out, err := s.client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{
		SecretId:     aws.String(name),
		VersionStage: aws.String(stageCurrent),
	}, func(o *secretsmanager.Options) { o.RetryMaxAttempts = max })
	if err != nil {
		return secret.Secret{}, secretError(ctx, err)
	}
	// Secrets Manager also matches the beginning of an ARN's name; a name that
	// ends like one's random suffix could bring another secret.
	if got := aws.ToString(out.Name); got != "" && got != name {
		return secret.Secret{}, fmt.Errorf("%w: the answer is for another secret", secret.ErrUnavailable)
	}
	if len(out.VersionStages) > 0 && !slices.Contains(out.VersionStages, stageCurrent) {
		return secret.Secret{}, fmt.Errorf("%w: the answer is not the current version", secret.ErrUnavailable)
	}
	text := out.SecretBinary
	if out.SecretString != nil {
		text = []byte(*out.SecretString)
	}
	return secret.Secret{Text: text, Version: version(out.VersionId, text)}, nil
}

// version falls back to a hash for endpoints that give no version id: what was
// refused must be told apart from what came after.
func version(id *string, text []byte) string {
	if v := aws.ToString(id); v != "" {
		return v
	}
	sum := sha256.Sum256(text)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// secretError sorts an error by its code. AWS's own text holds ARNs, so only
// the code is kept.
func secretError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("secretsmanager: %w", ctx.Err())
	}
	code := ErrorCode(err)
	switch {
	case code == "ResourceNotFoundException",
		// Scheduled for deletion.
		code == "InvalidRequestException":
		return fmt.Errorf("secretsmanager: %w (%s)", secret.ErrNotFound, code)
	case refusal(code):
		return fmt.Errorf("secretsmanager: %w (%s)", secret.ErrDenied, code)
	}
	return fmt.Errorf("secretsmanager: %w (%s)", secret.ErrUnavailable, code)
}

// refusal reports whether an error code says that the same call will fail until
// somebody changes something.
func refusal(code string) bool {
	switch code {
	case "AccessDeniedException", "AccessDenied", "DecryptionFailure", "KMSAccessDeniedException",
		"KMSInvalidStateException", "DisabledException", "UnrecognizedClientException", "InvalidClientTokenId", "InvalidSignatureException",
		"InvalidParameterException", "ValidationException", "ValidationError", "JWTPayloadSizeExceededException", "SessionDurationEscalationException":
		return true
	}
	return false
}

// ErrorCode returns the code of an error of the SDK, or words of ours when there is none;
// the rest of such an error holds ARNs.
func ErrorCode(err error) string {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return "no answer"
	}
	code := api.ErrorCode()
	if code == "" || len(code) > 64 || strings.Trim(code, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") != "" {
		return "error without a code"
	}
	return code
}
