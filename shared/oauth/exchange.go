package oauth

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"tokenvendor/shared/ask"
)

const (
	// attemptTimeout bounds one attempt from dialling to the last byte.
	attemptTimeout = 5 * time.Second
	// exchangeTimeout bounds an exchange with its retries and pauses.
	exchangeTimeout = 12 * time.Second
	// lastStart is the least time that an attempt must have left to be begun.
	lastStart   = 500 * time.Millisecond
	maxAttempts = 3

	defaultUserAgent = "token-vendor"

	firstPause = 100 * time.Millisecond
	longPause  = 2 * time.Second
)

// Request is one exchange's request. The zero value asks for the client's defaults at
// the server.
type Request struct {
	// Ask holds the parameters. Its Parameters cannot replace those that the exchange
	// itself sends.
	ask.Ask
	// MaxAttempts bounds the attempts; zero: three.
	MaxAttempts int
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

// Exchanger performs exchanges. It is safe for concurrent use; a process needs
// one, because it holds the budget of retries per authorization server.
type Exchanger struct {
	userAgent string
	now       func() time.Time
	rand      func() float64
	budget    retryBudget
}

// NewExchanger returns an Exchanger.
func NewExchanger(cfg ExchangerConfig) *Exchanger {
	x := &Exchanger{userAgent: cfg.UserAgent, now: wallClock(cfg.Now), rand: cfg.Rand}
	if x.userAgent == "" {
		x.userAgent = defaultUserAgent
	}
	if x.rand == nil {
		x.rand = rand.Float64
	}
	return x
}

// Exchange trades the client's proof for an access token (RFC 6749 section
// 4.4). It takes at most 12 seconds, or until ctx is done. Only answers 429,
// 502, 503 and 504 and connections that failed before an answer are tried again,
// twice at most; each attempt has a proof of its own. The error is an [*Error].
func (x *Exchanger) Exchange(ctx context.Context, c *Client, r Request) (*Token, error) {
	ctx, cancel := context.WithTimeout(ctx, exchangeTimeout)
	defer cancel()
	attempts := r.MaxAttempts
	if attempts == 0 {
		attempts = maxAttempts
	}
	for attempt := 1; ; attempt++ {
		token, failure := x.attempt(ctx, c, r)
		if failure == nil {
			x.budget.refill(c.endpoint.Host)
			return token, nil
		}
		if attempt == attempts || !failure.retriable() || !x.pause(ctx, c.endpoint.Host, attempt, failure) {
			return nil, failure
		}
	}
}

// pause waits before the next attempt; false means that there is none.
func (x *Exchanger) pause(ctx context.Context, host string, attempt int, failure *Error) bool {
	bound := min(longPause, firstPause<<attempt)
	wait := max(failure.RetryAfter, time.Duration(x.rand()*float64(bound)))
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < wait+lastStart {
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

// attempt is one call of the token endpoint.
func (x *Exchanger) attempt(ctx context.Context, c *Client, r Request) (*Token, *Error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	ctx, seen := watch(ctx)
	form, header := c.form(r), x.header(r)
	if err := c.auth.Authenticate(ctx, form, header); err != nil {
		return nil, noProof(err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, &Error{Reason: NoProof, Detail: "the request could not be built"}
	}
	req.Header = header
	// net/http must not send the body again by itself on a connection that
	// died: an assertion may be used once only.
	req.GetBody = nil
	// The life of a token is counted from before the request, on our clock.
	start := x.now()
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.transportError(err, seen)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode < http.StatusOK {
		return nil, switched()
	}
	return readResponse(resp, start, proofs(form, header))
}

// form builds the body of RFC 6749 section 4.4.2. client_id is always in it:
// SAP Cloud Identity Services asks for it beside every kind of proof, RFC 8705
// section 2 beside a certificate, and RFC 6749 section 3.2.1 allows it.
func (c *Client) form(r Request) url.Values {
	form := url.Values{}
	for name, value := range r.Parameters {
		form.Set(name, value)
	}
	form.Set("grant_type", "client_credentials")
	form.Set("client_id", c.id)
	for name, value := range map[string]string{
		"scope": strings.Join(r.Scope, " "), "audience": r.Audience, "token_format": r.TokenFormat, "app_tid": r.AppTID,
	} {
		if value != "" {
			form.Set(name, value)
		}
	}
	if len(r.Resource) > 0 {
		form["resource"] = r.Resource
	}
	return form
}

// ChoosesGrant reports whether a form parameter is a credential, or chooses the
// grant or whose token it is (RFC 6749, 7521, 7636, 8693): no request may set one
// beside those that the exchange itself sends. The case of letters makes no
// difference: servers differ in whether it does.
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
	// What is temporary says itself whose time was over.
	if !e.temporary && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)) {
		e.Reason, e.Detail = TimedOut, ""
	}
	return e
}
