package oauth

import (
	"bytes"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"tokenvendor/shared/strictjson"
)

// maxBody is how much of an answer is read, decompressed; more is an error.
const maxBody = 1 << 20

// MaxRetryAfter bounds the pause that a server may ask for.
const MaxRetryAfter = 5 * time.Minute

func answerLimits() strictjson.Limits { return strictjson.Limits{Depth: 32, Members: 1000} }

// readResponse turns an answer into a token or an error. start is when the
// request began; sent are the proofs that the server may echo.
func readResponse(resp *http.Response, start time.Time, sent []string) (*Token, *Error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	failure := &Error{Status: resp.StatusCode, CorrelationID: correlationID(resp.Header, sent)}
	switch {
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		failure.Reason = Redirected
	case resp.StatusCode < 200 || resp.StatusCode >= 400:
		// A body that breaks off doesn't change what the status says.
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
	// A server may end its answer properly when it sees that we gave up.
	if failure.Reason == Unusable && resp.Request.Context().Err() != nil {
		failure.Reason, failure.Detail = TimedOut, ""
	}
	return nil, failure
}

// refused reads an error answer (RFC 6749 section 5.2). The body may as well be
// HTML (XSUAA's proxy at 429, SAP's landscape at 404), empty or huge.
func (e *Error) refused(header http.Header, body []byte, start time.Time, sent []string) {
	e.Reason = Refused
	if e.Status == 429 || e.Status == 503 {
		e.RetryAfter = retryAfter(header.Get("Retry-After"), start)
	}
	e.readError(body, sent)
	if e.FailedLogon() {
		// Here a description is about the credential; SAP's says nothing more
		// than the code does.
		e.Description = ""
		if date, err := http.ParseTime(header.Get("Date")); err == nil {
			e.ClockSkew = date.Sub(start)
		}
	}
}

// readError reads error and error_description. A body that isn't the JSON that it
// should be (a byte order mark, another encoding, a stray brace, a member twice, cut
// off) may still say that the credential is refused, which must not be missed: the
// next four times lock the client.
func (e *Error) readError(body []byte, sent []string) {
	members, err := strictjson.Object(bytes.TrimPrefix(body, []byte(byteOrderMark)), answerLimits())
	if err != nil {
		if bytes.Contains(body, []byte("invalid_client")) {
			e.Code = "invalid_client"
		}
		return
	}
	// SAP's administration API has an object under "error"; that is no code.
	code, _ := strictjson.String(members["error"])
	e.Code = errorCode(code, sent)
	description, _ := strictjson.String(members["error_description"])
	e.Description = Printable(redactEcho(description, sent))
}

// errorCode returns code if it is a name and not one of the proofs that were sent. It
// is logged, and RFC 6749 section 5.2 has room for any sentence or ARN.
func errorCode(code string, sent []string) string {
	switch code {
	case "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type",
		"invalid_scope", "invalid_target", "unauthorized":
		return code // whatever the secret looks like
	}
	if len(code) > 64 || strings.ContainsFunc(code, notCodeByte) || redactEcho(code, sent) != code {
		return ""
	}
	return code
}

func notCodeByte(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("_.-", r)
}

// notNQSCHAR is true outside %x20-21 / %x23-5B / %x5D-7E (RFC 6749 appendix A).
func notNQSCHAR(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }

// Printable returns text as an error_description may hold it (RFC 6749 section
// 5.2): printable ASCII without quotation mark and backslash, at most 200
// characters. Everything else becomes "?".
func Printable(text string) string {
	const most = 200
	var b strings.Builder
	for _, r := range text {
		if b.Len() == most {
			break
		}
		if notNQSCHAR(r) {
			r = '?'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// retryAfter reads the header of RFC 9110 section 10.2.3, seconds or a date.
// What makes no sense counts as absent.
func retryAfter(value string, now time.Time) time.Duration {
	if value == "" {
		return 0
	}
	if len(value) <= 10 && strings.Trim(value, "0123456789") == "" {
		seconds, _ := strconv.Atoi(value)
		return time.Duration(min(seconds, int(MaxRetryAfter/time.Second))) * time.Second
	}
	date, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(date.Sub(now), 0), MaxRetryAfter)
}

// correlationID returns the id under which the server logged the request, unless it
// echoes what was sent, or the token.
func correlationID(header http.Header, secrets []string) string {
	for _, name := range []string{"X-Ids-Id", "X-Vcap-Request-Id", "X-Correlationid"} {
		id := header.Get(name)
		if id != "" && len(id) <= 64 && strings.Trim(id, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_.") == "" &&
			redactEcho(id, secrets) == id {
			return id
		}
	}
	return ""
}

// proofs lists the texts by which an attempt proved the client, so that an
// answer that echoes one is recognised.
func proofs(form url.Values, header http.Header) []string {
	var sent []string
	for _, proof := range []string{form.Get("client_secret"), form.Get("client_assertion")} {
		if proof != "" {
			sent = append(sent, proof, url.QueryEscape(proof), base64.StdEncoding.EncodeToString([]byte(proof)))
		}
	}
	if _, basic, ok := strings.Cut(header.Get("Authorization"), " "); ok {
		sent = append(sent, basic)
		sent = append(sent, basicSecrets(basic)...)
	}
	return sent
}
