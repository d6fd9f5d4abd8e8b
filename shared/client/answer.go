package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"tokenvendor/shared/cache"
)

// Token is an access token with its times. Only [Token.AccessToken], [Token.OAuth2] and
// [Token.JSON] show it; formatted, it is [redacted]. It is immutable.
type Token struct {
	accessToken, tokenType, scope string
	// expiry and refresh are zero if the vendor named none.
	received, expiry, refresh time.Time
	// minTTL is that of the request that brought the token.
	minTTL      time.Duration
	fingerprint string
	// reported is when the token was reported as rejected without another one.
	reported time.Time
	// members are the vendor's answer.
	members map[string]json.RawMessage
}

// AccessToken returns the token for the header Authorization.
func (t *Token) AccessToken() string { return t.accessToken }

// Type returns the token's type, for example Bearer.
func (t *Token) Type() string { return t.tokenType }

// Scope returns what the authorization server granted; empty: it did not say.
func (t *Token) Scope() string { return t.scope }

// Expiry returns the token's end; zero: it is not known.
func (t *Token) Expiry() time.Time { return t.expiry }

// Refresh returns when the token should be asked for again; zero: at once, because its life is
// not known.
func (t *Token) Refresh() time.Time { return t.refresh }

// Fingerprint returns the SHA-256 of the token in lower-case hex, by which the vendor's log
// names it.
func (t *Token) Fingerprint() string { return t.fingerprint }

// OAuth2 returns the token for x/oauth2. Extra returns the other members of the vendor's answer.
func (t *Token) OAuth2() *oauth2.Token {
	extra := make(map[string]any, len(t.members))
	for name, raw := range t.members {
		var value any
		if json.Unmarshal(raw, &value) == nil {
			extra[name] = value
		}
	}
	token := &oauth2.Token{AccessToken: t.accessToken, TokenType: t.tokenType, Expiry: t.expiry}
	return token.WithExtra(extra)
}

// JSON returns the token response of RFC 6749 section 5.1 at the time now, with refresh_after
// and the other members of the vendor's answer.
func (t *Token) JSON(now time.Time) []byte {
	members := make(map[string]any, len(t.members))
	for name, raw := range t.members {
		members[name] = raw
	}
	if !t.expiry.IsZero() {
		members["expires_in"] = int64(max(0, t.expiry.Sub(now)) / time.Second)
		members["refresh_after"] = int64(max(time.Second, t.refresh.Sub(now)) / time.Second)
	}
	text, err := json.Marshal(members)
	if err != nil {
		panic("internal error: impossible: " + err.Error())
	}
	return text
}

// Format implements [fmt.Formatter]: no verb shows the token.
func (t *Token) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[redacted]") }

// LogValue implements [slog.LogValuer].
func (t *Token) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// MarshalJSON returns a string that does not show the token.
func (t *Token) MarshalJSON() ([]byte, error) { return []byte(`"[redacted]"`), nil }

func (t *Token) size() int {
	n := 512 + len(t.accessToken)
	for name, raw := range t.members {
		n += len(name) + len(raw)
	}
	return n
}

func (t *Token) entry() cache.Entry[*Token] {
	if t.expiry.IsZero() {
		return cache.Entry[*Token]{Value: t} // it is not kept
	}
	end := t.expiry.Add(-min(endMargin, t.expiry.Sub(t.received)/2))
	if t.refresh.After(end) {
		t.refresh = end
	}
	return cache.Entry[*Token]{Value: t, Refresh: t.refresh, Expire: end}
}

// readToken reads an answer of the vendor; asked is when the request was sent.
func readToken(body []byte, asked time.Time) (*Token, bool) {
	var answer struct {
		AccessToken  string   `json:"access_token"`
		TokenType    string   `json:"token_type"`
		Scope        string   `json:"scope"`
		ExpiresIn    *float64 `json:"expires_in"`
		RefreshAfter *float64 `json:"refresh_after"`
	}
	t := &Token{received: asked}
	if json.Unmarshal(body, &answer) != nil || json.Unmarshal(body, &t.members) != nil || answer.AccessToken == "" {
		return nil, false
	}
	t.accessToken, t.tokenType, t.scope = answer.AccessToken, answer.TokenType, answer.Scope
	if t.tokenType == "" {
		t.tokenType = "Bearer"
	}
	sum := sha256.Sum256([]byte(t.accessToken))
	t.fingerprint = hex.EncodeToString(sum[:])
	if life, ok := seconds(answer.ExpiresIn); ok {
		t.expiry = asked.Add(life)
		t.refresh = t.expiry
		if refresh, ok := seconds(answer.RefreshAfter); ok && refresh < life {
			t.refresh = asked.Add(refresh)
		}
	}
	return t, true
}

// seconds converts a number of seconds of up to a year.
func seconds(n *float64) (time.Duration, bool) {
	const year = 365 * 24 * 60 * 60
	if n == nil || !(*n > 0 && *n <= year) {
		return 0, false
	}
	return time.Duration(*n * float64(time.Second)), true
}

