package oauth

import (
	"cmp"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"tokenvendor/shared/ask"
)

const (
	// attemptTimeout limits one attempt, from dialling to the last byte, unless
	// Dialect.AttemptTimeout is set.
	attemptTimeout = 5 * time.Second
	// exchangeTimeout limits an exchange with its retries and backoff.
	exchangeTimeout = 12 * time.Second
	// No attempt starts with less than minAttemptTime left.
	minAttemptTime = 500 * time.Millisecond
	maxAttempts    = 3

	defaultUserAgent = "token-vendor"

	firstBackoff = 100 * time.Millisecond
	maxBackoff   = 2 * time.Second
)

// Request is the request of one exchange. The zero value requests the server's defaults for
// the client.
type Request struct {
	// Ask contains the parameters. Its Parameters cannot replace those that the exchange
	// sends itself.
	ask.Ask
	// MaxAttempts limits the attempts; zero: three.
	MaxAttempts int
	// Proven says that the client's credential has obtained a token before; false: that is
	// not known. It decides whether a 403 is a failed logon, and whether a certificate is
	// sent again, or taken for refused, after a connection broke.
	Proven bool
	// Permit is asked before each retry; nil: retries need no permit.
	Permit func(context.Context) bool
	// CorrelationID is sent as X-CorrelationID, which SAP's servers log; empty: none.
	CorrelationID string
}

// ExchangerConfig configures an [Exchanger].
type ExchangerConfig struct {
	// UserAgent is the User-Agent header; empty: "token-vendor".
	UserAgent string
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Rand returns a number in [0, 1) for jitter; nil means math/rand/v2.
	Rand func() float64
}

// Exchanger performs exchanges. It is safe for concurrent use. A process needs only one,
// because it limits the retries for each authorization server.
type Exchanger struct {
	userAgent string
	now       func() time.Time
	rand      func() float64
	budget    retryBudget
}

// NewExchanger returns an Exchanger.
func NewExchanger(cfg ExchangerConfig) *Exchanger {
	x := &Exchanger{userAgent: cmp.Or(cfg.UserAgent, defaultUserAgent), now: wallClock(cfg.Now), rand: cfg.Rand}
	if x.rand == nil {
		x.rand = rand.Float64
	}
	return x
}

// Exchange exchanges the client's credential for an access token (RFC 6749 section 4.4). It
// returns after 12 seconds at most, and when ctx is done. It retries after the answers 429,
// 502, 503 and 504, unless the server asks for a pause of more than two seconds, and after a
// connection that failed before an answer. Each attempt is authenticated anew. The error is
// an [*Error].
func (x *Exchanger) Exchange(ctx context.Context, c *Client, r Request) (*Token, error) {
	end := time.Now().Add(exchangeTimeout)
	if deadline, ok := ctx.Deadline(); ok && deadline.Before(end) {
		end = deadline
	}
	attempts := cmp.Or(r.MaxAttempts, maxAttempts)
	for attempt := 1; ; attempt++ {
		token, failure := x.attempt(ctx, c, r, end)
		if failure == nil {
			x.budget.refill(c.endpoint.Host)
			return token, nil
		}
		if attempt == attempts || !failure.retriable(attempt) || !x.backoff(ctx, c.endpoint.Host, attempt, failure, end) {
			return nil, failure
		}
		if r.Permit != nil && !permitted(ctx, r.Permit, end) {
			return nil, failure
		}
	}
}

// permitted asks for a permit for an attempt that ends at end. It returns false if there is none
// in time.
func permitted(ctx context.Context, permit func(context.Context) bool, end time.Time) bool {
	ctx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	return permit(ctx) && time.Until(end) >= minAttemptTime
}

