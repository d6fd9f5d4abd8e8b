package oauthtest

import (
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
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
)

// proof is how a request wants to prove its client.
type proof struct {
	method string
	id     string
	secret string
}

// findProof tells the method by what was sent. RFC 6749 section 2.3 forbids more
// than one.
func findProof(r Request) (proof, bool) {
	found := make([]proof, 0, 1)
	header := r.Header.Get("Authorization")
	if header != "" {
		found = append(found, proof{method: "client_secret_basic", secret: header})
	}
	if r.Form.Has("client_secret") {
		found = append(found, proof{method: "client_secret_post", id: r.Form.Get("client_id"), secret: r.Form.Get("client_secret")})
	}
	if r.Form.Has("client_assertion") || r.Form.Has("client_assertion_type") {
		found = append(found, proof{method: "private_key_jwt", id: r.Form.Get("client_id"), secret: r.Form.Get("client_assertion")})
	}
	if len(found) == 0 {
		return proof{method: "tls_client_auth", id: r.Form.Get("client_id")}, r.Certificate != nil
	}
	return found[0], len(found) == 1
}

// basic reads the credentials of RFC 6749 section 2.3.1. The client must be
// known to tell how they are encoded, so both readings of the id are tried.
func (s *Server) basic(header string) (*registered, string, bool) {
	encoded, ok := strings.CutPrefix(header, "Basic ")
	text, err := base64.StdEncoding.DecodeString(encoded)
	id, secret, colon := strings.Cut(string(text), ":")
	if !ok || err != nil || !colon {
		return nil, "", false
	}
	if c := s.clients[id]; c != nil && c.RawBasic {
		return c, secret, true
	}
	id, err = url.QueryUnescape(id)
	if err != nil {
		return nil, "", false
	}
	secret, err = url.QueryUnescape(secret)
	return s.clients[id], secret, err == nil
}

// authenticate returns the client that r proves to be, and the client that it
// claims to be, either may be nil. mu must be held.
func (s *Server) authenticate(r Request) (proven, claimed *registered) {
	p, ok := findProof(r)
	c := s.clients[p.id]
	if p.method == "client_secret_basic" {
		var readable bool
		c, p.secret, readable = s.basic(p.secret)
		ok = ok && readable
	}
	if id := r.Form.Get("client_id"); c == nil || !ok || id != "" && id != c.ID {
		return nil, c
	}
	switch {
	case p.method == "tls_client_auth" && slices.Contains(c.Methods, "self_signed_tls_client_auth"):
		ok = subtle.ConstantTimeCompare([]byte(Thumbprint(r.Certificate)), []byte(c.Thumbprint)) == 1
	case !slices.Contains(c.Methods, p.method):
		ok = false
	case p.method == "tls_client_auth":
		ok = s.goodCertificate(r, c)
	case p.method == "private_key_jwt":
		ok = s.goodAssertion(r, c, p.secret)
	default:
		ok = knownSecret(c.Secrets, p.secret)
	}
	if !ok {
		return nil, c
	}
	return c, c
}

func knownSecret(secrets []string, secret string) bool {
	for _, s := range secrets {
		if subtle.ConstantTimeCompare([]byte(s), []byte(secret)) == 1 {
			return true
		}
	}
	return false
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
	return err == nil && r.Certificate.Subject.String() == c.SubjectDN
}

type assertionClaims struct {
	Issuer   string          `json:"iss"`
	Subject  string          `json:"sub"`
	Audience json.RawMessage `json:"aud"`
	ID       string          `json:"jti"`
	Expiry   *int64          `json:"exp"`
	IssuedAt *int64          `json:"iat"`
}

// goodAssertion follows RFC 7523 section 3 and refuses a jti that it has seen.
func (s *Server) goodAssertion(r Request, c *registered, text string) bool {
	token, err := jwt.ParseSigned(text, []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256, jose.ES384})
	if err != nil || len(token.Headers) != 1 || r.Form.Get("client_assertion_type") != assertionType {
		return false
	}
	key, ok := c.Keys[token.Headers[0].KeyID]
	var claims assertionClaims
	if !ok || token.Claims(key, &claims) != nil {
		return false
	}
	var audience string
	if json.Unmarshal(claims.Audience, &audience) != nil || !slices.Contains(s.audiences(r, c), audience) {
		return false
	}
	now := s.cfg.Now()
	if claims.Issuer != c.ID || claims.Subject != c.ID || claims.ID == "" || claims.Expiry == nil {
		return false
	}
	end := time.Unix(*claims.Expiry, 0)
	if !now.Before(end) || end.Sub(now) > maxAssertionLife || claims.IssuedAt != nil && time.Unix(*claims.IssuedAt, 0).After(now.Add(time.Minute)) {
		return false
	}
	id := c.ID + "\x00" + claims.ID
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
