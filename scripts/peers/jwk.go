package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"math/big"
)

// keyID is the kid of all clients' keys.
const keyID = "k1"

// jwk is a public key in the format of RFC 7517.
type jwk struct {
	ID    string   `json:"kid,omitempty"`
	Use   string   `json:"use,omitempty"`
	Alg   string   `json:"alg,omitempty"`
	Type  string   `json:"kty"`
	Curve string   `json:"crv,omitempty"`
	N     string   `json:"n,omitempty"`
	E     string   `json:"e,omitempty"`
	X     string   `json:"x,omitempty"`
	Y     string   `json:"y,omitempty"`
	Chain []string `json:"x5c,omitempty"`
}

// jwkOf encodes an RSA or ECDSA key. For any other key the result is empty, which servers
// refuse.
func jwkOf(public crypto.PublicKey, alg string) jwk {
	encode := base64.RawURLEncoding.EncodeToString
	out := jwk{ID: keyID, Use: "sig", Alg: alg}
	switch k := public.(type) {
	case *rsa.PublicKey:
		out.Type, out.N, out.E = "RSA", encode(k.N.Bytes()), encode(big.NewInt(int64(k.E)).Bytes())
	case *ecdsa.PublicKey:
		point, err := k.Bytes()
		if err != nil {
			return jwk{}
		}
		half := (len(point) - 1) / 2
		out.Type, out.Curve = "EC", k.Params().Name
		out.X, out.Y = encode(point[1:1+half]), encode(point[1+half:])
	}
	return out
}

// public decodes an RSA key or a key on P-256 or P-384.
func (j jwk) public() (crypto.PublicKey, error) {
	decode := base64.RawURLEncoding.DecodeString
	if j.Type == "RSA" {
		n, err := decode(j.N)
		e, errE := decode(j.E)
		return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}, errors.Join(err, errE)
	}
	var curve elliptic.Curve
	switch j.Curve {
	case "P-256":
		curve = elliptic.P256()
	case "P-384":
		curve = elliptic.P384()
	default:
		return nil, errors.New("unknown kind of key")
	}
	x, errX := decode(j.X)
	y, errY := decode(j.Y)
	if err := errors.Join(errX, errY); err != nil {
		return nil, err
	}
	return ecdsa.ParseUncompressedPublicKey(curve, append(append([]byte{4}, x...), y...))
}