// backoff waits before the next attempt. It returns false if there is none before end.
func (x *Exchanger) backoff(ctx context.Context, host string, attempt int, failure *Error, end time.Time) bool {
	if failure.RetryAfter > maxBackoff {
		return false // for all callers, so that none of them waits it out
	}
	bound := min(maxBackoff, firstBackoff<<attempt)
	wait := max(failure.RetryAfter, time.Duration(x.rand()*float64(bound)))
	if time.Until(end) < wait+minAttemptTime {
		return false
	}
	if !x.budget.take(host, x.now()) {
		return false
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// AttemptTimeout returns how long one attempt of an exchange takes at most.
func (c *Client) AttemptTimeout() time.Duration {
	return cmp.Or(c.dialect.AttemptTimeout, attemptTimeout)
}

// attempt sends one request to the token endpoint. It returns by end.
func (x *Exchanger) attempt(ctx context.Context, c *Client, r Request, end time.Time) (*Token, *Error) {
	if last := time.Now().Add(c.AttemptTimeout()); last.Before(end) {
		end = last
	}
	ctx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	ctx, trace := traceAttempt(ctx, c.mutualTLS)
	form, header := c.form(r), x.header(r)
	c.dialect.addHeaders(header)
	if err := c.auth.Authenticate(ctx, form, header); err != nil {
		return nil, noProof(err)
	}
	// Without GetBody, net/http cannot send the body again on another connection. An
	// assertion must be used only once.
	body := c.dialect.encode(form)
	req := (&http.Request{Method: http.MethodPost, URL: c.endpoint, Header: header, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body))}).WithContext(ctx)
	// The token's lifetime starts before the request, on the local clock.
	s := sent{start: x.now(), url: c.url, form: form, header: header, credentials: sentCredentials(form, header), proven: r.Proven, assume: c.dialect.AssumeLifetime}
	s.credentials = append(s.credentials, c.dialect.secrets()...)
	resp, err := c.connection.roundTrip(s.start, req)
	if err != nil {
		failure := trace.transportError(err)
		failure.proven = r.Proven
		if failure.dropped {
			c.explainDrop(ctx, failure)
		}
		return nil, failure
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode < http.StatusOK {
		return nil, protocolSwitched()
	}
	return readResponse(resp, s)
}

// form returns the body of RFC 6749 section 4.4.2. It contains client_id, which SAP Cloud
// Identity Services requires with every authentication method, RFC 8705 section 2 requires
// with a certificate, and RFC 6749 section 3.2.1 allows, unless Dialect.OmitClientID is set.
func (c *Client) form(r Request) url.Values {
	form := url.Values{}
	for name, value := range r.Parameters {
		form.Set(name, value)
	}
	form.Set("grant_type", cmp.Or(c.dialect.GrantType, "client_credentials"))
	if !c.dialect.OmitClientID {
		form.Set("client_id", c.id)
	}
	for _, p := range [...]struct{ name, value string }{
		{"scope", strings.Join(r.Scope, " ")}, {"audience", r.Audience}, {"token_format", r.TokenFormat}, {"app_tid", r.AppTID},
	} {
		if p.value != "" {
			form.Set(p.name, p.value)
		}
	}
	if len(r.Resource) > 0 {
		form["resource"] = r.Resource
	}
	return form
}

// ChoosesGrant reports whether a form parameter is a credential, or selects the grant or
// the subject of the token (RFC 6749, 7521, 7636, 8693). A request must not contain such a
// parameter except those that the exchange sends itself. The comparison ignores case,
// because some servers do.
func ChoosesGrant(parameter string) bool {
	switch strings.ToLower(parameter) {
	case "grant_type", "client_id", "client_secret", "client_assertion", "client_assertion_type", "assertion",
		"username", "password", "code", "code_verifier", "redirect_uri", "refresh_token",
		"subject_token", "subject_token_type", "actor_token", "actor_token_type":
		return true
	}
	return false
}

func (x *Exchanger) header(r Request) http.Header {
	header := http.Header{
		"Accept":       {"application/json"},
		"Content-Type": {"application/x-www-form-urlencoded"},
		"User-Agent":   {x.userAgent},
	}
	if r.CorrelationID != "" {
		header.Set("X-CorrelationID", r.CorrelationID)
	}
	return header
}

func noProof(err error) *Error {
	e := &Error{Reason: NoProof, temporary: errors.Is(err, ErrTemporary), Detail: err.Error()}
	// A temporary error says itself which service did not answer in time.
	if !e.temporary && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)) {
		e.Reason, e.Detail = TimedOut, ""
	}
	return e
}
