package registry

import (
	"cmp"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"tokenvendor/shared/keypair"
	"tokenvendor/shared/oauth"
)

const (
	// defaultKeyAliases is the default of [Config.KeyAliases].
	defaultKeyAliases = "alias/token-vendor/"
	// nextKey is the suffix of the alias of a client's next key, during a rotation.
	nextKey = "-next"
)

// checkKeyAlias allows a document its own client's key only. The function's role may sign
// with every client's key, so that the author of one document could otherwise sign as any
// client.
func (d *document) checkKeyAlias(cfg Config, problems *report) {
	c, alias := d.credential, d.credential.keyAlias
	prefix := cmp.Or(cfg.KeyAliases, defaultKeyAliases)
	own := prefix + d.name
	switch {
	case !alias.given() || d.method == oauth.AWSWebIdentity:
		return
	case cfg.Keys == nil:
		problems.add(alias.name, "cannot be used: there is no KMS here")
	case strings.HasSuffix(d.name, nextKey):
		// The next key of billing and the key of a client billing-next have the same alias.
		problems.add(alias.name, "cannot be used by a client whose name ends in "+nextKey)
	case alias.value != own && alias.value != own+nextKey:
		problems.add(alias.name, "must be "+prefix+" and the client's own name, or that and "+nextKey)
	}
	for _, other := range []text{c.key, c.pkcs12} {
		if other.given() {
			problems.add(alias.name, "and "+other.name+" are both given")
		}
	}
	if d.method != oauth.PrivateKeyJWT && d.method != "" {
		problems.add(alias.name, "is only for private_key_jwt")
	}
}

// makeSigner makes the signer of a private key that the document holds. A JWK's kid and alg
// stand for those of the document.
func (d *document) makeSigner(problems *report) {
	if d.method != oauth.PrivateKeyJWT || d.pair.Key == nil {
		return
	}
	for _, member := range []struct{ name, own, given string }{
		{"kid", d.pair.KeyID, d.options.assertion.keyID},
		{"alg", d.pair.Algorithm, d.options.assertion.algorithm.value},
	} {
		if member.own != "" && member.given != "" && member.own != member.given {
			problems.add(d.native.path+member.name, "is not the same as "+d.credential.key.name+"."+member.name)
			return
		}
	}
	if len(d.pair.KeyID) > maxKeyID || strings.ContainsFunc(d.pair.KeyID, unicode.IsControl) {
		problems.add(d.credential.key.name+".kid", "is too long, or holds control characters")
	}
	d.options.assertion.keyID = cmp.Or(d.options.assertion.keyID, d.pair.KeyID)
	d.options.assertion.algorithm.value = cmp.Or(d.options.assertion.algorithm.value, d.pair.Algorithm)
	algorithm := d.options.assertion.algorithm
	signer, err := oauth.NewLocalSigner(d.pair.Key, algorithm.value)
	if err != nil {
		// keypair checked the key, so the reason can only be alg.
		if d.pair.Algorithm == algorithm.value && !d.native.given("alg") {
			algorithm.name = d.credential.key.name + ".alg"
		}
		problems.add(algorithm.name, "does not fit the key")
		return
	}
	d.signer, d.publicKey = signer, encodePublicKey(d.pair.Key.Public())
}

// openKey reads the public key of the document's key in KMS, if it has one, and makes its
// signer. The error wraps [secret.ErrDenied] or [secret.ErrUnavailable].
func (d *document) openKey(ctx context.Context, keys SigningKeys, problems *report) error {
	alias := d.credential.keyAlias
	if !alias.given() {
		return nil
	}
	public, algorithms, err := keys.Public(ctx, alias.value)
	switch {
	case errors.Is(err, ErrNoKey):
		problems.add(alias.name, "names no key that signs: it must be an asymmetric KMS key of the usage SIGN_VERIFY")
		return nil
	case err != nil:
		return fmt.Errorf("%s: %w", alias.name, err)
	}
	if chain := d.pair.Chain; len(chain) > 0 && !keypair.SamePublicKey(chain[0].PublicKey, public) {
		problems.add(d.credential.certificate.name, "and "+alias.name+" do not belong together")
	}
	algorithm := d.options.assertion.algorithm
	natural := oauth.DefaultAlgorithm(public)
	if natural == "" {
		problems.add(alias.name, "names a key that is not supported: take "+keypair.Supported)
		return nil
	}
	d.publicKey = encodePublicKey(public)
	d.keyVersion = keyVersion(d.publicKey)
	name := cmp.Or(algorithm.value, natural)
	d.signer, err = oauth.NewSigner(public, name, func(ctx context.Context, digest []byte, _ crypto.SignerOpts) ([]byte, error) {
		return keys.Sign(ctx, alias.value, name, digest)
	})
	switch {
	case err != nil:
		problems.add(algorithm.name, "does not fit the key")
	case len(algorithms) > 0 && !slices.Contains(algorithms, name):
		problems.add(algorithm.name, "is not one that KMS has for this key")
	}
	return nil
}

// keyVersion identifies a public key. It is part of the credential's version, because an
// alias may refer to another key later.
func keyVersion(publicKey []byte) string {
	sum := sha256.Sum256(publicKey)
	return "+" + hex.EncodeToString(sum[:6])
}

func encodePublicKey(public crypto.PublicKey) []byte {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		panic("internal error: impossible: " + err.Error())
	}
	return der
}
