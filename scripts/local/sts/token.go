package sts

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"time"
)

// The key ids, which also name the algorithm.
const (
	rsaKID = "RSA_0"
	ecKID  = "EC384_0"
)

// keys are the issuer's keys.
type keys struct {
	rsa *rsa.PrivateKey
	ec  *ecdsa.PrivateKey
}

func newKeys() (keys, error) {
	rsaKey, rsaErr := rsa.GenerateKey(rand.Reader, 2048)
	ecKey, ecErr := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	return keys{rsaKey, ecKey}, errors.Join(rsaErr, ecErr)
}

func (k keys) public() map[string]crypto.PublicKey {
	return map[string]crypto.PublicKey{rsaKID: &k.rsa.PublicKey, ecKID: &k.ec.PublicKey}
}

// claims returns the claims that AWS writes.
func (s *Server) claims(request Issued, from, to time.Time) map[string]any {
	aws := map[string]any{"aws_account": s.cfg.Account, "source_region": s.cfg.Region}
	if len(request.Tags) > 0 {
		aws["request_tags"] = request.Tags
	}
	return map[string]any{
		"iss": s.issuer, "sub": s.Subject(), "aud": request.Audience[0], "iat": from.Unix(), "exp": to.Unix(), "jti": rand.Text(),
		"https://sts.amazonaws.com/": aws,
	}
}

// sign returns a JWT (RFC 7515).
func (k keys) sign(algorithm string, claims map[string]any) (string, error) {
	header := map[string]string{"alg": algorithm, "typ": "JWT", "kid": rsaKID}
	if algorithm == "ES384" {
		header["kid"] = ecKID
	}
	input := segment(header) + "." + segment(claims)
	var signature []byte
	var err error
	if algorithm == "ES384" {
		digest := sha512.Sum384([]byte(input))
		r, s, signErr := ecdsa.Sign(rand.Reader, k.ec, digest[:])
		if err = signErr; err == nil {
			signature = make([]byte, 96)
			r.FillBytes(signature[:48])
			s.FillBytes(signature[48:])
		}
	} else {
		digest := sha256.Sum256([]byte(input))
		signature, err = rsa.SignPKCS1v15(rand.Reader, k.rsa, crypto.SHA256, digest[:])
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature), err
}

func segment(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic("internal error: impossible: " + err.Error())
	}
	return base64.RawURLEncoding.EncodeToString(text)
}
