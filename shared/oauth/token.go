package oauth

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"html"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"tokenvendor/shared/strictjson"
)

const (
	// maxToken is the largest access token that is passed on.
	maxToken = 64 << 10
	// byteOrderMark may precede JSON (RFC 8259 section 8.1).
	byteOrderMark = "\ufeff"
	// maxLife bounds expires_in.
	maxLife = 24 * time.Hour
)

// Token is an access token as the server granted it (RFC 6749 section 5.1). It
// is immutable and safe for concurrent use.
type Token struct {
	access  Secret
	members Secret // the members to pass on, encoded, without the last brace
	scope   string
	// expiry is on the wall clock, zero: the server did not say.
	expiry        time.Time
	issued        time.Time
	bound         bool
	correlationID string
}

// AccessToken returns the access token itself.
func (t *Token) AccessToken() Secret { return t.access }

// Scope returns the scope that the server says it granted; empty: it said
// nothing, which means the scope that was asked for (RFC 6749 section 5.1).
func (t *Token) Scope() string { return t.scope }

// Expiry returns when the token's life ends, counted from before the request;
// zero: the server did not say, so the token must not be kept.
func (t *Token) Expiry() time.Time { return t.expiry }

// Issued returns when the request for the token began.
func (t *Token) Issued() time.Time { return t.issued }

// CertificateBound reports whether the token says of itself that only the
// holder of the client's certificate may use it (cnf with x5t#S256, RFC 8705
// section 3). SAP Cloud Identity Services binds every token that is fetched
// over mutual TLS. Of an opaque token nobody can tell.
func (t *Token) CertificateBound() bool { return t.bound }

// CorrelationID returns what the server's log calls the exchange; may be empty.
func (t *Token) CorrelationID() string { return t.correlationID }

// Size returns about how many bytes the token takes in memory.
func (t *Token) Size() int { return len(t.access.Expose()) + len(t.members.Expose()) + 256 }

// AppendJSON appends the token JSON: the server's members, with expires_in as
// the seconds left at now and expires_at in Unix seconds when the server gave a
// life.
func (t *Token) AppendJSON(dst []byte, now time.Time) []byte {
	dst = append(dst, t.members.Expose()...)
	if !t.expiry.IsZero() {
		left := max(0, t.expiry.Sub(now))
		dst = append(dst, `,"expires_in":`...)
		dst = strconv.AppendInt(dst, int64(left/time.Second), 10)
		dst = append(dst, `,"expires_at":`...)
		dst = strconv.AppendInt(dst, t.expiry.Unix(), 10)
	}
	return append(dst, '}')
}

// parseToken reads a success answer. detail is empty, or says why it is no
// usable token without repeating any of it. The media type is not looked at:
// servers are known to send good JSON as text/html.
func parseToken(body []byte, start time.Time) (t *Token, detail string) {
	if len(body) == 0 {
		return nil, "the answer is empty"
	}
	// RFC 8259 section 8.1 lets a reader ignore a byte order mark.
	members, err := strictjson.Object(bytes.TrimPrefix(body, []byte(byteOrderMark)), answerLimits())
	if err != nil {
		return nil, "the answer is not one JSON object with each member once"
	}
	if raw, ok := members["error"]; ok && string(raw) != "null" {
		return nil, "the answer has an error beside status 200"
	}
	access, ok := strictjson.String(members["access_token"])
	if !ok || access == "" || len(access) > maxToken || strings.ContainsFunc(access, notTokenByte) {
		return nil, "access_token is missing, too large or holds characters that no header can carry"
	}
	if raw, ok := members["token_type"]; ok && !isBearer(raw) {
		return nil, "token_type is not Bearer"
	}
	scope, ok := strictjson.String(members["scope"])
	if raw := members["scope"]; raw != nil && string(raw) != "null" && (!ok || strings.ContainsFunc(scope, notNQSCHAR)) {
		return nil, "scope is not a valid scope"
	}
	t = &Token{access: NewSecret(access), scope: scope, issued: start, bound: certificateBound(access)}
	if detail := t.setExpiry(members["expires_in"]); detail != "" {
		return nil, detail
	}
	t.members = NewSecret(encodeMembers(members))
	return t, ""
}

