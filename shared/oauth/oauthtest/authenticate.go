package oauthtest

import (
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

const (
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	// maxAssertionLife is how far exp may be in the future.
	maxAssertionLife = time.Hour
	// maxSkew is how far iat and nbf may be in the future.
	maxSkew = time.Minute
)

// credential is the client authentication of one request.
type credential struct {
	method string // registered name; empty: no credential
	id     string
	secret string // secret, assertion or Authorization header
}

// findCredentials returns the credentials in r, at least one. RFC 6749 section 2.3
// forbids more than one. A certificate counts only if nothing else was sent, because a
// client may offer its certificate to every server.
func findCredentials(r Request) []credential {
	var found []credential
	id := r.Form.Get("client_id")
	for _, header := range r.Header.Values("Authorization") {
		found = append(found, credential{method: "client_secret_basic", secret: header})
	}
	if r.Form.Has("client_secret") {
		found = append(found, credential{method: "client_secret_post", id: id, secret: r.Form.Get("client_secret")})
	}
	if r.Form.Has("client_assertion") || r.Form.Has("client_assertion_type") {
		found = append(found, credential{method: "private_key_jwt", id: id, secret: r.Form.Get("client_assertion")})
	}
	if len(found) > 0 {
		return found
	}
	if r.Certificate != nil {
		return []credential{{method: "tls_client_auth", id: id}}
	}
	return []credential{{id: id}}
}

// verifier verifies credentials. The mu of its [endpoint] guards it.
type verifier struct {
	issuer  string         // URL of the server
	roots   *x509.CertPool // for tls_client_auth
	now     func() time.Time
	clients map[string]*registered
	jtis    map[string]time.Time // used assertion ids and their expiry
}

// basic reads the credentials of RFC 6749 section 2.3.1. Whether they are form-encoded
// depends on the client, so basic looks up the id as it is and decoded.
func (v *verifier) basic(header string) (*registered, string, bool) {
	scheme, encoded, _ := strings.Cut(header, " ")
	text, err := base64.StdEncoding.DecodeString(encoded)
	id, secret, colon := strings.Cut(string(text), ":")
	if !strings.EqualFold(scheme, "Basic") || err != nil || !colon {
		return nil, "", false
	}
	if c := v.clients[id]; c != nil && c.RawBasic {
		return c, secret, true
	}
	id, err = url.QueryUnescape(id)
	c := v.clients[id]
	if err != nil || c == nil || c.RawBasic {
		return nil, "", false
	}
	secret, err = url.QueryUnescape(secret)
	return c, secret, err == nil
}

// authenticate returns the client that the credential names, and whether it proves that
// client. The client may be nil.
func (v *verifier) authenticate(r Request, p credential) (client *registered, proven bool) {
	c, ok := v.clients[p.id], true
	if p.method == "client_secret_basic" {
		c, p.secret, ok = v.basic(p.secret)
	}
	id := r.Form.Get("client_id")
	return c, c != nil && ok && (id == "" || id == c.ID) && v.proves(r, c, p)
}

// proves reports whether p authenticates c. A certificate serves two methods.
func (v *verifier) proves(r Request, c *registered, p credential) bool {
	may := func(method string) bool { return slices.Contains(c.Methods, method) }
	switch p.method {
	case "tls_client_auth":
		return may(p.method) && v.validCertificate(r, c) || may("self_signed_tls_client_auth") && v.registeredCertificate(r, c)
	case "private_key_jwt":
		return may(p.method) && v.validAssertion(r, c, p.secret)
	case "client_secret_post", "client_secret_basic":
		return may(p.method) && validSecret(c.Secrets, p.secret)
	}
	return false
}

// validSecret compares with all secrets, so that its duration does not reveal which one
// matched.
func validSecret(secrets []string, secret string) bool {
	known := 0
	for _, s := range secrets {
		known |= subtle.ConstantTimeCompare([]byte(s), []byte(secret))
	}
	return known == 1 && secret != ""
}

// validCertificate verifies the chain, which may contain only certificates that the client
// sent, and compares the subject.
func (v *verifier) validCertificate(r Request, c *registered) bool {
	intermediates := x509.NewCertPool()
	for _, link := range r.chain {
		intermediates.AddCert(link)
	}
	_, err := r.Certificate.Verify(x509.VerifyOptions{
		Roots: v.roots, Intermediates: intermediates, CurrentTime: v.now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	return err == nil && c.SubjectDN != "" && r.Certificate.Subject.String() == c.SubjectDN
}

// registeredCertificate compares the certificate itself (RFC 8705 section 2.2), which
// must also be within its validity.
func (v *verifier) registeredCertificate(r Request, c *registered) bool {
	now := v.now()
	if now.Before(r.Certificate.NotBefore) || now.After(r.Certificate.NotAfter) {
		return false
	}
	return subtle.ConstantTimeCompare([]byte(Thumbprint(r.Certificate)), []byte(c.Thumbprint)) == 1
}

type assertionClaims struct {
	Issuer    string          `json:"iss"`
	Subject   string          `json:"sub"`
	Audience  json.RawMessage `json:"aud"`
	ID        string          `json:"jti"`
	Expiry    *int64          `json:"exp"`
	IssuedAt  *int64          `json:"iat"`
	NotBefore *int64          `json:"nbf"`
	// AWS is the claim that AWS STS adds.
	AWS struct {
		RequestTags map[string]string `json:"request_tags"`
	} `json:"https://sts.amazonaws.com/"`
}

// issuedFor reports whether an assertion names client: issued by the client itself, or by
// the issuer that the client trusts.
func (c assertionClaims) issuedFor(client *registered) bool {
	if client.Trust == nil {
		return c.Issuer == client.ID && c.Subject == client.ID
	}
	for name, value := range client.Trust.Tags {
		if c.AWS.RequestTags[name] != value {
			return false
		}
	}
	return c.Issuer == client.Trust.Issuer && c.Subject == client.Trust.Subject
}

// validAssertion follows RFC 7523 section 3 and refuses a jti that was used before. The
// audience must be a single string, because another of several audiences could be another
// server.
func (v *verifier) validAssertion(r Request, c *registered, text string) bool {
	token, err := jwt.ParseSigned(text, []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA})
	if err != nil || len(token.Headers) != 1 || r.Form.Get("client_assertion_type") != assertionType {
		return false
	}
	keys := c.Keys
	if c.Trust != nil {
		keys = c.Trust.Keys
	}
	key, ok := keys[token.Headers[0].KeyID]
	var claims assertionClaims
	if !ok || token.Claims(key, &claims) != nil {
		return false
	}
	audiences := c.Audiences
	if audiences == nil {
		audiences = []string{v.issuer, v.issuer + r.Path}
	}
	var audience string
	if json.Unmarshal(claims.Audience, &audience) != nil || !slices.Contains(audiences, audience) {
		return false
	}
	now := v.now()
	if !claims.issuedFor(c) || claims.ID == "" || !claims.validAt(now) {
		return false
	}
	return v.firstUse(c.ID+"\x00"+claims.ID, now, time.Unix(*claims.Expiry, 0))
}

// validAt requires exp, not too far in the future. It accepts iat and nbf of a client
// whose clock is slightly fast.
func (c assertionClaims) validAt(now time.Time) bool {
	later := func(seconds *int64, margin time.Duration) bool {
		return seconds != nil && time.Unix(*seconds, 0).After(now.Add(margin))
	}
	return later(c.Expiry, 0) && !later(c.Expiry, maxAssertionLife) && !later(c.IssuedAt, maxSkew) && !later(c.NotBefore, maxSkew)
}

// firstUse records an assertion until it expires.
func (v *verifier) firstUse(id string, now, expiry time.Time) bool {
	maps.DeleteFunc(v.jtis, func(_ string, expiry time.Time) bool { return !now.Before(expiry) })
	if _, used := v.jtis[id]; used {
		return false
	}
	v.jtis[id] = expiry
	return true
}
