package awsapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"tokenvendor/shared/secret"
)

const (
	// readTimeout is for one read with its retries.
	readTimeout = 4 * time.Second
	// onceTimeout is for a read whose caller has an older version of the secret.
	onceTimeout = time.Second
	// connectTimeout is for a connection that is opened ahead, which must not delay the first
	// event for long.
	connectTimeout = 500 * time.Millisecond
	// The staging labels of the current version and of the one before it.
	stageCurrent  = "AWSCURRENT"
	stagePrevious = "AWSPREVIOUS"
)

// Secrets reads secrets from AWS Secrets Manager. It implements
// [secret.Reader] and is safe for concurrent use.
type Secrets struct{ client *secretsmanager.Client }

// NewSecrets returns a reader that uses cfg's region, endpoint and credentials.
func NewSecrets(cfg aws.Config) *Secrets {
	return &Secrets{client: secretsmanager.NewFromConfig(cfg)}
}

// ReadSecret implements [secret.Reader] for the current version. It takes at most four
// seconds; if want.Once is true, it takes at most one second and does not retry.
func (s *Secrets) ReadSecret(ctx context.Context, name string, want secret.Want) (secret.Secret, error) {
	return s.read(ctx, name, stageCurrent, want.Once)
}

// Previous returns a reader of previous versions, with the time limits of ReadSecret. A
// secret whose AWSPREVIOUS is at no version has none.
//
// Source: docs.aws.amazon.com/secretsmanager/latest/userguide/whats-in-a-secret.html#term_version
func (s *Secrets) Previous() secret.Reader {
	return secret.ReaderFunc(func(ctx context.Context, name string, want secret.Want) (secret.Secret, error) {
		return s.read(ctx, name, stagePrevious, want.Once)
	})
}

// Connect opens a connection, which the next read uses unless it comes later than idleTimeout.
// It reads no secret, and its request is not signed. A failure has no consequence but that the
// next read opens a connection.
func (s *Secrets) Connect(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	o := s.client.Options()
	endpoint, err := o.EndpointResolverV2.ResolveEndpoint(ctx, secretsmanager.EndpointParameters{
		Region: &o.Region, Endpoint: o.BaseEndpoint,
		UseFIPS:      aws.Bool(o.EndpointOptions.UseFIPSEndpoint == aws.FIPSEndpointStateEnabled),
		UseDualStack: aws.Bool(o.EndpointOptions.UseDualStackEndpoint == aws.DualStackEndpointStateEnabled),
	})
	if err != nil {
		return
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint.URI.JoinPath("ping").String(), nil)
	if err != nil {
		return
	}
	response, err := o.HTTPClient.Do(request)
	if err != nil {
		return
	}
	// Only a response that was read to its end leaves its connection to others.
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
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
	var out *secretsmanager.GetSecretValueOutput
	var err error
	var options []func(*secretsmanager.Options)
	if maxAttempts != attempts { // else the client's retryer serves as it is
		options = append(options, func(o *secretsmanager.Options) { o.RetryMaxAttempts = maxAttempts })
	}
	for attempt := 1; attempt == 1 || attempt <= maxAttempts && incomplete(out, err) && ctx.Err() == nil; attempt++ {
		out, err = client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &name, VersionStage: &stage}, options...)
	}
	switch {
	case err != nil:
		return nil, secretError(ctx, err, stage)
	case incomplete(out, err):
		return nil, fmt.Errorf("secretsmanager: %w (an answer without a value)", secret.ErrUnavailable)
	}
	if got := aws.ToString(out.Name); got != "" && got != name {
		return nil, fmt.Errorf("%w: the answer is for another secret", secret.ErrUnavailable)
	}
	return out, nil
}

// incomplete reports whether an answer of status 200 was empty or broke off. The SDK does not
// retry such a call.
func incomplete(out *secretsmanager.GetSecretValueOutput, err error) bool {
	var response *smithyhttp.ResponseError
	if err != nil {
		return unreadable(err) && errors.As(err, &response) && response.HTTPStatusCode() == http.StatusOK
	}
	return out.SecretString == nil && out.SecretBinary == nil
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