// Error is a request that brought no token. It holds no token and no ARN.
type Error struct {
	// Status is that of the HTTP answer; zero: there was none.
	Status int
	// Code is the code of RFC 6749 section 5.2 and of the vendor, such as access_denied; empty:
	// the answer is not the vendor's own.
	Code string
	// Description is for people.
	Description string
	// RequestID names the request in the vendor's log; empty: it is not known.
	RequestID string
	// RetryAfter is how long to wait before another try; zero: that is not known.
	RetryAfter time.Duration
}

// Error implements error.
func (e *Error) Error() string {
	text := "token vendor: "
	if e.Code != "" {
		text += e.Code + ": "
	}
	text += e.Description
	if e.Status != 0 {
		text += fmt.Sprintf(" (status %d", e.Status)
		if e.RequestID != "" {
			text += ", request " + e.RequestID
		}
		text += ")"
	}
	return text
}

// Temporary reports whether a later request may succeed without a change.
func (e *Error) Temporary() bool {
	switch e.Status {
	case 0:
		return e.Code != "no_credentials"
	case http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	case http.StatusInternalServerError, http.StatusBadGateway:
		return e.Code == "" // API Gateway's own
	}
	return false
}

// isOutage reports whether another URL may do better.
func isOutage(err error) bool {
	var failure *Error
	return errors.As(err, &failure) && (failure.Status == 0 || failure.Status >= http.StatusInternalServerError)
}

// worse returns the error that says more of two outages: that of the vendor, rather than that of a
// proxy or of a connection. It may be tried again as soon as one of the URLs may.
func worse(a, b error) error {
	var one, other *Error
	if !errors.As(a, &one) || !errors.As(b, &other) {
		return b
	}
	if one.Status < other.Status && one.Status == 0 || one.Code == "" && other.Code != "" && other.Status != 0 {
		one, other = other, one
	}
	own := *one
	own.RetryAfter = min(one.RetryAfter, other.RetryAfter)
	return &own
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

// readError reads an error document of the vendor (RFC 6749 section 5.2), or the message of API
// Gateway or Lambda.
func readError(resp *http.Response, answer []byte) *Error {
	var document struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
		RequestID   string `json:"request_id"`
		Message     string `json:"message"`
	}
	_ = json.Unmarshal(answer, &document)
	e := &Error{Status: resp.StatusCode, Description: gatewayMessage(resp.StatusCode, document.Message), RequestID: document.RequestID}
	if statusOf(document.Error) != 0 {
		e.Code, e.Description = document.Error, document.Description // otherwise a proxy's
	}
	if e.RequestID == "" {
		e.RequestID = resp.Header.Get("X-Amzn-Requestid")
	}
	if n, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && n > 0 {
		e.RetryAfter = time.Duration(min(n, 3600)) * time.Second
	}
	return e
}

// gatewayMessage says what an answer means that is not the vendor's own. The message may repeat the signed request, so that only its beginning decides.
func gatewayMessage(status int, message string) string {
	for _, known := range []struct{ begins, means string }{
		{"Missing Authentication Token", "API Gateway knows no such path, or the request is not signed"},
		{"The security token included in the request is expired", "the AWS credentials have expired"},
		{"The security token included in the request is invalid", "the AWS credentials are not valid"},
		{"Signature expired", "the clock of this machine is wrong, or the request took more than five minutes"},
		{"Signature not yet current", "the clock of this machine is wrong"},
		{"The request signature we calculated does not match", "the signature is wrong: the secret access key is not that of the access key, or a proxy has changed the request"},
		{"User:", "IAM does not allow the call"},
		{"Function not found", "there is no such function or alias"},
	} {
		if strings.HasPrefix(message, known.begins) {
			return known.means
		}
	}
	if status == http.StatusForbidden {
		return "AWS refuses the request: IAM does not allow the call, or the signature is wrong"
	}
	return "AWS or a proxy answered without the vendor"
}

// readFunctionError reads the error of a function that was invoked directly. Its errorType is
// the code of RFC 6749 section 5.2, or the name of a failure of Lambda.
func readFunctionError(resp *http.Response, answer []byte) *Error {
	var document struct {
		Type    string `json:"errorType"`
		Message string `json:"errorMessage"`
	}
	e := &Error{Status: http.StatusBadGateway, Description: "the function failed without an answer", RequestID: resp.Header.Get("X-Amzn-Requestid")}
	if json.Unmarshal(answer, &document) != nil {
		return e
	}
	if e.Status = statusOf(document.Type); e.Status == 0 {
		e.Status = http.StatusBadGateway
		return e
	}
	e.Code, e.Description = document.Type, document.Message
	return e
}

// statusOf returns the status of the vendor's answers with this code; 0: the vendor has no such
// code. That of server_error is also 500.
func statusOf(code string) int {
	switch code {
	case "invalid_request", "unsupported_grant_type", "invalid_scope", "invalid_target":
		return http.StatusBadRequest
	case "access_denied":
		return http.StatusForbidden
	case "server_error":
		return http.StatusBadGateway
	case "temporarily_unavailable":
		return http.StatusServiceUnavailable
	}
	return 0
}
