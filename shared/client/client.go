package client

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"golang.org/x/oauth2"

	"tokenvendor/shared/ask"
	"tokenvendor/shared/cache"
)

const (
	// callTimeout limits one call of one URL. API Gateway answers after 29 seconds.
	callTimeout = 30 * time.Second
	// dialTimeout limits a connection, so that the next URL is soon tried if a region is gone.
	dialTimeout = 5 * time.Second
	// firstBackoff is the pause after a first failed call, doubling to longBackoff.
	firstBackoff = time.Second
	longBackoff  = 30 * time.Second
	// rejectedInterval is how often a token is reported as rejected: the vendor replaces it
	// as often.
	rejectedInterval = 30 * time.Second
	// refreshWait is how long a request waits for a new token while the old one can be used.
	refreshWait = 2 * time.Second
	// endMargin is what is left of a token that is used last, because expires_in is in whole
	// seconds.
	endMargin = time.Second
	// maxTokens and maxTokenBytes bound the tokens in memory.
	maxTokens     = 10_000
	maxTokenBytes = 64 << 20
	// maxWaiters is how many requests may wait for one call of the vendor.
	maxWaiters = 1 << 20
)

// Config configures a [Client]. URLs and AWS are required.
type Config struct {
	// URLs are those of the vendor's API: the stack's output TokenUrl. A member may also be the
	// ARN of the function's alias direct, which is then invoked without the API. If there are
	// several, for example one for each region, the next one is used for a minute after one
	// failed.
	URLs []string
	// AWS has the credentials that sign the requests, and the region of URLs whose host does
	// not name it. It is that of aws-sdk-go-v2/config. BaseEndpoint replaces that of Lambda.
	AWS aws.Config
	// HTTPClient calls the vendor; nil: one with a timeout of 30 seconds that follows no
	// redirects.
	HTTPClient *http.Client
	// Log gets a line for each call of the vendor, without token; nil: none.
	Log *slog.Logger
	// Now is the clock by which tokens age; nil: time.Now. Signatures have the system's time.
	Now func() time.Time
}

// Request describes a token. Two requests with equal members share one.
type Request struct {
	// Client is the name of the vendor's client; required.
	Client string
	// Ask is what the token is for; zero: as the client's document says.
	ask.Ask
	// MinTTL is the life that the token should have left, in whole seconds.
	MinTTL time.Duration
}

func (r *Request) key() key {
	return sha256.Sum256(r.AppendKey(ask.AppendField(nil, r.Client)))
}

// key identifies a token in memory.
type key [sha256.Size]byte

// Client gets tokens from a vendor. It is safe for concurrent use.
type Client struct {
	api   *api
	cache *cache.Cache[key, *Token]
	base  http.RoundTripper // sends the requests of transports
	now   func() time.Time
}