func notTokenByte(r rune) bool { return r <= ' ' || r > '~' }

// isBearer: SAP Cloud Identity Services writes "Bearer", XSUAA "bearer".
func isBearer(raw json.RawMessage) bool {
	kind, ok := strictjson.String(raw)
	return ok && strings.EqualFold(kind, "bearer")
}

// setExpiry reads expires_in, in seconds. Some servers send it as a string.
func (t *Token) setExpiry(raw json.RawMessage) (detail string) {
	text := string(raw)
	if s, ok := strictjson.String(raw); ok {
		text = s
	}
	if text == "" || text == "null" {
		return ""
	}
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil && !math.IsInf(seconds, 0) || math.IsNaN(seconds) {
		return "expires_in is not a number"
	}
	// Compared as float: 3.6e18 s would overflow a Duration silently.
	seconds = min(seconds, maxLife.Seconds())
	if seconds <= 0 {
		return "the token is already expired"
	}
	t.expiry = t.issued.Add(time.Duration(seconds * float64(time.Second)))
	return ""
}

// encodeMembers writes what callers get, access_token first. A refresh token is
// not theirs to use, nor is an id_token of this client.
func encodeMembers(members map[string]json.RawMessage) string {
	names := []string{"access_token", "token_type"}
	var others []string
	for name := range members {
		switch name {
		case "access_token", "token_type", "expires_in", "expires_at", "refresh_token", "id_token":
		default:
			others = append(others, name)
		}
	}
	slices.Sort(others)
	var b strings.Builder
	for _, name := range append(names, others...) {
		if raw, ok := members[name]; ok {
			separator := ","
			if b.Len() == 0 {
				separator = "{"
			}
			quoted, _ := json.Marshal(name)
			b.WriteString(separator)
			b.Write(quoted)
			b.WriteByte(':')
			b.Write(raw)
		}
	}
	return b.String()
}

// certificateBound looks for cnf in the claims, if the token is a JWT. Nothing
// else in the token is read, and nothing is verified: it is the resource
// server's.
func certificateBound(access string) bool {
	_, rest, ok := strings.Cut(access, ".")
	payload, _, ok2 := strings.Cut(rest, ".")
	if !ok || !ok2 {
		return false
	}
	claims, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return false
	}
	var c struct {
		Confirmation struct {
			Thumbprint string `json:"x5t#S256"`
		} `json:"cnf"`
	}
	return json.Unmarshal(claims, &c) == nil && c.Confirmation.Thumbprint != ""
}

// basicSecrets returns what stands after the colon of Basic credentials, as
// sent and form-decoded.
func basicSecrets(basic string) []string {
	text, err := base64.StdEncoding.DecodeString(basic)
	_, secret, ok := strings.Cut(string(text), ":")
	if err != nil || !ok {
		return nil
	}
	secrets := []string{secret}
	if decoded, err := url.QueryUnescape(secret); err == nil {
		secrets = append(secrets, decoded)
	}
	return secrets
}

// unescape undoes what escapes of a URL there are, among others that are none.
func unescape(text string) string {
	b := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c == '+' {
			c = ' '
		}
		if c == '%' && i+2 < len(text) {
			if n, err := strconv.ParseUint(text[i+1:i+3], 16, 8); err == nil {
				c = byte(n)
				i += 2
			}
		}
		b = append(b, c)
	}
	return string(b)
}

// redactEcho hides a text of the server that holds a piece of one of our
// proofs, as it was sent or escaped for a URL: servers are known to quote what
// they did not like.
func redactEcho(text string, sent []string) string {
	const piece = 8 // bytes that no text shares with a secret by chance
	text = text[:min(len(text), 4<<10)]
	unescaped := unescape(text)
	entities := html.UnescapeString(text)
	for _, proof := range sent {
		for i := 0; i == 0 || i+piece <= len(proof); i++ {
			part := proof[i:min(i+piece, len(proof))]
			if part != "" && (strings.Contains(text, part) || strings.Contains(unescaped, part) || strings.Contains(entities, part)) {
				return redacted
			}
		}
	}
	return text
}
