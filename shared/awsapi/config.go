// Package awsapi implements interfaces that other packages declare, with the AWS SDK. Its
// errors hold a sentinel of the declaring package and AWS's error code. They never hold
// AWS's error text, which contains account ids and ARNs.
package awsapi

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"
	"github.com/aws/smithy-go/logging"

	"tokenvendor/shared/nowait"
)

const (
	attempts       = 3
	attemptTimeout = 1500 * time.Millisecond
	// dialTimeout is shorter than any attempt and any read, so that the error says that there was
	// no connection: in a VPC without a route, packets are dropped. The endpoint is in the
	// function's region.
	dialTimeout = 900 * time.Millisecond
	idleTimeout = 20 * time.Second
	maxBackoff  = 500 * time.Millisecond
	// expiryWindow is the rest of their life with which credentials are fetched anew.
	expiryWindow = 5 * time.Minute
	// maxBody is more than any response has: an item of DynamoDB has at most 400 KB, a
	// secret at most 64 KiB, which JSON may make six times as long.
	maxBody   = 1 << 20
	maxHeader = 64 << 10
)

// LoadConfig returns the AWS configuration of the environment with time-outs that fit an
// invocation: the SDK by itself has none for a whole call and backs off for up to 20
// seconds. AWS's variables keep their meaning, including AWS_ENDPOINT_URL and
// AWS_CA_BUNDLE; files with profiles have none. The SDK's own function would also link what
// gets credentials on other machines than Lambda's, such as the clients of SSO, which is a
// tenth of the binary. The error names the variable and not its value.
func LoadConfig() (aws.Config, error) {
	env, err := config.NewEnvConfig()
	if err != nil {
		return aws.Config{}, errors.New("the AWS configuration cannot be loaded; check AWS's variables with a boolean, a number or a mode")
	}
	if env.Region == "" {
		return aws.Config{}, errors.New("AWS_REGION is empty")
	}
	client, err := newHTTPClient(env.CustomCABundle)
	if err != nil {
		return aws.Config{}, err
	}
	return aws.Config{
		Region:       env.Region,
		BaseEndpoint: baseEndpoint(env),
		Credentials:  credentialsOf(env),
		HTTPClient:   client,
		Retryer: func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) {
				o.MaxAttempts = attempts
				o.MaxBackoff = maxBackoff
			})
		},
		// Each client finds the variables of its own service here.
		ConfigSources: []any{env},
		// The SDK would write its warnings to the log as plain text.
		Logger:                logging.Nop{},
		AppID:                 env.AppID,
		AccountIDEndpointMode: env.AccountIDEndpointMode,
	}, nil
}

// baseEndpoint returns the endpoint of all services that have no variable of their own; nil:
// AWS's.
func baseEndpoint(env config.EnvConfig) *string {
	if env.BaseEndpoint == "" || aws.ToBool(env.IgnoreConfiguredEndpoints) {
		return nil
	}
	return &env.BaseEndpoint
}

// credentialsOf returns the credentials that Lambda gives to a function: by variables, or by
// an endpoint in the execution environment.
func credentialsOf(env config.EnvConfig) aws.CredentialsProvider {
	if env.Credentials.HasKeys() || env.ContainerCredentialsEndpoint == "" {
		return credentials.StaticCredentialsProvider{Value: env.Credentials}
	}
	return aws.NewCredentialsCache(endpointcreds.New(env.ContainerCredentialsEndpoint, func(o *endpointcreds.Options) {
		o.AuthorizationToken = env.ContainerAuthorizationToken
	}), func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = expiryWindow })
}

// httpClient sends the SDK's requests. It does not follow redirects, because the request is
// signed. An [http.Client] would do the same, but prepare each request for a redirect.
type httpClient struct {
	transport *http.Transport
	timeout   time.Duration // of one attempt, from dialling to the end of the body
}

// newHTTPClient returns a client that trusts the certificates of the file bundle, which
// AWS_CA_BUNDLE names; if that is empty, those of the system.
func newHTTPClient(bundle string) (httpClient, error) {
	transport := awshttp.NewBuildableClient().WithDialerOptions(func(d *net.Dialer) { d.Timeout = dialTimeout }).GetTransport()
	if bundle != "" {
		roots := x509.NewCertPool()
		// #nosec G304 -- the operator names the file
		if text, err := os.ReadFile(bundle); err != nil || !roots.AppendCertsFromPEM(text) {
			return httpClient{}, errors.New("AWS_CA_BUNDLE names no file with certificates")
		}
		transport.TLSClientConfig.RootCAs = roots
	}
	transport.DialContext = nowait.Dial(transport.DialContext)
	transport.IdleConnTimeout = idleTimeout
	transport.MaxResponseHeaderBytes = maxHeader
	return httpClient{transport: transport, timeout: attemptTimeout}, nil
}

// withTimeout returns a copy of a client of LoadConfig with another time-out for one
// attempt. The copy uses the same connections.
func withTimeout(client aws.HTTPClient, attempt time.Duration) aws.HTTPClient {
	if c, ok := client.(httpClient); ok {
		c.timeout = attempt
		return c
	}
	return client
}

// Do implements [aws.HTTPClient].
func (c httpClient) Do(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(r.Context(), c.timeout)
	r = r.WithContext(ctx) // a shallow copy
	// The SDK closes the request's body as soon as there is a response. net/http may still be
	// about to find the body's end, and would close the connection in the middle of the
	// response.
	if r.Body != nil {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			cancel()
			return nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	response, err := c.transport.RoundTrip(r)
	if err != nil {
		cancel()
		return nil, err
	}
	response.Body = responseBody{http.MaxBytesReader(nil, response.Body, maxBody), cancel}
	return response, nil
}

// responseBody returns an error for a response that is too large, also after
// decompression. The SDK reads each body to its end, so that an endpoint that is not AWS's,
// or a proxy, could otherwise exhaust the function's memory. A truncated response does not
// end with io.EOF, so that it cannot be taken for a complete one.
type responseBody struct {
	io.ReadCloser
	cancel context.CancelFunc // of the attempt
}

// Close implements io.Closer.
func (b responseBody) Close() error {
	defer b.cancel()
	return b.ReadCloser.Close()
}
