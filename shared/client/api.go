package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

const (
	// maxAnswer is the longest answer that is read, in bytes: a token of 64 KiB with other
	// members.
	maxAnswer = 1 << 20
	// stickyTime is how long another URL is used after one failed.
	stickyTime = time.Minute
)

// api calls the vendor. It is safe for concurrent use.
type api struct {
	endpoints   []endpoint
	credentials aws.CredentialsProvider
	signer      *v4.Signer
	http        *http.Client
	now         func() time.Time

	mu      sync.Mutex
	current int       // the endpoint that is used; guarded by mu
	until   time.Time // when the first one is tried again; guarded by mu
}

// endpoint is one URL of the vendor.
type endpoint struct {
	url             *url.URL
	region, service string
}

func newAPI(cfg Config) (*api, error) {
	if len(cfg.URLs) == 0 {
		return nil, errors.New("client: URLs is empty")
	}
	a := &api{credentials: cfg.AWS.Credentials, signer: v4.NewSigner(), http: cfg.HTTPClient, now: cfg.Now}
	for _, text := range cfg.URLs {
		u, err := parseURL(text)
		if err != nil {
			return nil, err
		}
		region, service := hostOfAWS(u.Hostname())
		if region == "" {
			region = cfg.AWS.Region
		}
		if region == "" {
			return nil, errors.New("client: AWS has no region, and a member of URLs does not name it")
		}
		a.endpoints = append(a.endpoints, endpoint{u, region, service})
	}
	return a, nil
}

// hostOfAWS returns the region in the host of an API Gateway or a function URL (empty: the host
// names none), and the service to sign for.
func hostOfAWS(host string) (region, service string) {
	match := regexp.MustCompile(`\.(execute-api|lambda-url)\.([a-z0-9-]+)\.(amazonaws\.com(\.cn)?|on\.aws)$`).FindStringSubmatch(strings.ToLower(host))
	switch {
	case match == nil:
		return "", "execute-api"
	case match[1] == "lambda-url":
		return match[2], "lambda"
	}
	return match[2], "execute-api"
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// fetch gets a token.
func (a *api) fetch(ctx context.Context, r *Request, rejected string) (*Token, error) {
	asked := a.now()
	answer, err := a.post(ctx, r, map[string]any{"rejected": rejected})
	if err != nil {
		return nil, err
	}
	t, ok := readToken(answer, asked)
	if !ok {
		return nil, &Error{Status: http.StatusBadGateway, Description: "the vendor's answer holds no token"}
	}
	return t, nil
}

// post returns the answer of the first URL that works.
func (a *api) post(ctx context.Context, r *Request, more map[string]any) ([]byte, error) {
	body, err := encode(r, more)
	if err != nil {
		return nil, err
	}
	first := a.begin()
	var failure error
	for i := range a.endpoints {
		at := (first + i) % len(a.endpoints)
		var answer []byte
		calling, cancel := context.WithTimeout(ctx, callTimeout)
		answer, failure = a.call(calling, &a.endpoints[at], r.Client, body)
		if cancel(); !isOutage(failure) {
			a.use(at)
			return answer, failure
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, failure
}

// begin returns the URL to begin with.
func (a *api) begin() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.current != 0 && !a.now().Before(a.until) {
		a.current = 0
	}
	return a.current
}

// use begins with a URL for a while, after those before it failed.
func (a *api) use(at int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if at != a.current {
		a.current, a.until = at, a.now().Add(stickyTime)
	}
}

// isOutage reports whether another URL may do better.
func isOutage(err error) bool {
	var failure *Error
	return errors.As(err, &failure) && (failure.Status == 0 || failure.Status >= http.StatusInternalServerError)
}

// encode returns the body of a request.
func encode(r *Request, more map[string]any) ([]byte, error) {
	members := make(map[string]any, len(r.Parameters)+8)
	for name, value := range r.Parameters {
		members[name] = value
	}
	for name, value := range map[string]string{
		"scope": strings.Join(r.Scope, " "), "audience": r.Audience, "token_format": r.TokenFormat, "app_tid": r.AppTID,
	} {
		if value != "" {
			members[name] = value
		}
	}
	for name, value := range more {
		if value != "" {
			members[name] = value
		}
	}
	if len(r.Resource) > 0 {
		members["resource"] = r.Resource
	}
	if r.MinTTL > 0 {
		members["min_ttl"] = int64(r.MinTTL / time.Second)
	}
	body, err := json.Marshal(members)
	if err != nil || !validClient(r.Client) {
		return nil, &Error{Status: http.StatusBadRequest, Code: "invalid_request", Description: "the client's name is not valid: it has the characters a-z, 0-9 and -"}
	}
	return body, nil
}

func validClient(name string) bool {
	return name != "" && len(name) <= 63 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// call asks one URL.
func (a *api) call(ctx context.Context, e *endpoint, client string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url.JoinPath(client).String(), bytes.NewReader(body))
	if err != nil {
		return nil, &Error{Description: "the request could not be built"}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	credentials, err := a.credentials.Retrieve(ctx)
	if err != nil {
		// The SDK's errors may hold ARNs and the output of programs.
		return nil, &Error{Code: "no_credentials", Description: "there are no AWS credentials to sign the request with"}
	}
	sum := sha256.Sum256(body)
	if err := a.signer.SignHTTP(ctx, credentials, req, hex.EncodeToString(sum[:]), e.service, e.region, a.now()); err != nil {
		return nil, &Error{Description: "the request could not be signed"}
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return nil, unreachable(ctx, err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, unreachable(ctx, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, readError(resp, answer)
	}
	return answer, nil
}

// unreachable returns the error of a vendor that did not answer.
func unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return ctx.Err()
	}
	description := "the vendor cannot be reached"
	var dns *net.DNSError
	var timeout net.Error
	switch {
	case errors.As(err, &dns):
		description = "the name of the vendor's host does not resolve"
	case errors.As(err, &timeout) && timeout.Timeout():
		description = "the vendor did not answer in time"
	}
	return &Error{Code: "temporarily_unavailable", Description: description, RetryAfter: time.Second}
}
