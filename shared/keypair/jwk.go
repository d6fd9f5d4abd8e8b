package keypair

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"slices"
	"strings"

	"tokenvendor/shared/strictjson"
)

// byteOrderMark is what editors on Windows write before a text.
const byteOrderMark = "\ufeff"

// IsJWK reports whether a private key is a JSON object, and so no PEM.
func IsJWK(text string) bool {
	return strings.HasPrefix(strings.TrimSpace(strings.TrimPrefix(text, byteOrderMark)), "{")
}

// ParseJWK reads one private key as a JSON Web Key of the type RSA, EC or OKP (RFC 7517; RFC
// 7518 section 6; RFC 8037 section 2). The key is one of [Supported]. The pair has no
// certificate: x5c is not read.
func ParseJWK(text string) (Pair, error) {
	raw := []byte(strings.TrimPrefix(text, byteOrderMark))
	members, err := strictjson.Object(raw, strictjson.Limits{Depth: 4, Members: 64})
	if err != nil {
		return Pair{}, errors.New("looks like a JWK and " + strictjson.Problem(err, raw))
	}
	j := &jwk{members: members}
	key, err := j.key()
	pair := Pair{Key: key, KeyID: j.optional("kid"), Algorithm: j.optional("alg")}
	if pair.Algorithm == "Ed25519" {
		pair.Algorithm = "EdDSA" // the name of RFC 7518's registry before RFC 9864
	}
	switch {
	case err != nil:
		return Pair{}, err
	case j.err != nil:
		return Pair{}, j.err
	}
	return pair, nil
}

// jwk reads the members of a JWK. It keeps the first error.
type jwk struct {
	members map[string]json.RawMessage
	err     error
}

// key returns the private key. An error of a member is in j.err.
func (j *jwk) key() (crypto.Signer, error) {
	kind := j.optional("kty")
	switch _, private := j.members["d"]; {
	case j.members["keys"] != nil:
		return nil, errors.New("is a JWK Set: give one key of it")
	case kind == "oct":
		return nil, errors.New("is a symmetric JWK: take " + Supported)
	case kind != "RSA" && kind != "EC" && kind != "OKP":
		return nil, errors.New("is a JWK whose kty is not RSA, EC or OKP")
	case !private:
		return nil, errors.New("is a public JWK, without d")
	case !j.signs():
		return nil, errors.New("is a JWK whose use or key_ops is not for signatures")
	}
	switch kind {
	case "RSA":
		return j.rsa()
	case "EC":
		return j.ec()
	}
	return j.ed25519()
}

// signs reports whether use (RFC 7517 section 4.2) and key_ops (section 4.3) allow signatures.
func (j *jwk) signs() bool {
	if use := j.optional("use"); use != "" && use != "sig" {
		return false
	}
	operations, ok := strictjson.Strings(j.members["key_ops"])
	return j.members["key_ops"] == nil || ok && slices.Contains(operations, "sign")
}

// rsa computes the other members of section 6.3.2 from n, e, d, p and q.
func (j *jwk) rsa() (crypto.Signer, error) {
	n, e, d := j.integer("n"), j.integer("e"), j.integer("d")
	if j.members["oth"] != nil {
		return nil, errors.New("is an RSA key of more than two primes, which is not supported")
	}
	if j.members["p"] == nil || j.members["q"] == nil {
		return nil, errors.New("is a JWK without p and q: export it with them")
	}
	p, q := j.integer("p"), j.integer("q")
	if j.err != nil {
		return nil, j.err
	}
	if e.BitLen() > 31 {
		return nil, errNoKey
	}
	key := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: n, E: int(e.Int64())}, D: d, Primes: []*big.Int{p, q}}
	// The size first: it decides what the check costs.
	if _, err := checkKey(key); err != nil {
		return nil, err
	}
	if n.Cmp(new(big.Int).Mul(p, q)) != 0 || d.Cmp(n) >= 0 || key.Validate() != nil {
		return nil, errNoKey
	}
	key.Precompute()
	return key, nil
}

var errNoKey = errors.New("is a JWK whose numbers do not belong together")

// ec reads a key on a curve of NIST.
func (j *jwk) ec() (crypto.Signer, error) {
	curve := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}[j.optional("crv")]
	if curve == nil {
		return nil, errors.New("is an EC key on a curve that is not supported: take P-256, P-384 or P-521")
	}
	size := (curve.Params().BitSize + 7) / 8
	x, y, d := j.fixed("x", size), j.fixed("y", size), j.fixed("d", size)
	if j.err != nil {
		return nil, j.err
	}
	key, err := ecdsa.ParseRawPrivateKey(curve, d)
	if err != nil {
		return nil, errNoKey
	}
	point, err := key.PublicKey.Bytes()
	if err != nil || !bytes.Equal(point[1:], slices.Concat(x, y)) {
		return nil, errNoKey
	}
	return key, nil
}

// ed25519 reads a key of RFC 8037.
func (j *jwk) ed25519() (crypto.Signer, error) {
	if j.optional("crv") != "Ed25519" {
		return nil, errors.New("is an OKP key on a curve that is not supported: take Ed25519")
	}
	x, d := j.octets("x"), j.octets("d")
	if j.err != nil {
		return nil, j.err
	}
	if len(d) != ed25519.SeedSize {
		return nil, errNoKey
	}
	key := ed25519.NewKeyFromSeed(d)
	if !bytes.Equal(key[ed25519.SeedSize:], x) {
		return nil, errNoKey
	}
	return key, nil
}

// optional returns a string member; empty: it is absent.
func (j *jwk) optional(name string) string {
	raw, ok := j.members[name]
	text, isString := strictjson.String(raw)
	if ok && !isString {
		j.fail(name, "is not a string")
	}
	return text
}

func (j *jwk) fail(name, problem string) {
	if j.err == nil {
		j.err = errors.New("is a JWK whose " + name + " " + problem)
	}
}

// octets returns a member in base64url. Padding, which RFC 7515 section 2 forbids, is accepted.
func (j *jwk) octets(name string) []byte {
	text := j.optional(name)
	decoded, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
	switch {
	case text == "":
		j.fail(name, "is missing")
	case err != nil:
		j.fail(name, "is not base64url")
	}
	return decoded
}

func (j *jwk) integer(name string) *big.Int { return new(big.Int).SetBytes(j.octets(name)) }

// fixed returns a number of size bytes. Some libraries leave the zeros before it out.
func (j *jwk) fixed(name string, size int) []byte {
	n := j.integer(name)
	if n.BitLen() > 8*size {
		j.fail(name, "is too long")
		return nil
	}
	return n.FillBytes(make([]byte, size))
}
