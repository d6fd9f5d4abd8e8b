package oauth

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"tokenvendor/shared/strictjson"
)

const (
	// maxBody is the largest accepted answer in bytes, after decompression.
	maxBody = 1 << 20
	// maxToken is the largest accepted access token in bytes.
	maxToken = 64 << 10
	// maxLifetime limits expires_in.
	maxLifetime = 24 * time.Hour

	byteOrderMark = "\ufeff"
)

// Token is an access token as the server issued it (RFC 6749 section 5.1). It is immutable
// and safe for concurrent use.
type Token struct {
	access  Secret
	members Secret // JSON of the members for callers, without the closing brace
	scope   string
	// expiry is on the wall clock; zero: the server did not send expires_in.
	expiry        time.Time
	issued        time.Time
	bound         bool
	correlationID string
}

// AccessToken returns the access token.
func (t *Token) AccessToken() Secret { return t.access }

// Scope returns the scope member of the answer. Empty means the requested scope (RFC 6749
// section 5.1).
func (t *Token) Scope() string { return t.scope }

// Expiry returns when the token expires, counted from the start of the request. Zero: the
// server did not send expires_in, so that the token must not be cached.
func (t *Token) Expiry() time.Time { return t.expiry }

// Issued returns when the request for the token started.
func (t *Token) Issued() time.Time { return t.issued }

// CertificateBound reports whether the token is a JWT that is bound to the client's
// certificate (cnf with x5t#S256, RFC 8705 section 3). SAP Cloud Identity Services binds
// every token that it issues over mutual TLS. It is false for an opaque token, whose
// binding is not visible.
func (t *Token) CertificateBound() bool { return t.bound }

// CorrelationID identifies the exchange in the server's log; it may be empty.
func (t *Token) CorrelationID() string { return t.correlationID }

// Size returns the approximate size of the token in memory, in bytes.
func (t *Token) Size() int { return len(t.access.Expose()) + len(t.members.Expose()) + 256 }

// AppendJSON appends the token as JSON: the server's members and, if Expiry is not zero,
// expires_in as the seconds left at now and expires_at in Unix seconds. expires_in is at
// least 1, because x/oauth2 reads 0 as "never expires". It is at most the token's lifetime,
// also if the clock was set back since the token was issued.
func (t *Token) AppendJSON(dst []byte, now time.Time) []byte {
	dst = append(dst, t.members.Expose()...)
	if !t.expiry.IsZero() {
		left := min(t.expiry.Sub(now), t.expiry.Sub(t.issued))
		dst = append(dst, `,"expires_in":`...)
		dst = strconv.AppendInt(dst, max(1, int64(left/time.Second)), 10)
		dst = append(dst, `,"expires_at":`...)
		dst = strconv.AppendInt(dst, now.Add(left).Unix(), 10)
	}
	return append(dst, '}')
}

func answerLimits() strictjson.Limits { return strictjson.Limits{Depth: 32, Members: 1000} }

// readObject reads an answer of the token endpoint.
func readObject(body []byte) (map[string]json.RawMessage, error) {
	// RFC 8259 section 8.1 allows a reader to ignore a byte order mark.
	return strictjson.Object(bytes.TrimPrefix(body, []byte(byteOrderMark)), answerLimits())
}

// problemOf says why readObject refuses an answer. It does not name a duplicate member, because
// servers are known to repeat what was sent.
func problemOf(err error, body []byte) string {
	if errors.Is(err, strictjson.ErrSyntax) {
		return strictjson.Problem(err, bytes.TrimPrefix(body, []byte(byteOrderMark)))
	}
	return "has a member twice, is nested too deeply or has too many members"
}

// parseToken reads a success answer. detail says why the answer contains no usable token,
// without repeating any of it; empty: t is valid. The media type is ignored, because
// servers are known to send valid JSON as text/html.
func parseToken(body []byte, start time.Time) (t *Token, detail string) {
	if len(body) == 0 {
		return nil, "the answer is empty"
	}
	members, err := readObject(body)
	if err != nil {
		return nil, "the answer " + problemOf(err, body)
	}
	if detail := checkMembers(members); detail != "" {
		return nil, detail
	}
	expiry, detail := parseExpiry(members["expires_in"], start)
	if detail != "" {
		return nil, detail
	}
	access, _ := strictjson.String(members["access_token"])
	scope, _ := strictjson.String(members["scope"])
	return &Token{
		access: NewSecret(access), members: NewSecret(encodeMembers(members)), scope: scope,
		expiry: expiry, issued: start, bound: certificateBound(access),
	}, ""
}

