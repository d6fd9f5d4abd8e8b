package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
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
	log         *slog.Logger
	now         func() time.Time

	mu      sync.Mutex
	current int                  // the endpoint that is used; guarded by mu, as what follows
	until   time.Time            // when the first one is tried again
	pauses  map[pausedCall]pause // those that may not have ended
}

func newAPI(cfg Config) (*api, error) {
	if len(cfg.URLs) == 0 {
		return nil, errors.New("client: URLs is empty")
	}
	a := &api{credentials: cfg.AWS.Credentials, signer: v4.NewSigner(), http: cfg.HTTPClient, log: cfg.Log, now: cfg.Now, pauses: make(map[pausedCall]pause)}
	for _, text := range cfg.URLs {
		e, err := newEndpoint(text, cfg.AWS)
		if err != nil {
			return nil, err
		}
		a.endpoints = append(a.endpoints, e)
	}
	return a, nil
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
	first, probe := a.begin()
	var outage error
	for i := range a.endpoints {
		at := (first + i) % len(a.endpoints)
		answer, failure := a.try(ctx, at, r, more)
		if !isOutage(failure) {
			a.use(at, i > 0, probe)
			return answer, failure
		}
		if outage = worse(outage, failure); ctx.Err() != nil {
			break
		}
	}
	return nil, outage
}

// try asks one URL, unless that has said that it must not be asked for the same now.
func (a *api) try(ctx context.Context, at int, r *Request, more map[string]any) ([]byte, error) {
	paused := pausedCall{at, r.key()}
	a.mu.Lock()
	begun, last := a.now(), a.pauses[paused]
	a.mu.Unlock()
	if last.holds(begun) && more["dry_run"] == nil {
		own := *last.failure
		own.RetryAfter = last.until.Sub(begun)
		return nil, &own
	}
	calling, cancel := context.WithTimeout(ctx, callTimeout)
	answer, err := a.call(calling, &a.endpoints[at], r, more)
	cancel()
	a.note(&a.endpoints[at], r.Client, a.now().Sub(begun), err)
	var failure *Error
	if errors.As(err, &failure) && failure.Status == http.StatusServiceUnavailable && failure.RetryAfter > 0 {
		a.mu.Lock()
		defer a.mu.Unlock()
		now := a.now()
		maps.DeleteFunc(a.pauses, func(_ pausedCall, p pause) bool { return !p.holds(now) })
		a.pauses[paused] = pause{now.Add(failure.RetryAfter), failure}
	}
	return answer, err
}

// pausedCall is a request at one URL. Other requests for the client may succeed.
type pausedCall struct {
	at  int
	key key
}

// pause is what an answer with Retry-After asks for.
type pause struct {
	until   time.Time
	failure *Error // with the whole pause as RetryAfter
}

// holds reports whether the pause has not ended. If more than all of it is left, the clock was set
// back since, and it counts as ended.
func (p pause) holds(now time.Time) bool {
	left := p.until.Sub(now)
	return left > 0 && left <= p.failure.RetryAfter
}

// note logs a call.
func (a *api) note(e *endpoint, client string, took time.Duration, failure error) {
	problem := "none"
	if failure != nil {
		problem = failure.Error() // an Error, or that of a context
	}
	a.log.Info("call of the vendor", "host", e.url.Host, "client", client, "took", took.Round(time.Millisecond), "error", problem)
}

// begin returns the URL to begin with. When another one was used for a while, one call tries the
// first again (probe), and the others stay until that has an answer.
func (a *api) begin() (at int, probe bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	// More than stickyTime is left if the clock was set back.
	if left := a.until.Sub(now); a.current != 0 && (left <= 0 || left > stickyTime) {
		a.until = now.Add(stickyTime)
		return 0, true
	}
	return a.current, false
}

// use begins with a URL that has worked: for a while, if those before it failed.
func (a *api) use(at int, failed, probe bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case failed && at != a.current:
		a.current, a.until = at, a.now().Add(stickyTime)
	case probe && at == 0:
		a.current = 0
	}
}

// encode returns the body of a request. In a direct invoke it names the client.
func encode(r *Request, more map[string]any, direct bool) ([]byte, error) {
	members := make(map[string]any, len(r.Parameters)+8)
	for name, value := range r.Parameters {
		members[name] = value
	}
	if direct {
		members["client"] = r.Client
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
		members["min_ttl"] = int64((r.MinTTL + time.Second - 1) / time.Second) // 0 would ask for nothing
	}
	body, err := json.Marshal(members)
	if err != nil || !ValidName(r.Client) {
		return nil, &Error{Status: http.StatusBadRequest, Code: "invalid_request", Description: "the client's name is not valid: it has the characters a-z, 0-9 and -"}
	}
	return body, nil
}

