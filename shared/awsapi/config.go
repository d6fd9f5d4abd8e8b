// Package awsapi implements, on the AWS SDK, the interfaces that its users
// declare. Errors leave it as a sentinel of the user's and AWS's error code;
// AWS's own texts hold account ids and ARNs and stay here.
package awsapi

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go/logging"
)

const (
	attempts       = 3
	attemptTimeout = 1500 * time.Millisecond
	idleTimeout    = 20 * time.Second
	maxBackoff     = 500 * time.Millisecond
)

// LoadConfig returns the AWS configuration of the environment with time-outs
// that fit an invocation: the SDK's own has none for a whole call and backs off
// for up to 20 seconds. AWS's variables, AWS_ENDPOINT_URL and AWS_CA_BUNDLE among
// them, keep their meaning.
func LoadConfig(ctx context.Context) (aws.Config, error) {
	cfg, err := config.LoadDefaultConfig(ctx,
		config.WithRetryer(func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) {
				o.MaxAttempts = attempts
				o.MaxBackoff = maxBackoff
			})
		}),
		// The SDK's warnings would reach the log as plain text.
		config.WithLogger(logging.Nop{}),
	)
	if err != nil {
		return aws.Config{}, errors.New("the AWS configuration cannot be loaded; check AWS_REGION and AWS_CA_BUNDLE")
	}
	if cfg.Region == "" {
		return aws.Config{}, errors.New("AWS_REGION is empty")
	}
	cfg.HTTPClient = withoutRedirects(cfg.HTTPClient)
	return cfg, nil
}

// withTimeout returns a copy of a client of LoadConfig with another time for one
// attempt. They share their connections.
func withTimeout(client aws.HTTPClient, attempt time.Duration) aws.HTTPClient {
	configured, ok := client.(*http.Client)
	if !ok {
		return client
	}
	c := *configured
	c.Timeout = attempt
	return &c
}

// withoutRedirects keeps the SDK from following a redirect with a signed
// request. It takes over the transport that the configuration made, so that
// AWS_CA_BUNDLE still counts.
func withoutRedirects(configured aws.HTTPClient) *http.Client {
	buildable, ok := configured.(*awshttp.BuildableClient)
	if !ok {
		buildable = awshttp.NewBuildableClient()
	}
	transport := buildable.GetTransport()
	transport.IdleConnTimeout = idleTimeout
	return &http.Client{
		Transport:     transport,
		Timeout:       attemptTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
