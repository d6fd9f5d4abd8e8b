package oauth

import (
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
	// maxLifetime limits expires_in and exp.
	maxLifetime = 24 * time.Hour
	// clockTolerance is by how much exp may contradict expires_in. It counts in whole seconds,
	// from a later moment and on the server's clock.
	clockTolerance = 5 * time.Second

	byteOrderMark = "\ufeff"
)

// Token is an access token as the server issued it (RFC 6749 section 5.1). It is immutable
// and safe for concurrent use.
type Token struct {
	access  Secret
	members Secret // JSON of the members for callers, without the closing brace
	scope   string
	// expiry is on the wall clock; zero: it is not known.
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
// server named no usable lifetime, so that the token must not be cached.
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

// Size returns the size of the token in memory, in bytes.
func (t *Token) Size() int {
	const own = 256 // without texts
	size := own + len(t.members.Expose()) + len(t.scope) + len(t.correlationID)
	if !strings.Contains(t.members.Expose(), t.access.Expose()) {
		size += len(t.access.Expose())
	}
	return size
}

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

// parseToken reads a success answer. detail says why the answer contains no usable token,
// without repeating any of it; empty: t is valid. The media type is ignored, because
// servers are known to send valid JSON as text/html.
func parseToken(body []byte, start time.Time) (t *Token, detail string) {
	if len(body) == 0 {
		return nil, "the answer is empty"
	}
	members, err := readAnswer(body, "access_token", "token_type", "expires_in", "scope", "error")
	if err != nil {
		return nil, "the answer " + problemOf(err, body)
	}
	access, detail := readAccess(members)
	if detail != "" {
		return nil, detail
	}
	scope, ok := readScope(members)
	if !ok {
		return nil, "scope is not a valid scope"
	}
	claims, all := readClaims(access), encodeMembers(members)
	return &Token{
		access: accessIn(all, access), members: NewSecret(all), scope: scope,
		expiry: expiryOf(members["expires_in"], claims.expiry, start), issued: start, bound: claims.bound(),
	}, ""
}

// accessIn returns an access token as a part of the members, which contain it unless it is
// escaped there, so that it is in memory once.
func accessIn(members, access string) Secret {
	if i := strings.Index(members, access); i >= 0 {
		access = members[i : i+len(access)]
	}
	return NewSecret(access)
}

// readAccess returns the access token. It writes it and its type into members as callers get
// them. detail says why there is no usable token; empty: there is one.
func readAccess(members map[string]json.RawMessage) (access, detail string) {
	received, ok := strictjson.String(members["access_token"])
	// A server that prints the token as a line sends the line break with it.
	access = strings.TrimSpace(received)
	switch {
	case hasError(members["error"]):
		return "", "the answer has an error beside status 200"
	case !ok || access == "" || len(access) > maxToken || !isToken(access):
		return "", "access_token is missing, too large or holds characters that no header can carry"
	case !isBearer(members["token_type"]):
		return "", "token_type is not Bearer"
	}
	if access != received {
		members["access_token"] = quoted(access)
	}
	members["token_type"] = json.RawMessage(`"Bearer"`)
	return access, ""
}

// quoted returns text as a JSON string.
func quoted(text string) json.RawMessage { return strictjson.AppendString(nil, []byte(text)) }

// hasError reports whether the member error says that there was one. Servers whose serializer
// writes every member send null (Keycloak), an empty string or false for no error.
func hasError(raw json.RawMessage) bool {
	switch string(raw) {
	case "", "null", `""`, "false":
		return false
	}
	return true
}

// isToken reports whether text is VSCHAR (RFC 6749 appendix A.12) without the space, which no bearer
// token may hold (RFC 6750 section 2.1). Salesforce's tokens hold "!".
func isToken(text string) bool {
	for i := range len(text) {
		if text[i] <= ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}

// isBearer reports whether a token is used as RFC 6750 says. SAP Cloud Identity Services sends
// "Bearer", XSUAA "bearer", Apigee "BearerToken". Some servers leave out token_type, which RFC
// 6749 section 5.1 requires, or have no value for it.
func isBearer(raw json.RawMessage) bool {
	kind, ok := strictjson.String(raw)
	kind = strings.ToLower(kind)
	return len(raw) == 0 || string(raw) == "null" || ok && (kind == "" || kind == "bearer" || kind == "bearertoken")
}

// readScope returns the scope, which Twitch sends as a list. It writes a list into members as
// callers get it.
func readScope(members map[string]json.RawMessage) (scope string, ok bool) {
	raw := members["scope"]
	if len(raw) == 0 || string(raw) == "null" {
		return "", true
	}
	list, ok := strictjson.Strings(raw)
	scope = strings.Join(list, " ")
	if raw[0] == '[' {
		members["scope"] = quoted(scope)
	}
	return scope, ok && !strings.ContainsFunc(scope, notNQSCHAR)
}

// expiryOf returns when a token expires that was requested at start. Zero: that is not known,
// so that the token can be used once and not be kept. named is expires_in: Salesforce sends none,
// servers whose tokens do not expire send 0 or -1, and others send a date. expiry is the claim
// exp, in Unix seconds. The token is not accepted for longer, whatever expires_in says: a server
// may send a token of its cache with the lifetime of a new one.
func expiryOf(named, expiry json.RawMessage, start time.Time) time.Time {
	// expires_in is a whole number for callers, and 0 would mean "never expires".
	const least = 1
	lifetime := number(named)
	if end := number(expiry); end != 0 {
		left := end - float64(start.UnixMilli())/1000
		if lifetime < least || left < lifetime-clockTolerance.Seconds() {
			lifetime = left
		}
	}
	if lifetime < least {
		return time.Time{}
	}
	// Compared as a float, because a large number of seconds overflows a Duration.
	return start.Add(time.Duration(min(lifetime, maxLifetime.Seconds()) * float64(time.Second)))
}

// assume sets the lifetime of a token for which the server names none. A JWT that is expired
// already stays without one.
func (t *Token) assume(lifetime time.Duration) {
	if t == nil || lifetime <= 0 || !t.expiry.IsZero() || number(readClaims(t.access.Expose()).expiry) != 0 {
		return
	}
	t.expiry = t.issued.Add(min(lifetime, maxLifetime))
}

// number returns a number, which some servers send as a string (PayPal, Azure AD v1); 0: it is
// none.
func number(raw json.RawMessage) float64 {
	text := string(raw)
	if s, ok := strictjson.String(raw); ok {
		text = s
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil && !math.IsInf(n, 0) || math.IsNaN(n) {
		return 0
	}
	return n
}

// encodeMembers encodes the members for callers, access_token first. It drops
// refresh_token and id_token, which only the client may use, and the members of an error, which
// are empty.
func encodeMembers(members map[string]json.RawMessage) string {
	names := []string{"access_token", "token_type"}
	var others []string
	for name := range members {
		switch name {
		case "access_token", "token_type", "expires_in", "expires_at", "refresh_token", "id_token", "error", "error_description", "error_uri":
		default:
			others = append(others, name)
		}
	}
	slices.Sort(others)
	size := 0
	for name, raw := range members {
		size += len(`,"":`) + len(name) + len(raw)
	}
	b := make([]byte, 0, size)
	for _, name := range append(names, others...) {
		if raw, ok := members[name]; ok {
			separator := byte(',')
			if len(b) == 0 {
				separator = '{'
			}
			b = strictjson.AppendString(append(b, separator), []byte(name))
			b = append(append(b, ':'), raw...)
		}
	}
	return string(b) // without the room that was left
}

// claims are those of a JWT that decide how the vendor treats it.
type claims struct{ confirmation, expiry json.RawMessage }

// readClaims returns the claims of the token if it is a JWT. It does not verify the token, which
// is meant for the resource server.
func readClaims(access string) (c claims) {
	_, afterHeader, _ := strings.Cut(access, ".")
	payload, _, ok := strings.Cut(afterHeader, ".")
	text, err := base64.RawURLEncoding.DecodeString(payload)
	if !ok || err != nil {
		return claims{}
	}
	r := strictjson.NewReader(text)
	r.Members(func(name []byte) {
		switch plain, _ := strictjson.Bytes(name); string(plain) {
		case "cnf":
			c.confirmation = r.Value()
		case "exp":
			c.expiry = r.Value()
		}
	})
	if !r.Valid() {
		return claims{}
	}
	return c
}

// bound looks for the thumbprint of a certificate.
func (c claims) bound() (bound bool) {
	r := strictjson.NewReader(c.confirmation)
	r.Members(func(name []byte) {
		if plain, _ := strictjson.Bytes(name); string(plain) == "x5t#S256" {
			thumbprint, _ := strictjson.Bytes(r.Value())
			bound = len(thumbprint) > 0
		}
	})
	return bound
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
	return &Token{accessIn(r.Members, r.Access), NewSecret(r.Members), r.Scope, r.Expiry, r.Issued, r.Bound, r.CorrelationID}, nil
}