// call asks one URL.
func (a *api) call(ctx context.Context, e *endpoint, r *Request, more map[string]any) ([]byte, error) {
	body, err := encode(r, more, e.direct)
	if err != nil {
		return nil, err
	}
	return a.send(ctx, e, e.of(r.Client), body)
}

// send signs a body, sends it to an address of an endpoint, and returns the answer.
func (a *api) send(ctx context.Context, e *endpoint, address string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
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
	if err := a.signer.SignHTTP(ctx, credentials, req, hex.EncodeToString(sum[:]), e.service, e.region, time.Now()); err != nil {
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
	switch {
	case resp.StatusCode != http.StatusOK:
		return nil, readError(resp, answer)
	case resp.Header.Get("X-Amz-Function-Error") != "":
		return nil, readFunctionError(resp, answer)
	}
	return answer, nil
}

// endpoint is one way to the vendor: its API, or its Lambda function.
type endpoint struct {
	url             *url.URL
	region, service string
	// direct: url invokes the function, and the request names its client in the body.
	direct bool
}

// newEndpoint returns the endpoint that a member of Config.URLs means.
func newEndpoint(text string, cfg aws.Config) (e endpoint, err error) {
	if strings.HasPrefix(text, "arn:") {
		return functionEndpoint(text, cfg)
	}
	if e.url, err = parseURL(text); err != nil {
		return e, err
	}
	if e.region, e.service = hostOfAWS(e.url.Hostname()); e.region == "" {
		e.region = cfg.Region
	}
	if e.region == "" {
		return e, errors.New("client: AWS has no region, and a member of URLs does not name it")
	}
	return e, nil
}

// parseURL returns the URL of an API without a slash at its end.
func parseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, errors.New("client: a member of URLs is not a URL such as https://id.execute-api.eu-central-1.amazonaws.com/prod/token")
	}
	if u.Scheme == "http" && !loopback(u.Hostname()) {
		return nil, errors.New("client: a member of URLs is not https")
	}
	return u, nil
}

// hostOfAWS returns the region in the host of an API Gateway or a function URL (empty: the host
// names none), and the service to sign for.
func hostOfAWS(host string) (region, service string) {
	match := regexp.MustCompile(`\.(execute-api|lambda-url)\.([a-z0-9-]+)\.(amazonaws\.(com|com\.cn|eu)|on\.aws)$`).FindStringSubmatch(strings.ToLower(host))
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

// functionEndpoint returns the endpoint that invokes a function, with or without an alias.
//
// Source: docs.aws.amazon.com/lambda/latest/api/API_Invoke.html
func functionEndpoint(arn string, cfg aws.Config) (endpoint, error) {
	match := regexp.MustCompile(`^arn:(aws[a-z-]*):lambda:([a-z0-9-]+):\d{12}:function:[A-Za-z0-9_-]{1,64}(:[A-Za-z0-9_$-]{1,128})?$`).FindStringSubmatch(arn)
	if match == nil {
		return endpoint{}, errors.New("client: a member of URLs begins as an ARN but is not that of a Lambda function")
	}
	base := aws.ToString(cfg.BaseEndpoint)
	if base == "" {
		suffix := map[string]string{"aws": "amazonaws.com", "aws-us-gov": "amazonaws.com", "aws-cn": "amazonaws.com.cn", "aws-eusc": "amazonaws.eu"}[match[1]]
		if suffix == "" {
			return endpoint{}, errors.New("client: a member of URLs is the ARN of a partition that is not known: AWS must have a BaseEndpoint")
		}
		base = "https://lambda." + match[2] + "." + suffix
	}
	u, err := parseURL(base)
	if err != nil {
		return endpoint{}, errors.New("client: BaseEndpoint of AWS is not a URL with https")
	}
	prefix := strings.TrimSuffix(u.Path, "/") + "/2015-03-31/functions/"
	// AWS's own clients escape the colons.
	u.Path, u.RawPath = prefix+arn+"/invocations", prefix+strings.NewReplacer(":", "%3A", "$", "%24").Replace(arn)+"/invocations"
	return endpoint{url: u, region: match[2], service: "lambda", direct: true}, nil
}

// of returns the URL of a client.
func (e *endpoint) of(client string) string {
	if e.direct {
		return e.url.String()
	}
	return e.url.JoinPath(client).String()
}