// New returns a Client without tokens. It calls nothing. The error names the member of cfg
// that is not valid.
func New(cfg Config) (*Client, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	// The monotonic clock stops while a laptop sleeps or Lambda freezes the process.
	now := cfg.Now
	cfg.Now = func() time.Time { return now().Round(0) }
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.AWS.Credentials == nil {
		return nil, errors.New("client: AWS has no credentials")
	}
	base := &http.Transport{
		Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSHandshakeTimeout: dialTimeout, IdleConnTimeout: 90 * time.Second, MaxIdleConnsPerHost: 16,
	}
	if cfg.HTTPClient == nil {
		cfg.HTTPClient = &http.Client{
			Transport: base, Timeout: callTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	a, err := newAPI(cfg)
	if err != nil {
		return nil, err
	}
	return &Client{api: a, base: base, now: cfg.Now, cache: cache.New[key](cache.Config[*Token]{
		Size: (*Token).size, MaxSize: maxTokenBytes, MaxEntries: maxTokens, MaxWaiters: maxWaiters,
		LoadTimeout: time.Duration(len(cfg.URLs)) * callTimeout, Now: now, OnError: afterError,
	})}, nil
}

// Token returns a token from memory, or calls the vendor. The error is an [*Error], or that of
// ctx.
func (c *Client) Token(ctx context.Context, r Request) (*Token, error) {
	return c.get(ctx, r, "")
}

// Replace returns a token for r that is not rejected, which an API has refused. It calls the
// vendor at most once in 30 seconds for one token, and then returns rejected itself.
func (c *Client) Replace(ctx context.Context, r Request, rejected *Token) (*Token, error) {
	return c.get(ctx, r, rejected.Fingerprint())
}

// get is Token; rejected is the fingerprint of a token that an API has refused (empty: none).
func (c *Client) get(ctx context.Context, r Request, rejected string) (*Token, error) {
	key, accept := r.key(), c.acceptor(r.MinTTL, rejected)
	if t, _, ok := c.cache.Lookup(key, accept); ok {
		return t, nil
	}
	load := func(ctx context.Context, _ cache.Last[*Token]) (cache.Entry[*Token], error) {
		t, err := c.api.fetch(ctx, &r, rejected)
		if err != nil {
			return cache.Entry[*Token]{}, err
		}
		t.minTTL = r.MinTTL
		if rejected != "" && t.fingerprint == rejected {
			t.reported = c.now()
		}
		return t.entry(), nil
	}
	// If there is an old token, it is returned when waiting ends.
	waiting, cancel := context.WithTimeout(ctx, refreshWait)
	t, _, err := c.cache.Get(waiting, key, accept, load)
	if cancel(); errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		t, _, err = c.cache.Get(ctx, key, accept, load)
	}
	var failure *Error
	if !errors.As(err, &failure) {
		return t, err
	}
	own := *failure // the error is shared
	var backoff *cache.BackoffError
	switch {
	case errors.As(err, &backoff):
		own.RetryAfter = max(backoff.Until.Sub(c.now()), time.Second)
	case own.Temporary():
		own.RetryAfter = max(own.RetryAfter, firstBackoff)
	}
	return nil, &own
}

// acceptor returns whether a token in memory serves; nil: any does.
func (c *Client) acceptor(minTTL time.Duration, rejected string) func(*Token) bool {
	if minTTL == 0 && rejected == "" {
		return nil
	}
	return func(t *Token) bool {
		now := c.now()
		if t.fingerprint == rejected && now.Sub(t.reported) >= rejectedInterval {
			return false
		}
		// The vendor gave this token for this min_ttl a moment ago, and would give it again.
		return t.expiry.Sub(now) >= minTTL || t.minTTL >= minTTL && now.Sub(t.received) < rejectedInterval
	}
}

// Explain asks whether there would be a token (dry_run), and returns the vendor's answer, a JSON
// object. No authorization server is called, and nothing is kept.
func (c *Client) Explain(ctx context.Context, r Request) ([]byte, error) {
	return c.api.post(ctx, &r, map[string]any{"dry_run": true})
}

// Invoke sends an event to the function that the only member of [Config.URLs] names, and returns
// its answer. It is for the vendor's other functions, whose events name their clients themselves.
// Nothing is kept, and the function is called once.
func (c *Client) Invoke(ctx context.Context, event []byte) ([]byte, error) {
	if len(c.api.endpoints) != 1 || !c.api.endpoints[0].direct {
		return nil, errors.New("client: URLs is not the ARN of one function")
	}
	e := &c.api.endpoints[0]
	begun := c.now()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := c.api.send(ctx, e, e.of(""), event)
	c.api.note(e, "", c.now().Sub(begun), err)
	return answer, err
}

// ValidName reports whether a text can be the name of a vendor's client.
func ValidName(name string) bool {
	return name != "" && len(name) <= 63 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// Forget drops the tokens in memory.
func (c *Client) Forget() { c.cache.Remove("") }

// TokenSource returns a source of r's tokens. Its Token method uses ctx. It needs no
// [oauth2.ReuseTokenSource], which would keep a token past refresh_after.
func (c *Client) TokenSource(ctx context.Context, r Request) oauth2.TokenSource {
	return source{ctx, c, r}
}

type source struct {
	ctx     context.Context //nolint:containedctx // as in x/oauth2: the interface has none
	client  *Client
	request Request
}

// Token implements [oauth2.TokenSource].
func (s source) Token() (*oauth2.Token, error) {
	t, err := s.client.Token(s.ctx, s.request)
	if err != nil {
		return nil, err
	}
	return t.OAuth2(), nil
}

// afterError is how long the vendor is not called again. A token in memory is used meanwhile,
// unless the vendor has said that the caller may not have it.
func afterError(err error, failures int, _ bool) cache.Reaction {
	backoff := min(firstBackoff<<min(failures-1, 10), longBackoff)
	backoff = backoff/2 + rand.N(backoff/2+1) //nolint:gosec // jitter
	var failure *Error
	if !errors.As(err, &failure) {
		return cache.Reaction{Backoff: backoff}
	}
	reaction := cache.Reaction{Backoff: max(backoff, failure.RetryAfter)}
	if failure.Code == "access_denied" {
		reaction.Keep = -1
	}
	return reaction
}

// maxDiscard is how much of the body of a refusal is read, so that its connection can be used
// again.
const maxDiscard = 64 << 10

// Transport returns a RoundTripper that sends r's token with each request. base sends the
// requests; nil: one that the transports of c share. If the answer is 401, the token is reported to the
// vendor, and the request is sent once more with the new one, if its body can be read again
// ([http.Request.GetBody]).
func (c *Client) Transport(r Request, base http.RoundTripper) http.RoundTripper {
	if base == nil {
		base = c.base
	}
	return &transport{client: c, request: r, base: base}
}

// HTTPClient returns a client over [Client.Transport].
func (c *Client) HTTPClient(r Request) *http.Client {
	return &http.Client{Transport: c.Transport(r, nil)}
}

type transport struct {
	client  *Client
	request Request
	base    http.RoundTripper
}

// RoundTrip implements [http.RoundTripper].
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if leadsAway(req) {
		return t.base.RoundTrip(req)
	}
	token, err := t.client.Token(req.Context(), t.request)
	if err != nil {
		closeBody(req)
		return nil, err
	}
	resp, err := t.base.RoundTrip(withToken(req, token))
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		return resp, err
	}
	again := t.again(req, token)
	if again == nil {
		return resp, nil // the API's answer says more
	}
	_, _ = io.CopyN(io.Discard, resp.Body, maxDiscard)
	_ = resp.Body.Close()
	return t.base.RoundTrip(again)
}

// again returns req with another token than the refused one; nil: there is none, or its body
// cannot be read again.
func (t *transport) again(req *http.Request, refused *Token) *http.Request {
	fresh, err := t.client.Replace(req.Context(), t.request, refused)
	if err != nil || fresh.Fingerprint() == refused.Fingerprint() {
		return nil
	}
	again := withToken(req, fresh)
	if req.Body == nil || req.Body == http.NoBody {
		return again
	}
	if req.GetBody == nil {
		return nil
	}
	if again.Body, err = req.GetBody(); err != nil {
		return nil
	}
	return again
}

// leadsAway reports whether req follows a redirect to another server, which must not get the
// token.
func leadsAway(req *http.Request) bool {
	first := req
	for first.Response != nil && first.Response.Request != nil {
		first = first.Response.Request
	}
	return first.URL.Host != req.URL.Host || first.URL.Scheme != req.URL.Scheme
}

// withToken returns a copy of req with the token.
func withToken(req *http.Request, t *Token) *http.Request {
	own := req.Clone(req.Context())
	own.Header.Set("Authorization", t.tokenType+" "+t.accessToken)
	return own
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}
