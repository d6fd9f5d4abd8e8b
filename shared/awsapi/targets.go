package awsapi

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"tokenvendor/shared/secret"
)

// Targets are secrets that tokens are written to, for jobs that can only read secrets. It is
// safe for concurrent use.
type Targets struct{ client *secretsmanager.Client }

// NewTargets returns the secrets of cfg's account and region.
func NewTargets(cfg aws.Config) *Targets {
	return &Targets{client: secretsmanager.NewFromConfig(cfg)}
}

// Read returns the text of a secret and when it was written. The error wraps [secret.ErrNotFound]
// (also if the secret has no value yet), [secret.ErrDenied] or [secret.ErrUnavailable].
func (t *Targets) Read(ctx context.Context, name string) (text []byte, written time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	out, err := stagedValue(ctx, t.client, name, stageCurrent, attempts)
	if err != nil {
		return nil, time.Time{}, err
	}
	return []byte(aws.ToString(out.SecretString)), aws.ToTime(out.CreatedDate), nil
}

// Write makes text the current version of a secret and removes the staging label of the
// previous version, so that Secrets Manager may delete it. id is the version id: a second
// write of the same text with the same id has no effect. The error is that of Read; an error
// about the label is ignored, because the text is written.
//
// Source: docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html
func (t *Targets) Write(ctx context.Context, name, id string, text []byte) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	if _, err := t.client.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{
		SecretId: &name, ClientRequestToken: &id, SecretString: aws.String(string(text)),
	}); err != nil {
		if ErrorCode(err) == "LimitExceededException" {
			return errors.Join(secret.ErrUnavailable, errors.New("the secret has too many versions"))
		}
		return secretError(ctx, err, stageCurrent)
	}
	t.prune(ctx, name)
	return nil
}

// prune removes the staging label of the previous version.
func (t *Targets) prune(ctx context.Context, name string) {
	out, err := t.client.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &name})
	if err != nil {
		return
	}
	for id, stages := range out.VersionIdsToStages {
		if slices.Contains(stages, stagePrevious) {
			_, _ = t.client.UpdateSecretVersionStage(ctx, &secretsmanager.UpdateSecretVersionStageInput{
				SecretId: &name, VersionStage: aws.String(stagePrevious), RemoveFromVersionId: &id,
			})
		}
	}
}
