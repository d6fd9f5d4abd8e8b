package oauth

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"tokenvendor/shared/strictjson"
)

// MaxRetryAfter is the longest pause that a server may ask for; a longer one is cut.
const MaxRetryAfter = 5 * time.Minute

// readResponse returns the token or the error of an answer. start is when the request
// began. sent are the credentials that the answer may repeat.
func readResponse(resp *http.Response, start time.Time, sent []string) (*Token, *Error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	failure := &Error{Status: resp.StatusCode, CorrelationID: correlationID(resp.Header, sent)}
	switch {
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		failure.Reason = Redirected
	case resp.StatusCode < 200 || resp.StatusCode >= 400:
		// The status is valid even if the body broke off.
		failure.refused(resp.Header, body, start, sent)
	case err != nil:
		failure.Reason, failure.Detail = Unusable, "the answer broke off"
	case len(body) > maxBody:
		failure.Reason, failure.Detail = Unusable, "the answer is larger than 1 MiB"
	default:
		token, detail := parseToken(body, start)
		if detail == "" {
			token.correlationID = correlationID(resp.Header, append(sent, token.access.Expose()))
			return token, nil
		}
		failure.Reason, failure.Detail = Unusable, detail
		failure.readError(body, sent)
		failure.Description = ""
	}
	// A server may end its answer properly when the client gives up.
	if failure.Reason == Unusable && resp.Request.Context().Err() != nil {
		failure.Reason, failure.Detail = TimedOut, ""
	}
	return nil, failure
}

// refused reads an error answer (RFC 6749 section 5.2). The body may also be HTML (XSUAA's
// proxy at 429, SAP's landscape at 404), empty or huge.
func (e *Error) refused(header http.Header, body []byte, start time.Time, sent []string) {
	e.Reason = Refused
	if e.Status == 429 || e.Status == 503 {
		e.RetryAfter = retryAfter(header.Get("Retry-After"), start)
	}
	e.readError(body, sent)
	if e.FailedLogon() {
		// The description of a failed logon is about the credential. SAP's repeats only
		// the code.
		e.Description = ""
		if date, err := http.ParseTime(header.Get("Date")); err == nil {
			e.ClockSkew = date.Sub(start)
		}
	}
}

// readError reads error and error_description. A body that is not valid JSON (another
// encoding, a stray brace, a duplicate member, a body that broke off) may still contain
// invalid_client. It must be recognised, because four more failed logons lock the client.
func (e *Error) readError(body []byte, sent []string) {
	members, err := readObject(body)
	if err != nil {
		if bytes.Contains(body, []byte("invalid_client")) {
			e.Code = "invalid_client"
		}
		return
	}
	// In answers of SAP's administration API, error is an object and not a code.
	code, _ := strictjson.String(members["error"])
	e.Code = errorCode(code, sent)
	description, _ := strictjson.String(members["error_description"])
	e.Description = Printable(redactEcho(description, sent))
}

// errorCode returns code if it is an [identifier], else "". The code is logged, and RFC 6749
// section 5.2 would allow any sentence or ARN.
func errorCode(code string, sent []string) string {
	switch code {
	case "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type",
		"invalid_scope", "invalid_target", "unauthorized":
		return code // even if the secret contains it
	}
	return identifier(code, sent)
}

// identifier returns text if it looks like an identifier and does not repeat one of the
// secrets, else "".
func identifier(text string, secrets []string) string {
	const characters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_."
	if len(text) > 64 || strings.Trim(text, characters) != "" || redactEcho(text, secrets) != text {
		return ""
	}
	return text
}

// retryAfter parses the header Retry-After (RFC 9110 section 10.2.3), seconds or a date. An
// invalid value counts as absent.
func retryAfter(value string, now time.Time) time.Duration {
	if len(value) <= 10 && strings.Trim(value, "0123456789") == "" {
		seconds, _ := strconv.Atoi(value)
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