// checkMembers returns what is wrong with the members of a success answer; empty: nothing.
func checkMembers(members map[string]json.RawMessage) (detail string) {
	given := func(name string) bool { return members[name] != nil && string(members[name]) != "null" }
	access, ok := strictjson.String(members["access_token"])
	switch {
	case given("error"):
		return "the answer has an error beside status 200"
	case !ok || access == "" || len(access) > maxToken || strings.ContainsFunc(access, notTokenByte):
		return "access_token is missing, too large or holds characters that no header can carry"
	case members["token_type"] != nil && !isBearer(members["token_type"]):
		return "token_type is not Bearer"
	}
	if scope, ok := strictjson.String(members["scope"]); given("scope") && (!ok || strings.ContainsFunc(scope, notNQSCHAR)) {
		return "scope is not a valid scope"
	}
	return ""
}

func notTokenByte(r rune) bool { return r <= ' ' || r > '~' }

// isBearer ignores case: SAP Cloud Identity Services sends "Bearer", XSUAA "bearer".
func isBearer(raw json.RawMessage) bool {
	kind, ok := strictjson.String(raw)
	return ok && strings.EqualFold(kind, "bearer")
}

// parseExpiry parses expires_in, which is in seconds and which some servers send as a
// string. Zero: the server did not send it.
func parseExpiry(raw json.RawMessage, start time.Time) (expiry time.Time, detail string) {
	text := string(raw)
	if s, ok := strictjson.String(raw); ok {
		text = s
	}
	if text == "" || text == "null" {
		return time.Time{}, ""
	}
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil && !math.IsInf(seconds, 0) || math.IsNaN(seconds) {
		return time.Time{}, "expires_in is not a number"
	}
	// Compared as a float, because a large number of seconds overflows a Duration.
	seconds = min(seconds, maxLifetime.Seconds())
	if seconds < 1 {
		// expires_in is a whole number for callers, and 0 would mean "never expires".
		return time.Time{}, "the token is already expired"
	}
	return start.Add(time.Duration(seconds * float64(time.Second))), ""
}

// encodeMembers encodes the members for callers, access_token first. It drops
// refresh_token and id_token, which only the client may use.
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

// certificateBound looks for cnf in the claims if the token is a JWT. It reads no other
// claim and does not verify the token, which is meant for the resource server.
func certificateBound(access string) bool {
	_, afterHeader, ok := strings.Cut(access, ".")
	payload, _, ok2 := strings.Cut(afterHeader, ".")
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

// tokenRecord is the form in which environments share a token.
type tokenRecord struct {
	Access        string    `json:"access"`
	Members       string    `json:"members"`
	Scope         string    `json:"scope,omitempty"`
	Expiry        time.Time `json:"expiry,omitzero"`
	Issued        time.Time `json:"issued"`
	Bound         bool      `json:"bound,omitempty"`
	CorrelationID string    `json:"correlation,omitempty"`
}

// Record encodes the token for [ReadRecord] in another process. The record contains the
// access token, so the caller must encrypt it.
func (t *Token) Record() []byte {
	record, err := json.Marshal(tokenRecord{t.access.Expose(), t.members.Expose(), t.scope, t.expiry, t.issued, t.bound, t.correlationID})
	if err != nil {
		panic("internal error: impossible: " + err.Error())
	}
	return record
}

// ReadRecord decodes the result of [Token.Record]. The caller must have verified the
// record's origin. The error does not repeat any of it.
func ReadRecord(record []byte) (*Token, error) {
	var r tokenRecord
	if json.Unmarshal(record, &r) != nil || r.Access == "" || r.Members == "" || r.Issued.IsZero() {
		return nil, errors.New("not the record of a token")
	}
	return &Token{NewSecret(r.Access), NewSecret(r.Members), r.Scope, r.Expiry, r.Issued, r.Bound, r.CorrelationID}, nil
}
