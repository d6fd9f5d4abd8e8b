package oauth

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"tokenvendor/shared/strictjson"
)

// MaxRetryAfter is the longest pause that a server may ask for; a longer one is cut.
const MaxRetryAfter = 5 * time.Minute

// checkEndpoint is the Detail of an answer that a server gives at another path than its token
// endpoint.
const checkEndpoint = "check token_endpoint, or the issuer or url from which it is made"

// readResponse returns the token or the error of an answer to s.
func readResponse(resp *http.Response, s sent) (*Token, *Error) {
	body, err := readBody(resp)
	failure := &Error{Status: resp.StatusCode, proven: s.proven}
	switch {
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		failure.Reason, failure.Detail = Redirected, checkEndpoint
	case resp.StatusCode < 200 || resp.StatusCode >= 400:
		// The status is valid even if the body broke off.
		failure.refused(resp.Header, body, s)
		failure.unread = err != nil && failure.Code == ""
	case err != nil:
		failure.Reason, failure.Detail = Unusable, "the answer broke off"
	case len(body) > maxBody:
		failure.Reason, failure.Detail = Unusable, "the answer is larger than 1 MiB"
	default:
		token, detail := parseToken(body, s.start)
		token.assume(s.assume)
		if detail == "" {
			token.correlationID = correlationID(resp.Header, append(s.credentials, token.access.Expose()))
			return token, nil
		}
		failure.Reason, failure.Detail = Unusable, detail
		failure.readError(body, s)
		failure.readClock(resp.Header, s)
		failure.Description = ""
	}
	failure.CorrelationID = correlationID(resp.Header, s.credentials)
	// A server may end its answer properly when the client gives up.
	if failure.Reason == Unusable && resp.Request.Context().Err() != nil {
		failure.Reason, failure.Detail = TimedOut, ""
	}
	return nil, failure
}

// readBody reads the body up to one byte more than maxBody. io.ReadAll would copy most bodies three
// times.
func readBody(resp *http.Response) ([]byte, error) {
	const most = 8 << 10 // a server can announce more than it sends
	var body bytes.Buffer
	body.Grow(int(min(max(resp.ContentLength, 0), most)) + bytes.MinRead)
	_, err := body.ReadFrom(io.LimitReader(resp.Body, maxBody+1))
	return body.Bytes(), err
}

// refused reads an error answer (RFC 6749 section 5.2). The body may also be HTML (XSUAA's
// proxy at 429, SAP's landscape at 404), empty or huge.
func (e *Error) refused(header http.Header, body []byte, s sent) {
	e.Reason = Refused
	if e.Status == 404 || e.Status == 405 {
		e.Detail = checkEndpoint
	}
	if e.Status == 429 || e.Status == 503 {
		now, ok := date(header)
		if !ok {
			now = s.start
		}
		e.RetryAfter = retryAfter(header.Get("Retry-After"), now)
	}
	e.readError(body, s)
	if e.FailedLogon() && e.Status != 403 {
		// The description of a failed logon is about the credential. SAP's repeats only
		// the code. That of a 403 says which permission the client lacks.
		e.Description = ""
	}
	e.readClock(header, s)
}

// readClock sets ClockSkew if a wrong clock may be why the server refused the request. A
// 429 is about the number of requests.
func (e *Error) readClock(header http.Header, s sent) {
	if !e.FailedLogon() && (e.Status == 429 || !s.form.Has("client_assertion")) {
		return
	}
	if now, ok := date(header); ok {
		e.ClockSkew = now.Sub(s.start)
	}
}

// date returns the server's clock. An answer from a cache, which has an Age (RFC 9111
// section 5.1), does not contain it.
func date(header http.Header) (now time.Time, ok bool) {
	now, err := http.ParseTime(header.Get("Date"))
	return now, err == nil && header.Get("Age") == ""
}

// readError reads error and error_description. In answers of SAP's administration API,
// error is an object and not a code. An answer without a code may still contain
// invalid_client (a page, another member of a gateway's JSON). It must be recognised,
// because four more failed logons lock the client. It must not be a caller's scope that a
// page repeats.
func (e *Error) readError(body []byte, s sent) {
	const invalidClient = "invalid_client"
	members, err := readAnswer(body, "error", "error_description")
	code, _ := strictjson.String(members["error"])
	if err != nil {
		code = looseCode(body)
	}
	if code == "" && bytes.Contains(body, []byte(invalidClient)) {
		if e.ambiguous = s.contains(invalidClient); !e.ambiguous {
			code = invalidClient
		}
	}
	e.Code = errorCode(code, s.credentials)
	description, _ := strictjson.String(members["error_description"])
	e.Description = Printable(redactEcho(description, s.credentials))
}

// looseCode returns the member error of a body that starts as a JSON object and is not
// valid: another encoding, a stray brace, a duplicate member, a body that broke off.
func looseCode(body []byte) string {
	d := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(body, []byte(byteOrderMark))))
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return ""
	}
	for d.More() {
		name, err := d.Token()
		var value any
		if err != nil || d.Decode(&value) != nil {
			break
		}
		if name == "error" {
			code, _ := value.(string)
			return code
		}
	}
	return ""
}

// errorCode returns code if it is an [identifier], else "". The code is logged, and RFC 6749
// section 5.2 would allow any sentence or ARN.
func errorCode(code string, sent []string) string {
	switch code {
	case "invalid_request", "invalid_client", "invalid_client_id", "invalid_client_secret", "invalid_grant", "unauthorized_client", "unsupported_grant_type",
		"invalid_scope", "invalid_target", "unauthorized":
		return code // even if the secret contains it
	}
	return identifier(code, sent)
}

// identifier returns text if it looks like an identifier and does not repeat one of the
// secrets, else "".
func identifier(text string, secrets []string) string {
	if text == "" || len(text) > 64 || strings.ContainsFunc(text, notIdentifierRune) {
		return ""
	}
	// An identifier has no escapes. To decode it as redactEcho does would be a thirtieth of the work
	// for a new client.
	if slices.ContainsFunc(secrets, func(secret string) bool { return sharePiece(text, secret) }) {
		return ""
	}
	return text
}

func notIdentifierRune(r rune) bool {
	return (r|0x20 < 'a' || r|0x20 > 'z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
}

// retryAfter parses the header Retry-After (RFC 9110 section 10.2.3), seconds or a date. An
// invalid value counts as absent.
func retryAfter(value string, now time.Time) time.Duration {
	if strings.Trim(value, "0123456789") == "" {
		seconds, _ := strconv.Atoi(value) // the largest int if there are too many digits
		return time.Duration(min(seconds, int(MaxRetryAfter/time.Second))) * time.Second
	}
	date, _ := http.ParseTime(value) // the zero time, which is past, for an invalid value
	return min(max(date.Sub(now), 0), MaxRetryAfter)
}

// correlationID returns the identifier of the request in the server's log, unless it
// repeats one of the secrets.
func correlationID(header http.Header, secrets []string) string {
	for _, name := range []string{"X-Ids-Id", "X-Vcap-Request-Id", "X-Correlationid"} {
		if id := identifier(header.Get(name), secrets); id != "" {
			return id
		}
	}
	return ""
}
