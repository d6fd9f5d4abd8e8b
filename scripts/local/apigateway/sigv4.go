package apigateway

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	algorithm   = "AWS4-HMAC-SHA256"
	service     = "execute-api"
	terminator  = "aws4_request"
	amzTime     = "20060102T150405Z"
	amzDate     = "20060102"
	credentials = 5 // elements of a credential: key, date, region, service, terminator
)

// authorization is a parsed Authorization header of Signature Version 4.
type authorization struct {
	accessKeyID, date, region, service, terminator string
	signedHeaders                                  []string // sorted, lower case, each once
	signature                                      string   // hexadecimal
}

// parseAuthorization parses an Authorization header. Its faults do not quote the header.
func parseAuthorization(header string) (authorization, *fault) {
	rest, ok := strings.CutPrefix(header, algorithm+" ")
	if !ok {
		return authorization{}, incompleteSignature("Authorization header requires the algorithm " + algorithm + ".")
	}
	parts := make(map[string]string)
	for pair := range strings.SplitSeq(rest, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(pair), "=")
		if _, twice := parts[name]; !ok || twice {
			return authorization{}, incompleteSignature("Authorization header has a malformed key=value pair.")
		}
		parts[name] = value
	}
	var missing []string
	for _, name := range []string{"Credential", "Signature", "SignedHeaders"} {
		if parts[name] == "" {
			missing = append(missing, "Authorization header requires '"+name+"' parameter.")
		}
	}
	if len(missing) > 0 || len(parts) != 3 {
		return authorization{}, incompleteSignature(strings.Join(append(missing, "Authorization header is incomplete."), " "))
	}
	return newAuthorization(parts["Credential"], parts["SignedHeaders"], parts["Signature"])
}

func newAuthorization(credential, signedHeaders, signature string) (authorization, *fault) {
	c := strings.Split(credential, "/")
	if len(c) != credentials || slices.Contains(c, "") {
		return authorization{}, incompleteSignature("Credential must have exactly 5 slash-delimited elements, " +
			"e.g. keyid/date/region/service/term.")
	}
	names := strings.Split(signedHeaders, ";")
	for i, name := range names {
		if name == "" || name != strings.ToLower(name) || i > 0 && names[i-1] >= name {
			return authorization{}, incompleteSignature("SignedHeaders must be lower case, sorted and unique.")
		}
	}
	return authorization{c[0], c[1], c[2], c[3], c[4], names, signature}, nil
}

// claim is the identity that a request names, before its signature is verified.
type claim struct {
	authorization
	who  identity
	time string // of the signature, in the form of X-Amz-Date
}

// claim checks the parts of a signature that need neither the secret key nor the body.
func (s *Server) claim(c *call) (claim, *fault) {
	headers := c.r.Header.Values("Authorization")
	if len(headers) == 0 || isPresigned(c.query) {
		return claim{}, missingToken()
	}
	if len(headers) > 1 {
		return claim{}, incompleteSignature("More than one Authorization header.")
	}
	auth, f := parseAuthorization(headers[0])
	if f != nil {
		return claim{}, f
	}
	signed, name, f := signingTime(c.r.Header)
	if f != nil {
		return claim{}, f
	}
	if f := auth.checkScope(s.cfg.Region, signed); f != nil {
		return claim{}, f
	}
	if f := auth.checkSignedHeaders(c.r.Header, name); f != nil {
		return claim{}, f
	}
	who, ok := s.principals[auth.accessKeyID]
	if !ok || !who.hasToken(c.r.Header.Values("X-Amz-Security-Token")) {
		return claim{}, unknownToken()
	}
	return claim{auth, who, signed.Format(amzTime)}, checkAge(signed, c.began)
}

// isPresigned reports whether the signature is in the query. Such a request is refused,
// because its URL is a bearer credential that appears in logs.
func isPresigned(query string) bool {
	values, _ := url.ParseQuery(query) // a malformed query is refused later
	for name := range values {
		if strings.HasPrefix(strings.ToLower(name), "x-amz-") {
			return true
		}
	}
	return false
}

