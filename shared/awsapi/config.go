// Package awsapi implements, on the AWS SDK, the interfaces that its users
// declare. Errors leave it as a sentinel of the user's and AWS's error code;
// AWS's own texts hold account ids and ARNs and stay here.
package awsapi

import (
	"context"
	"errors"
	"io"
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
	// maxAnswer is more than any answer that is waited for here: an item of DynamoDB has
	// 400 KB, a secret 64 KiB, which JSON may write six times as long.
	maxAnswer = 1 << 20
	maxHead   = 64 << 10
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
	transport.MaxResponseHeaderBytes = maxHead
	return &http.Client{
		Transport:     bounded{transport},
		Timeout:       attemptTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// bounded ends an answer that is too large with an error, also one that was compressed:
// the SDK reads whatever comes to its end, and an endpoint that is not AWS's, or a proxy
// before it, would fill the memory of the function.
type bounded struct{ *http.Transport }

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := b.Transport.RoundTrip(r)
	if err == nil {
		response.Body = &boundedBody{response.Body, maxAnswer}
	}
	return response, err
}

var errTooLarge = errors.New("the answer is larger than 1 MiB")

type boundedBody struct {
	io.ReadCloser
	left int
}

// Read fails where the bound is passed, so that no answer looks whole that is not.
func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left+1)])
	if n > b.left {
		return b.left, errTooLarge
	}
	b.left -= n
	return n, err
}
