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
	// maxAssertionLife is how far ahead exp may be.
	maxAssertionLife = time.Hour
	// maxSkew is how far ahead iat and nbf may be.
	maxSkew = time.Minute
)

// proof is how a request wants to prove its client.
type proof struct {
	method string
	id     string
	secret string
}

// findProofs tells the methods by what was sent. RFC 6749 section 2.3 forbids more
// than one; a certificate beside another proof is none, as a client may offer it
// to every server.
func findProofs(r Request) []proof {
	var found []proof
	id := r.Form.Get("client_id")
	for _, header := range r.Header.Values("Authorization") {
		found = append(found, proof{method: "client_secret_basic", secret: header})
	}
	if r.Form.Has("client_secret") {
		found = append(found, proof{method: "client_secret_post", id: id, secret: r.Form.Get("client_secret")})
	}
	if r.Form.Has("client_assertion") || r.Form.Has("client_assertion_type") {
		found = append(found, proof{method: "private_key_jwt", id: id, secret: r.Form.Get("client_assertion")})
	}
	if len(found) == 0 && r.Certificate != nil {
		found = append(found, proof{method: "tls_client_auth", id: id})
	}
	if len(found) == 0 {
		found = append(found, proof{id: id})
	}
	return found
}

// client returns the client of that id, nil if there is none at the path. mu must
// be held.
func (s *Server) client(id, path string) *registered {
	c := s.clients[id]
	if c == nil || c.Path != "" && c.Path != path {
		return nil
	}
	return c
}

// basic reads the credentials of RFC 6749 section 2.3.1. The client must be
// known to tell how they are encoded, so both readings of the id are tried. mu
// must be held.
func (s *Server) basic(r Request, header string) (*registered, string, bool) {
	scheme, encoded, _ := strings.Cut(header, " ")
	text, err := base64.StdEncoding.DecodeString(encoded)
	id, secret, colon := strings.Cut(string(text), ":")
	if !strings.EqualFold(scheme, "Basic") || err != nil || !colon {
		return nil, "", false
	}
	decoded := r.Header.Get("X-Cf-Encoded-Credentials") == "true"
	if c := s.client(id, r.Path); c != nil && c.RawBasic && !decoded {
		return c, secret, true
	}
	id, err = url.QueryUnescape(id)
	c := s.client(id, r.Path)
	if err != nil || c == nil || c.RawBasic && !decoded {
		return nil, "", false
	}
	secret, err = url.QueryUnescape(secret)
	return c, secret, err == nil
}

// authenticate returns the client that p proves, and the client that it claims;
// either may be nil. mu must be held.
func (s *Server) authenticate(r Request, p proof) (proven, claimed *registered) {
	c, ok := s.client(p.id, r.Path), true
	if p.method == "client_secret_basic" {
		c, p.secret, ok = s.basic(r, p.secret)
	}
	if id := r.Form.Get("client_id"); c == nil || !ok || id != "" && id != c.ID || !s.proves(r, c, p) {
		return nil, c
	}
	return c, c
}

// proves tells whether p is good for c. A certificate may serve two methods.
func (s *Server) proves(r Request, c *registered, p proof) bool {
	may := func(method string) bool { return slices.Contains(c.Methods, method) }
	switch p.method {
	case "tls_client_auth":
		return may(p.method) && s.goodCertificate(r, c) || may("self_signed_tls_client_auth") && s.knownCertificate(r, c)
	case "private_key_jwt":
		return may(p.method) && s.goodAssertion(r, c, p.secret)
	case "client_secret_post", "client_secret_basic":
		return may(p.method) && knownSecret(c.Secrets, p.secret)
	}
	return false
}

// knownSecret looks at all secrets, so that its time doesn't tell which one it was.
func knownSecret(secrets []string, secret string) bool {
	known := 0
	for _, s := range secrets {
		known |= subtle.ConstantTimeCompare([]byte(s), []byte(secret))
	}
	return known == 1 && secret != ""
}

// goodCertificate matches on the subject, after the chain was verified: only
// what the client sent may lead to a trusted authority.
func (s *Server) goodCertificate(r Request, c *registered) bool {
	intermediates := x509.NewCertPool()
	for _, link := range r.chain {
		intermediates.AddCert(link)
	}
	_, err := r.Certificate.Verify(x509.VerifyOptions{
		Roots: s.cfg.ClientCAs, Intermediates: intermediates, CurrentTime: s.cfg.Now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	return err == nil && c.SubjectDN != "" && r.Certificate.Subject.String() == c.SubjectDN
}

// knownCertificate matches on the certificate itself (RFC 8705 section 2.2), which
// must still be within its validity.
func (s *Server) knownCertificate(r Request, c *registered) bool {
	now := s.cfg.Now()
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
	// AWS is what AWS STS adds.
	AWS struct {
		RequestTags map[string]string `json:"request_tags"`
	} `json:"https://sts.amazonaws.com/"`
}

// issuedFor reports whether an assertion is that of a client: its own, or of the
// issuer that vouches for it.
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

// goodAssertion follows RFC 7523 section 3 and refuses a jti that it has seen.
// The audience must be a single string: of several, another server may be one.
func (s *Server) goodAssertion(r Request, c *registered, text string) bool {
	token, err := jwt.ParseSigned(text, []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256, jose.ES384})
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
	var audience string
	if json.Unmarshal(claims.Audience, &audience) != nil || !slices.Contains(s.audiences(r, c), audience) {
		return false
	}
	now := s.cfg.Now()
	if !claims.issuedFor(c) || claims.ID == "" || !claims.goodTimes(now) {
		return false
	}
	return s.firstUse(c.ID+"\x00"+claims.ID, now, time.Unix(*claims.Expiry, 0))
}

// goodTimes wants exp, not too far ahead, and forgives a client whose clock is a
// little fast.
func (c assertionClaims) goodTimes(now time.Time) bool {
	later := func(seconds *int64, margin time.Duration) bool {
		return seconds != nil && time.Unix(*seconds, 0).After(now.Add(margin))
	}
	return later(c.Expiry, 0) && !later(c.Expiry, maxAssertionLife) && !later(c.IssuedAt, maxSkew) && !later(c.NotBefore, maxSkew)
}

// firstUse remembers an assertion until its end, after which it is refused for
// that. mu must be held.
func (s *Server) firstUse(id string, now, end time.Time) bool {
	maps.DeleteFunc(s.jtis, func(_ string, end time.Time) bool { return !now.Before(end) })
	if _, seen := s.jtis[id]; seen {
		return false
	}
	s.jtis[id] = end
	return true
}

func (s *Server) audiences(r Request, c *registered) []string {
	if c.Audiences != nil {
		return c.Audiences
	}
	return []string{s.Issuer(), s.url + r.Path}
}
