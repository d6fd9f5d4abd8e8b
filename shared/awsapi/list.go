package awsapi

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
)

// maxListed is how many secrets are listed at most.
const maxListed = 10_000

// List returns what follows prefix in the names of all secrets that begin with it, without
// those that are to be deleted. It takes at most four seconds for each hundred. The error
// wraps [secret.ErrDenied] or [secret.ErrUnavailable].
//
// Source: docs.aws.amazon.com/secretsmanager/latest/apireference/API_ListSecrets.html
func (s *Secrets) List(ctx context.Context, prefix string) ([]string, error) {
	var names []string
	pages := secretsmanager.NewListSecretsPaginator(s.client, &secretsmanager.ListSecretsInput{
		MaxResults: aws.Int32(100), Filters: []types.Filter{{Key: types.FilterNameStringTypeName, Values: []string{prefix}}},
	})
	for pages.HasMorePages() && len(names) < maxListed {
		out, err := s.page(ctx, pages)
		if err != nil {
			return nil, err
		}
		for _, one := range out.SecretList {
			// Not every emulator knows the filter.
			if name, ok := strings.CutPrefix(aws.ToString(one.Name), prefix); ok {
				names = append(names, name)
			}
		}
	}
	return names, nil
}

func (s *Secrets) page(ctx context.Context, pages *secretsmanager.ListSecretsPaginator) (*secretsmanager.ListSecretsOutput, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	out, err := pages.NextPage(ctx)
	if err != nil {
		return nil, secretError(ctx, err, stageCurrent)
	}
	return out, nil
}