// signingTime returns the time of X-Amz-Date or else Date, and the name of that header.
func signingTime(h http.Header) (signed time.Time, name string, f *fault) {
	layout, name := amzTime, "x-amz-date"
	values := h.Values("X-Amz-Date")
	if len(values) == 0 {
		layout, name = http.TimeFormat, "date"
		values = h.Values("Date")
	}
	if len(values) != 1 {
		return signed, name, incompleteSignature("Authorization header requires existence of either a " +
			"'X-Amz-Date' or a 'Date' header.")
	}
	signed, err := time.Parse(layout, values[0])
	if err != nil && name == "date" {
		signed, err = time.Parse(amzTime, values[0])
	}
	if err != nil {
		return signed, name, incompleteSignature("Date must be in ISO-8601 'basic format'.")
	}
	return signed.UTC(), name, nil
}

func (a authorization) checkScope(region string, signed time.Time) *fault {
	switch {
	case a.region != region:
		return invalidSignature("Credential should be scoped to a valid region.")
	case a.service != service:
		return invalidSignature("Credential should be scoped to correct service: '" + service + "'.")
	case a.terminator != terminator:
		return invalidSignature("Credential should be scoped with a valid terminator: '" + terminator + "'.")
	case a.date != signed.Format(amzDate):
		return invalidSignature("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP.")
	}
	return nil
}

// checkSignedHeaders requires that the host, the date and all of AWS's own headers are
// signed: an unsigned header could have been added by another party.
func (a authorization) checkSignedHeaders(h http.Header, date string) *fault {
	required := []string{"host", date}
	for name := range h {
		if name = strings.ToLower(name); strings.HasPrefix(name, "x-amz-") {
			required = append(required, name)
		}
	}
	for _, name := range required {
		if !slices.Contains(a.signedHeaders, name) {
			return invalidSignature("'Host', the date and every 'X-Amz-*' header must be a 'SignedHeader' in the Authorization header.")
		}
	}
	return nil
}

// hasToken reports whether values are exactly the session token of the key.
func (who identity) hasToken(values []string) bool {
	if who.SessionToken == "" {
		return len(values) == 0
	}
	return len(values) == 1 && subtle.ConstantTimeCompare([]byte(values[0]), []byte(who.SessionToken)) == 1
}

func checkAge(signed, now time.Time) *fault {
	now = now.UTC()
	switch {
	case signed.Before(now.Add(-maxSkew)):
		return invalidSignature(fmt.Sprintf("Signature expired: %s is now earlier than %s (%s - 5 min.)",
			signed.Format(amzTime), now.Add(-maxSkew).Format(amzTime), now.Format(amzTime)))
	case signed.After(now.Add(maxSkew)):
		return invalidSignature(fmt.Sprintf("Signature not yet current: %s is still later than %s (%s + 5 min.)",
			signed.Format(amzTime), now.Add(maxSkew).Format(amzTime), now.Format(amzTime)))
	}
	return nil
}

// verify computes the signature and compares it with that of the request.
func (c claim) verify(request *call) *fault {
	sum := sha256.Sum256(request.body)
	hash := hex.EncodeToString(sum[:])
	if given := request.r.Header.Values("X-Amz-Content-Sha256"); len(given) > 0 &&
		(len(given) > 1 || subtle.ConstantTimeCompare([]byte(given[0]), []byte(hash)) != 1) {
		return signatureMismatch()
	}
	canonical, ok := canonicalRequest(request, c.signedHeaders, hash)
	if !ok {
		return signatureMismatch()
	}
	scope := c.date + "/" + c.region + "/" + c.service + "/" + c.terminator
	sum = sha256.Sum256([]byte(canonical))
	toSign := algorithm + "\n" + c.time + "\n" + scope + "\n" + hex.EncodeToString(sum[:])

	key := []byte("AWS4" + c.who.SecretAccessKey)
	for _, part := range []string{c.date, c.region, c.service, c.terminator, toSign} {
		key = sign(key, part)
	}
	if !hmac.Equal([]byte(hex.EncodeToString(key)), []byte(c.signature)) {
		return signatureMismatch()
	}
	return nil
}

func sign(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}
