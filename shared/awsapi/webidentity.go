package awsapi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	"tokenvendor/shared/oauth"
	"tokenvendor/shared/registry"
)

const (
	// webIdentityTimeout is for one call of STS with its retry.
	webIdentityTimeout  = 3 * time.Second
	webIdentityAttempts = 2
	// clientTag is the request tag that holds the client's name. STS writes it into the
	// token, and the authorization server compares it with the client_id.
	clientTag = "token-vendor-client"
	// maxJWT is the longest token that is accepted, in bytes.
	maxJWT = 16 << 10
)

// WebIdentity issues tokens for the function's own role (AWS STS GetWebIdentityToken). It
// calls the endpoint of the region, because the global one does not have the operation. It
// implements [registry.WebIdentity] and is safe for concurrent use.
type WebIdentity struct {
	// client makes the client at its first call.
	client func() *sts.Client
	now    func() time.Time
}

// NewWebIdentity returns a WebIdentity for cfg's credentials and region.
func NewWebIdentity(cfg aws.Config) *WebIdentity {
	return &WebIdentity{
		client: sync.OnceValue(func() *sts.Client {
			return sts.NewFromConfig(cfg, func(o *sts.Options) { o.RetryMaxAttempts = webIdentityAttempts })
		}),
		now: time.Now,
	}
}

// Issue implements [registry.WebIdentity].
func (w *WebIdentity) Issue(ctx context.Context, r registry.WebIdentityRequest) (oauth.Secret, error) {
	ctx, cancel := context.WithTimeout(ctx, webIdentityTimeout)
	defer cancel()
	out, err := w.client().GetWebIdentityToken(ctx, &sts.GetWebIdentityTokenInput{
		Audience:         []string{r.Audience},
		SigningAlgorithm: aws.String(r.Algorithm),
		DurationSeconds:  aws.Int32(int32(r.Lifetime / time.Second)), // #nosec G115 -- an hour at most
		Tags:             []types.Tag{{Key: aws.String(clientTag), Value: aws.String(r.Client)}},
	})
	var disabled *types.OutboundWebIdentityFederationDisabledException
	switch {
	case errors.As(err, &disabled):
		return oauth.Secret{}, errors.New("sts: outbound identity federation is not enabled for the AWS account (iam enable-outbound-web-identity-federation)")
	case err != nil:
		return oauth.Secret{}, assertionError(ctx, "sts", err)
	case !isJWT(aws.ToString(out.WebIdentityToken)):
		return oauth.Secret{}, fmt.Errorf("sts: %w: the answer holds no token", oauth.ErrTemporary)
	case out.Expiration != nil && !w.now().Before(*out.Expiration):
		// The authorization server would count it as a failed logon.
		return oauth.Secret{}, errors.New("sts: the token has expired already")
	}
	return oauth.NewSecret(*out.WebIdentityToken), nil
}

// isJWT reports whether text has the form of a signed JWT (RFC 7515 section 3.1). The
// authorization server would count anything else as a failed logon.
func isJWT(text string) bool {
	segments := strings.Split(text, ".")
	if len(text) > maxJWT || len(segments) != 3 {
		return false
	}
	return !slices.ContainsFunc(segments, func(s string) bool { return s == "" || strings.Trim(s, alphanumeric+"-_") != "" })
}
